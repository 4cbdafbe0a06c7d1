"""What an installation consists of, as kustomize and Helm render it."""

import copy
import functools
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "manifests"
CHART = ROOT / "charts" / "drifttrigger"
SYSTEM = "drifttrigger-system"
ACCOUNT = f"system:serviceaccount:{SYSTEM}:drifttrigger"
EXECUTION_ACCOUNT = f"{ACCOUNT}-execution"

Json = dict[str, Any]
Name = tuple[str, str, str]
"""Kind, namespace (empty for none) and name."""
Right = tuple[str, str, str]
"""Verb, API group and resource (with its subresource)."""

# Each way to install: its overlay, and the values of the chart that mean the same.
WAYS: dict[str, tuple[str, ...]] = {
    "cluster-wide": (),
    "high-availability": ("--set=replicas=2",),
    "split": ("--set=controllers=Split",),
    "namespaced": ("--set=watchNamespaces={team-a}",),
}
OF_HELM = ("app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "helm.sh/chart")


def run(*command: str | Path) -> str:
    """Run a tool; fails the test with what it said when it does not succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@functools.cache
def kustomize(kubectl: Path, folder: Path) -> list[Json]:
    """Render a folder of manifests; what comes is shared, so nobody changes it."""
    return objects(run(kubectl, "kustomize", folder))


@functools.cache
def helm_template(helm: Path, *arguments: str) -> list[Json]:
    """Render the chart; what comes is shared, so nobody changes it."""
    return objects(
        run(helm, "template", "drifttrigger", CHART, f"--namespace={SYSTEM}", *arguments)
    )


def objects(text: str) -> list[Json]:
    """Read all objects of a YAML stream."""
    # The loader in C: the definitions are long.
    return [body for body in yaml.load_all(text, Loader=yaml.CSafeLoader) if body is not None]


def name_of(body: Json) -> Name:
    """Name an object."""
    metadata = body["metadata"]
    return body["kind"], metadata.get("namespace", ""), metadata["name"]


def by_name(bodies: Iterable[Json]) -> dict[Name, Json]:
    """Index objects by what they are called; none comes twice."""
    found = list(bodies)
    index = {name_of(body): body for body in found}
    assert len(index) == len(found)
    return index


def without_helm(body: Json) -> Json:
    """Take away what only Helm adds: who manages the object, and whether it is kept."""
    bare = copy.deepcopy(body)
    metadata = bare["metadata"]
    for label in OF_HELM:
        metadata.get("labels", {}).pop(label, None)
    metadata.get("annotations", {}).pop("helm.sh/resource-policy", None)
    if not metadata.get("annotations", True):
        del metadata["annotations"]
    return bare


def granted(bodies: Sequence[Json], account: str) -> set[Right]:
    """Collect what the roles bound to a service account allow."""
    _, _, namespace, name = account.split(":")
    subject = {"kind": "ServiceAccount", "namespace": namespace, "name": name}
    index = by_name(bodies)
    rights: set[Right] = set()
    for (kind, where, _), body in index.items():
        if kind.endswith("RoleBinding") and subject in body["subjects"]:
            role = body["roleRef"]
            place = where if role["kind"] == "Role" else ""
            rights |= set(_rights_of(index[role["kind"], place, role["name"]]))
    return rights


def _rights_of(role: Json) -> Iterator[Right]:
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    yield verb, group, resource
