"""Write the testdata of the Argo CD customizations: objects as a real run left them.

    PYTHONPATH=tests .venv/bin/python -m gitops.export

Names and addresses of the run are replaced, what only the API server keeps is left out; all else
is as it was stored.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from gitops.argo import health
from gitops.ground import ROOT, use_ground
from gitops.states import States, live_states
from support.world import World

CUSTOMIZATIONS = ROOT / "manifests" / "argocd" / "resource_customizations" / "drifttrigger.dev"
# State of a trigger, action, and the annotations after it; the time of a request varies.
ACTED = {
    "evaluating": {
        "trigger-now": {"drifttrigger.dev/trigger-now": "2026-01-31T12:00:00Z"},
        "hold": {"drifttrigger.dev/hold": "forever held in Argo CD"},
        "hold-until": {"drifttrigger.dev/hold": "2026-12-31T00:00:00Z audit"},
    },
    "held": {"release": {}},
}
APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def exported(body: dict[str, Any], world: World) -> dict[str, Any]:
    """Take out of an object what is of the run only."""
    text = json.dumps(body)
    assert world.cluster.prometheus_url is not None
    swaps = {
        f"-{world.namespace}": "",
        world.namespace: "models",
        world.cluster.prometheus_url: "http://prometheus.monitoring:9090",
    }
    for old, new in swaps.items():
        text = text.replace(old, new)
    bare: dict[str, Any] = json.loads(text)
    bare["metadata"].pop("managedFields", None)
    bare["metadata"].get("annotations", {}).pop(APPLIED, None)
    return bare


def write(states: States, world: World) -> None:
    """Write one file for each state of each kind."""
    for kind, found in states.items():
        folder = CUSTOMIZATIONS / kind / "testdata"
        for old in folder.glob("*.yaml"):
            old.unlink()
        for state, body in found.items():
            put(folder / f"{state}.yaml", exported(body, world))


def write_expected() -> None:
    """Write what the health scripts say of the testdata, and what the actions are to make of it.

    What each state must be called, whatever the names and times of a run, is in `test_argo.py`.
    """
    for folder in sorted(CUSTOMIZATIONS.iterdir()):
        script = (folder / "health.lua").read_text()
        tests = []
        for path in sorted((folder / "testdata").glob("*.yaml")):
            said = health(script, yaml.safe_load(path.read_text()))
            status = {"status": said.status, "message": said.message}
            tests.append({"healthStatus": status, "inputPath": f"testdata/{path.name}"})
        put(folder / "health_test.yaml", {"tests": tests})
    trigger = CUSTOMIZATIONS / "DriftTrigger"
    for state, changes in ACTED.items():
        for action, annotations in changes.items():
            body = yaml.safe_load((trigger / "testdata" / f"{state}.yaml").read_text())
            body["metadata"]["annotations"] = annotations
            put(trigger / "actions" / "testdata" / f"{state}_{action}.yaml", body)


def put(path: Path, body: dict[str, Any]) -> None:
    """Write one YAML file."""
    path.write_text(yaml.safe_dump(body, width=100, allow_unicode=True, sort_keys=True))


def main() -> int:
    """Run an operator on a control plane of its own, and save what comes of it."""
    with tempfile.TemporaryDirectory() as room, use_ground(Path(room) / "cluster") as ground:
        ground.install()
        with ground.world() as world:
            write(live_states(world), world)
    write_expected()
    return 0


if __name__ == "__main__":
    sys.exit(main())
