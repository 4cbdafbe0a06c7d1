"""Each way to install, applied to a real API server: as often as one likes, and restricted."""

import copy
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from install.rendering import (
    MANIFESTS,
    SYSTEM,
    WAYS,
    by_name,
    helm_template,
    kustomize,
    run,
)
from install.schemas import LOCATION, write_schemas
from support.crds import SMALLEST
from support.kubectl import Kubectl

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("install")]

POD_SECURITY = "pod-security.kubernetes.io/enforce=restricted"


def versions(admin: Kubectl, way: str) -> dict[str, str]:
    """Read the resourceVersion of all objects of an overlay, but for those that have a status."""
    overlay = str(MANIFESTS / "overlays" / way)
    found = admin.get("--kustomize", overlay)["items"]
    return {
        f"{body['kind']} {body['metadata']['name']}": body["metadata"]["resourceVersion"]
        for body in found
        if body["kind"] != "Deployment"  # its controllers write to it as pods come and go
    }


@pytest.fixture(scope="module")
def room(applied: Kubectl) -> Kubectl:
    """The cluster with the namespace that the namespaced overlay names."""
    team = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-a"}}
    applied("apply", "--server-side", "--filename=-", stdin=team)
    return applied


@pytest.mark.parametrize("way", ["namespaced", "split", "high-availability"])
def test_a_second_server_side_apply_changes_nothing(room: Kubectl, way: str) -> None:
    apply = ("apply", "--server-side", "--kustomize", str(MANIFESTS / "overlays" / way))
    room(*apply)
    before = versions(room, way)
    room(*apply)
    assert versions(room, way) == before


def test_a_client_side_apply_works_and_is_repeated_without_a_change(room: Kubectl) -> None:
    room("delete", "--kustomize", str(MANIFESTS / "rbac"))
    apply = ("apply", "--kustomize", str(MANIFESTS))
    room(*apply)
    again = room(*apply).splitlines()
    assert [line for line in again if not line.endswith(" unchanged")] == []


@pytest.fixture(scope="module")
def kubeconform(
    room: Kubectl, tools: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, ...]:
    """kubeconform, strict, with the schemas of this API server."""
    folder = tmp_path_factory.mktemp("schemas")
    write_schemas(json.loads(room("get", "--raw=/openapi/v2")), folder)
    options = ("-strict", "-summary", "-schema-location", f"{folder}/{LOCATION}")
    return (str(tools / "kubeconform"), *options)


@pytest.mark.parametrize("way", WAYS)
def test_kubeconform_finds_nothing_wrong_with_what_is_rendered(
    kubeconform: tuple[str, ...], kubectl_program: Path, tools: Path, tmp_path: Path, way: str
) -> None:
    overlay = kustomize(kubectl_program, MANIFESTS / "overlays" / way)
    for bodies in (overlay, helm_template(tools / "helm", *WAYS[way])):
        rendered = tmp_path / "rendered.json"
        rendered.write_text("\n---\n".join(map(json.dumps, bodies)))
        said = run(*kubeconform, rendered)
        assert f"{len(bodies)} resources found" in said
        assert f"Valid: {len(bodies)}, Invalid: 0, Errors: 0, Skipped: 0" in said


def test_kubeconform_finds_nothing_wrong_with_the_samples(kubeconform: tuple[str, ...]) -> None:
    samples = sorted((MANIFESTS / "samples").glob("*.yaml"))
    assert f"Valid: {len(samples)}, Invalid: 0" in run(*kubeconform, *samples)


def test_kubeconform_finds_a_field_that_nobody_knows(
    kubeconform: tuple[str, ...], tmp_path: Path
) -> None:
    wrong = copy.deepcopy(SMALLEST)
    wrong["spec"]["treshold"] = wrong["spec"]["threshold"]
    sample = tmp_path / "wrong.json"
    sample.write_text(json.dumps(wrong))
    done = subprocess.run([*kubeconform, sample], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "treshold" in done.stdout


@pytest.mark.parametrize("way", WAYS)
def test_the_pods_meet_the_restricted_pod_security_standard(
    room: Kubectl, kubectl_program: Any, way: str
) -> None:
    bodies = by_name(kustomize(kubectl_program, MANIFESTS / "overlays" / way))
    labels = bodies["Namespace", "", SYSTEM]["metadata"]["labels"]
    assert labels[POD_SECURITY.partition("=")[0]] == "restricted"
    accounts = {name for kind, _, name in bodies if kind == "ServiceAccount"}
    pods = [
        body["spec"]["template"]["spec"] for name, body in bodies.items() if name[0] == "Deployment"
    ]
    assert {pod["serviceAccountName"] for pod in pods} == accounts
    for pod in pods:
        pod = {**pod, "serviceAccountName": "drifttrigger"}  # the one that is surely there
        assert refusal(room, pod) == ""
        assert 'violates PodSecurity "restricted' in refusal(room, {**pod, "securityContext": {}})


def refusal(room: Kubectl, spec: dict[str, Any]) -> str:
    """Create a pod in the operator's namespace as a server-side dry run; say why it is refused."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "restricted", "namespace": SYSTEM},
        "spec": spec,
    }
    done: subprocess.CompletedProcess[str] = room.run(
        "create", "--dry-run=server", "--filename=-", stdin=pod
    )
    return done.stderr
