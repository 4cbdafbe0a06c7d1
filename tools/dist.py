"""Render what a release ships: one install.yaml and the packaged chart.

`make dist` runs it. kubectl and helm are those of the local control plane, so the result does not
depend on what is on PATH.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

from drifttrigger import __version__
from drifttrigger.api.errors import DriftTriggerError
from drifttrigger.local.binaries import ensure_binaries
from drifttrigger.local.catalog import TOOLS

ROOT = Path(__file__).resolve().parents[1]
IMAGE = re.compile(rf"^(\s+image: )drifttrigger:{re.escape(__version__)}$", re.MULTILINE)


def render(kubectl: Path, *, image: str) -> str:
    """Render the cluster-wide installation as one YAML stream.

    Args:
        kubectl: The program that renders.
        image: Name, and tag or digest, of the operator's image; empty for the manifests' own.

    Raises:
        ValueError: The manifests name no image to replace.
    """
    text = _run(kubectl, "kustomize", ROOT / "manifests")
    if not image:
        return text
    replaced, number = IMAGE.subn(lambda found: found[1] + image, text)
    if number == 0:
        raise ValueError(f"no object has the image drifttrigger:{__version__}")
    return replaced


def package(helm: Path, folder: Path) -> str:
    """Package the chart, its links resolved; returns what Helm says."""
    return _run(helm, "package", ROOT / "charts" / "drifttrigger", "--destination", folder)


def _run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout


def main() -> int:
    """Write the release's files."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--into", type=Path, default=ROOT / "dist", help="folder to write to")
    parser.add_argument("--image", default="", help="image of the operator, as in r.example/a:1")
    options = parser.parse_args()
    try:
        kubectl = ensure_binaries(progress=_say) / "kubectl"
        helm = ensure_binaries(progress=_say, binaries=TOOLS) / "helm"
        options.into.mkdir(parents=True, exist_ok=True)
        installation = options.into / "install.yaml"
        installation.write_text(render(kubectl, image=options.image))
        package(helm, options.into)
    except (DriftTriggerError, OSError, ValueError) as error:
        _say(f"error: {error}")
        return 1
    except subprocess.CalledProcessError as error:
        _say(f"error: {Path(error.cmd[0]).name}: {error.stderr.strip()}")
        return 1
    for path in (installation, options.into / f"drifttrigger-{__version__}.tgz"):
        sys.stdout.write(f"{path}  {path.stat().st_size:,} bytes\n")
    return 0


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
