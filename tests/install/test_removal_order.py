"""Removal in any order while retrainings run: operator first, namespace first, definitions first.

Nothing waits for an operator that is no longer there: no object of ours has a finalizer.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from gitops.ground import ROOT, Ground, shared_room, use_ground
from support.kubectl import Kubectl
from support.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("lifecycle")]

CRDS = str(ROOT / "crds")
KINDS = "drifttriggers,retrainings,metricssources"
OURS = "--selector=app.kubernetes.io/name=drifttrigger"
TIMEOUT = "--timeout=50s"


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with use_ground(shared_room(tmp_path_factory)) as found:
        found.install()
        yield found


def start(world: World, **policies: str) -> None:
    """Bring each trigger to a running Job; its deletion policy is given by its name."""
    for name, policy in policies.items():
        world.set(name, 0.35)
        running = {"outcome": "hang"}
        world.apply(world.trigger(name, deletionPolicy=policy, podTemplate=running))
    world.operator()
    world.wait_jobs(len(policies))


def names(world: World, kind: str) -> set[str]:
    return {body["metadata"]["name"].partition("-")[0] for body in world.all(kind)}


def terminating(kubectl: Kubectl, kinds: str) -> list[str]:
    found = kubectl.get(kinds, "--all-namespaces")["items"]
    return [
        f"{body['kind']} {body['metadata']['name']}"
        for body in found
        if "deletionTimestamp" in body["metadata"]
    ]


def wait_nothing_terminating(world: World, kinds: str) -> None:
    world.wait(
        lambda: terminating(world.kubectl, kinds) == [],
        within_seconds=150,
        what="the end of all that is going",
    )


def test_operator_first_and_then_triggers_as_their_policy_says(ground: Ground) -> None:
    with ground.world() as world:
        start(world, kept="Retain", gone="Delete")
        assert world.operators[0].stop() == 0
        where = f"--namespace={world.namespace}"
        world.kubectl("delete", "drifttriggers", "--all", where, TIMEOUT)
        for kind in ("retraining", "job"):
            world.wait(lambda k=kind: names(world, k) == {"kept"}, within_seconds=150, what=kind)
        [job] = world.all("job")
        assert "deletionTimestamp" not in job["metadata"]
        wait_nothing_terminating(world, f"{KINDS},jobs")


def wait_known_to_the_garbage_collector(kubectl: Kubectl) -> None:
    """Let definitions be old enough: it looks for new kinds every 30 seconds only."""
    name = "retrainings.drifttrigger.dev"
    made = kubectl.get("customresourcedefinition", name)["metadata"]["creationTimestamp"]
    age = datetime.now(UTC) - datetime.fromisoformat(made)
    time.sleep(max(0.0, 40.0 - age.total_seconds()))


def test_namespace_and_definitions_first_while_the_operator_runs(ground: Ground) -> None:
    kubectl = ground.kubectl
    with ground.world() as namespace_first, ground.world() as crds_first:
        for world in (namespace_first, crds_first):
            world.set("gone", 0.35)
            world.apply(world.trigger("gone", podTemplate={"outcome": "hang"}))
        operator = crds_first.operator()
        for world in (namespace_first, crds_first):
            world.wait_jobs(1)
        wait_known_to_the_garbage_collector(kubectl)
        kubectl("delete", "namespace", namespace_first.namespace, "--wait=false")
        kubectl("delete", "--kustomize", CRDS, TIMEOUT)
        assert kubectl.get("customresourcedefinitions", OURS)["items"] == []
        crds_first.wait(
            lambda: crds_first.all("job") == [], within_seconds=150, what="its Job's end"
        )
        wait_nothing_terminating(crds_first, "jobs,pods,namespaces")
        assert "NotFound" in kubectl.run("get", "namespace", namespace_first.namespace).stderr
        # Without its kinds it ends by itself, to be started anew.
        assert operator.stop() in (0, 1)
        crds_first.operators.remove(operator)
