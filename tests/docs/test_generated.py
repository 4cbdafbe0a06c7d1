"""What is generated and committed is what would be generated now."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize("page", ["cli", "events", "metrics"])
def test_a_committed_page_of_the_reference_is_current(page: str) -> None:
    made = subprocess.run(
        [sys.executable, REPOSITORY / "tools" / "reference.py", page],
        capture_output=True,
        check=True,
        timeout=60,
    )
    committed = (REPOSITORY / "docs" / "reference" / f"{page}.md").read_bytes()
    assert made.stdout == committed, f"run: tools/reference.py {page} > docs/reference/{page}.md"


def test_the_committed_dashboards_are_current(tmp_path: Path) -> None:
    folder = REPOSITORY / "manifests" / "monitoring" / "dashboards"
    code = "import sys, json, dashboard; json.dump(dashboard.dashboards(), sys.stdout)"
    made = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY / "tools",
        capture_output=True,
        check=True,
        timeout=60,
    )
    committed = {path.name: json.loads(path.read_text()) for path in folder.glob("*.json")}
    assert json.loads(made.stdout) == committed, "run: python tools/dashboard.py"


def test_panels_of_a_dashboard_do_not_overlap() -> None:
    for path in (REPOSITORY / "manifests" / "monitoring" / "dashboards").glob("*.json"):
        taken = [
            (x, y)
            for panel in json.loads(path.read_text())["panels"]
            for at in [panel["gridPos"]]
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        ]
        assert len(taken) == len(set(taken))
        assert max(x for x, _ in taken) < 24
