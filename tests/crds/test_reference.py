"""docs/reference/api.md is what the definitions say today."""

import subprocess
import sys

from support.crds import ROOT


def test_the_committed_api_reference_is_current() -> None:
    made = subprocess.run(
        [sys.executable, ROOT / "tools" / "reference.py", "api"], capture_output=True, check=True
    )
    committed = (ROOT / "docs" / "reference" / "api.md").read_bytes()
    assert made.stdout == committed, "run: python tools/reference.py api > docs/reference/api.md"
