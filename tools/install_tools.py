"""Find or build helm and kubeconform, which only the tests and `make dist` need.

`make binaries` runs it after the control plane's own; it prints the folder.
"""

import sys

from drifttrigger.local.binaries import ensure_binaries
from drifttrigger.local.catalog import TOOLS
from drifttrigger.local.errors import BuildError


def main() -> int:
    """Make sure that the tools are there."""
    try:
        folder = ensure_binaries(progress=lambda line: print(line, file=sys.stderr), binaries=TOOLS)
    except BuildError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(f"{folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
