"""Make the patch of Argo CD's ConfigMap `argocd-cm` from the Lua files.

`manifests/argocd/resource_customizations/` is laid out as in Argo CD's own repository, which is how
the scripts are tested; whoever runs Argo CD registers them in `argocd-cm`. The result is committed:

    .venv/bin/python tools/argocd.py > manifests/argocd/argocd-cm.yaml
"""

import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
GROUP = "drifttrigger.dev"
CUSTOMIZATIONS = ROOT / "manifests" / "argocd" / "resource_customizations" / GROUP
HEAD = """\
# Registers the health checks and actions of drifttrigger with Argo CD; written by tools/argocd.py.
# kubectl -n argocd patch configmap argocd-cm --type merge --patch-file argocd-cm.yaml
"""
# What changes with each heartbeat. Argo CD looks at an application again when something else does,
# or when the health changes.
HEARTBEAT = {
    "jsonPointers": ["/status/lastEvaluation", "/status/lastTick", "/status/episode/worstScore"],
    "jqPathExpressions": [".status.conditions[]?.message"],
}


class Dumper(yaml.SafeDumper):
    """Writes scripts as blocks."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


Dumper.add_representer(str, _text)


def customizations() -> dict[str, str]:
    """Collect the keys of `argocd-cm` and their values."""
    data: dict[str, str] = {}
    for folder in sorted(CUSTOMIZATIONS.iterdir()):
        kind = f"{GROUP}_{folder.name}"
        data[f"resource.customizations.health.{kind}"] = (folder / "health.lua").read_text()
        if (folder / "actions").is_dir():
            data[f"resource.customizations.actions.{kind}"] = _dump(_actions(folder / "actions"))
    trigger = f"{GROUP}_DriftTrigger"
    data[f"resource.customizations.ignoreResourceUpdates.{trigger}"] = _dump(HEARTBEAT)
    return data


def render() -> str:
    """Render the patch."""
    return HEAD + _dump({"data": customizations()})


def _actions(folder: Path) -> dict[str, Any]:
    definitions = [
        {"name": path.parent.name, "action.lua": path.read_text()}
        for path in sorted(folder.glob("*/action.lua"))
    ]
    return {"discovery.lua": (folder / "discovery.lua").read_text(), "definitions": definitions}


def _dump(value: object) -> str:
    return yaml.dump(value, Dumper=Dumper, sort_keys=False, width=100, allow_unicode=True)


if __name__ == "__main__":
    sys.stdout.write(render())
