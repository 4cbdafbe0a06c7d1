"""The shipped rights are what a life needs: each is used, and none is missing.

Told by the API server's audit log, of operators that run as their service accounts. Detection and
execution run as two processes, so that each role is held against its own requests.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from install.rendering import (
    ACCOUNT,
    EXECUTION_ACCOUNT,
    MANIFESTS,
    SYSTEM,
    Right,
    granted,
    kustomize,
)
from support.cluster import SharedCluster
from support.kubectl import Kubectl
from support.operator import OperatorProcess
from support.scores import Scores
from support.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("install")]

GROUP = "drifttrigger.dev"
ACCOUNTS = {"detection": ACCOUNT, "execution": EXECUTION_ACCOUNT}
# No request has this verb: the admission policy asks for it, and test_admission.py for the policy.
DECIDE = ("decide", GROUP, "retrainings")
# One process at a time holds no Lease; replicas that share the work do.
LEASES = ("coordination.k8s.io", "leases")


@pytest.fixture
def split(applied: Kubectl) -> Kubectl:
    """The cluster with the rights of the split installation, and of them alone."""
    applied("apply", "--server-side", "--kustomize", str(MANIFESTS / "overlays" / "split"))
    return applied


@pytest.fixture(scope="module")
def scores(own_cluster: SharedCluster) -> Iterator[Scores]:
    """The exporter of these tests."""
    exporter = Scores()
    own_cluster.add_scrape_target("scores-install", exporter.address)
    yield exporter
    exporter.close()


def controller_of(cluster: SharedCluster, controller: str, folder: Path) -> OperatorProcess:
    """Start one controller for all namespaces, as the account of the split installation."""
    account = ACCOUNTS[controller].rpartition(":")[2]
    kubeconfig = cluster.service_account_kubeconfig(SYSTEM, account)
    log = folder / f"{controller}.log"
    return OperatorProcess(kubeconfig, [], log, arguments=[f"--controllers={controller}"])


def used(cluster: SharedCluster, account: str) -> set[Right]:
    """Collect what an account was allowed to do, by the audit log."""
    return {right for right, code in _asked(cluster, account) if code < 400 or code in (404, 409)}


def refused(cluster: SharedCluster, account: str) -> set[Right]:
    """Collect what an account was forbidden."""
    return {right for right, code in _asked(cluster, account) if code == 403}


def _asked(cluster: SharedCluster, account: str) -> Iterator[tuple[Right, int]]:
    for event in cluster.audit_events():
        if event["user"]["username"] != account or "objectRef" not in event:
            continue
        target: dict[str, Any] = event["objectRef"]
        resource = "/".join(filter(None, (target["resource"], target.get("subresource"))))
        right = (event["verb"], target.get("apiGroup", ""), resource)
        if target.get("apiGroup") != "authorization.k8s.io":  # everybody may ask what they may
            yield right, event["responseStatus"]["code"]


def test_each_right_is_used_by_a_life_and_none_is_missing(
    own_cluster: SharedCluster,
    split: Kubectl,
    scores: Scores,
    kubectl_program: Path,
    tmp_path: Path,
) -> None:
    split("create", "namespace", "life")
    world = World("life", split, scores, own_cluster, own_cluster.kubeconfig, tmp_path)
    world.operators += [controller_of(own_cluster, name, tmp_path) for name in ACCOUNTS]
    try:
        live(world)
    finally:
        codes = [operator.stop() for operator in world.operators]
    assert codes == [0, 0]
    bodies = kustomize(kubectl_program, MANIFESTS / "overlays" / "split")
    for account in ACCOUNTS.values():
        assert refused(own_cluster, account) == set()
        unused = granted(bodies, account) - used(own_cluster, account) - {DECIDE}
        assert sorted(right for right in unused if right[1:] != LEASES) == []


def live(world: World) -> None:
    """Drift, two Jobs with a TTL, history cleanup, a stray Job, a record that vanishes, sources."""
    world.set("fraud", 0.35)
    world.set("own", 0.1)
    world.set("shared", 0.1)
    for kind, trigger in (("MetricsSource", "own"), ("ClusterMetricsSource", "shared")):
        world.apply(by_reference(world.trigger(trigger), kind))
        world.wait(lambda name=trigger: is_missed(world, name), what=f"a word on {kind}")
        world.apply(source(world, kind))
    body = world.trigger(cooldown="0s", maxAttempts=2, successfulHistoryLimit=1)
    body["spec"]["jobTemplate"]["spec"]["ttlSecondsAfterFinished"] = 600
    world.apply(body)
    world.set("vanishing", 0.35)
    world.apply(world.trigger("vanishing", podTemplate={"outcome": "hang"}))
    world.wait(lambda: len(active_of(world, "vanishing")) == 1, what="its Retraining")
    [vanishing] = active_of(world, "vanishing")
    world.kubectl("delete", "retraining", vanishing["name"], "--namespace", world.namespace)
    world.wait_reason("fraud", "Drifted", "AttemptsExhausted", within_seconds=40)
    world.wait(lambda: len(of(world, "fraud")) == 1, what="the history limit")
    [retraining] = of(world, "fraud")
    name = retraining["metadata"]["name"]
    world.kubectl("delete", "job", name, "--namespace", world.namespace)
    world.kubectl("create", "--filename=-", stdin=stray(retraining))
    world.wait(lambda: name not in names(world, "job"), what="the stray's end")
    for trigger in ("own", "shared"):
        world.wait_reason(trigger, "Drifted", "BelowThreshold")
    for kind in ("metricssource", "clustermetricssource"):
        world.wait(lambda kind=kind: "conditions" in status_of(world, kind), what=f"its {kind}")


def source(world: World, kind: str) -> dict[str, Any]:
    """Build a source of the world's Prometheus, for this namespace."""
    metadata: dict[str, Any] = {"name": "prometheus"}
    spec: dict[str, Any] = {"address": world.cluster.prometheus_url}
    if kind == "MetricsSource":
        metadata["namespace"] = world.namespace
    else:
        label = {"kubernetes.io/metadata.name": world.namespace}
        spec["allowedNamespaces"] = {"selector": {"matchLabels": label}}
    return {
        "apiVersion": f"{GROUP}/v1alpha1",
        "kind": kind,
        "metadata": metadata,
        "spec": spec,
    }


def by_reference(trigger: dict[str, Any], kind: str) -> dict[str, Any]:
    """Let a trigger name a source in place of an address."""
    del trigger["spec"]["prometheus"]
    trigger["spec"]["sourceRef"] = {"kind": kind, "name": "prometheus"}
    return trigger


def is_missed(world: World, trigger: str) -> bool:
    """Whether a trigger says that its source is not there."""
    return "there is no" in world.condition(trigger, "Ready").get("message", "")


def status_of(world: World, kind: str) -> dict[str, Any]:
    return world.get(kind, "prometheus").get("status", {})


def active_of(world: World, name: str) -> list[dict[str, Any]]:
    return world.get("drifttrigger", name).get("status", {}).get("active", [])


def of(world: World, trigger: str) -> list[dict[str, Any]]:
    """Get the Retrainings of a trigger."""
    return [r for r in world.all("retraining") if r["spec"]["triggerRef"]["name"] == trigger]


def names(world: World, kind: str) -> list[str]:
    return [body["metadata"]["name"] for body in world.all(kind)]


def stray(retraining: dict[str, Any]) -> dict[str, Any]:
    """Build a Job that came after its Retraining had ended."""
    metadata = retraining["metadata"]
    container = {"name": "retrain", "image": "registry.example/retrain:1"}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "labels": {f"{GROUP}/retraining": metadata["name"]},
            "ownerReferences": [
                {
                    "apiVersion": f"{GROUP}/v1alpha1",
                    "kind": "Retraining",
                    "name": metadata["name"],
                    "uid": metadata["uid"],
                    "controller": True,
                }
            ],
        },
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
    }


def test_an_operator_of_one_namespace_needs_roles_of_that_namespace_only(
    own_cluster: SharedCluster, applied: Kubectl, scores: Scores, tmp_path: Path
) -> None:
    applied("delete", "clusterrolebinding", "drifttrigger-detection", "drifttrigger-execution")
    applied("delete", "clusterrolebinding", "drifttrigger-cluster-sources")
    team = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-a"}}
    applied("apply", "--server-side", "--filename=-", stdin=team)
    overlay = MANIFESTS / "overlays" / "namespaced"
    applied("apply", "--server-side", "--force-conflicts", "--kustomize", str(overlay))
    account = own_cluster.service_account_kubeconfig(SYSTEM, "drifttrigger")
    world = World("team-a", applied, scores, own_cluster, account, tmp_path)
    world.set("fraud", 0.35)
    try:
        world.operator()
        world.apply(world.trigger())
        world.wait_reason("fraud", "Drifted", "CoolingDown")
        assert len(world.created_jobs()) == 1
        assert refused(own_cluster, ACCOUNT) == set()
    finally:
        codes = [operator.stop() for operator in world.operators]
    assert codes == [0]
