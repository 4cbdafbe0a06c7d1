"""The same scripts on objects of a run that is going on, and what Argo CD leaves on its objects."""

import json
from typing import Any

import pytest

from gitops import argo, kstatus
from gitops.expected import EXPECTED
from gitops.export import CUSTOMIZATIONS
from gitops.ground import ROOT, Ground
from gitops.states import live_states
from support.kubectl import Kubectl
from support.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("lifecycle")]

ACTIONS = CUSTOMIZATIONS / "DriftTrigger" / "actions"
INSTANCE, TRACKING = "app.kubernetes.io/instance", "argocd.argoproj.io/tracking-id"
OWN_LABEL = "argocd.argoproj.io/instance"
LABELS = {INSTANCE: "models", OWN_LABEL: "models"}
ANNOTATIONS = {
    TRACKING: "models:drifttrigger.dev/DriftTrigger:models/fraud",
    "argocd.argoproj.io/sync-wave": "1",
    "argocd.argoproj.io/installation-id": "main",
}


def test_objects_of_a_live_run_are_judged_as_the_committed_ones(ground: Ground) -> None:
    with ground.world() as world:
        found = live_states(world)
    judged: dict[str, dict[str, tuple[str, str, str]]] = {}
    for kind, states in found.items():
        script = (CUSTOMIZATIONS / kind / "health.lua").read_text()
        for state, body in states.items():
            said = argo.health(script, body)
            computed = kstatus.compute(body).status
            of_kind = judged.setdefault(kind, {})
            of_kind[state] = (said.status, said.message.partition(": ")[0], computed)
    assert judged == EXPECTED


def act(world: World, name: str) -> Any:
    """Do what Argo CD does when the button is pressed: patch with what the script changed."""
    live = world.get("drifttrigger", "fraud")
    assert not argo.discover((ACTIONS / "discovery.lua").read_text(), live)[name]["disabled"]
    after = argo.act((ACTIONS / name / "action.lua").read_text(), live)
    patch = f"--patch={json.dumps(argo.patch_of(live, after))}"
    where = f"--namespace={world.namespace}"
    world.kubectl("patch", "drifttrigger", "fraud", "--type=merge", patch, where)


def status(world: World) -> Any:
    return world.get("drifttrigger", "fraud").get("status", {})


def test_buttons_work_and_nothing_of_argo_cd_reaches_a_child(ground: Ground) -> None:
    with ground.world() as world:
        world.set("fraud", 0.1)
        body = world.trigger("fraud", annotations=ANNOTATIONS)
        body["metadata"]["labels"] = LABELS
        tracked = {"labels": {OWN_LABEL: "models", INSTANCE: "own"}, "annotations": ANNOTATIONS}
        body["spec"]["jobTemplate"]["metadata"] = tracked
        template = body["spec"]["jobTemplate"]["spec"]["template"]
        template["metadata"] = {"labels": {OWN_LABEL: "models"}, "annotations": dict(ANNOTATIONS)}
        world.operator()
        world.apply(body)
        world.wait_reason("fraud", "Drifted", "BelowThreshold")
        act(world, "hold")
        act(world, "release")
        act(world, "trigger-now")
        world.wait(lambda: "lastManual" in status(world), what="the answer")
        assert status(world)["lastManual"]["result"].startswith("Accepted: ")
        [job] = world.wait_jobs(1)
        [retraining] = world.all("retraining")
        world.wait(lambda: len(world.all("pod")) == 1, what="the pod")
        [pod] = world.all("pod")
    for child in (job, retraining, pod, job["spec"]["template"]):
        metadata = child["metadata"]
        names = [*metadata.get("labels", {}), *metadata.get("annotations", {})]
        assert [name for name in names if "argoproj.io" in name] == []
        assert metadata["labels"].get(INSTANCE) != "models"
    # A label that the template sets by itself is its author's. Argo CD takes it for tracking only
    # on what has no owner, and each Job has one.
    assert job["metadata"]["labels"][INSTANCE] == "own"
    assert job["metadata"]["ownerReferences"][0]["kind"] == "Retraining"
    assert INSTANCE not in retraining["metadata"]["labels"]


def test_the_checks_are_registered_beside_what_argocd_cm_holds(ground: Ground) -> None:
    kubectl: Kubectl = ground.kubectl
    kept = {"application.resourceTrackingMethod": "annotation"}
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argocd-cm"}}
    kubectl("apply", "--filename=-", "--namespace=default", stdin={**config, "data": kept})
    path = ROOT / "manifests" / "argocd" / "argocd-cm.yaml"
    patch = ("patch", "configmap", "argocd-cm", "--namespace=default", "--type=merge")
    kubectl(*patch, f"--patch-file={path}")
    data = kubectl.get("configmap", "argocd-cm", "--namespace=default")["data"]
    assert kept.items() <= data.items()
    prefix = "resource.customizations.health.drifttrigger.dev_"
    assert {name.removeprefix(prefix) for name in data if name.startswith(prefix)} == set(EXPECTED)
