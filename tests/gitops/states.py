"""Objects in every state that GitOps tools must judge, as a real operator leaves them.

One life of one operator: first detection alone, so that a Retraining is seen before anybody looked
at it; then both controllers; then none, so that an edit stays unseen. What it gives is committed as
testdata for Argo CD's own test layout (`python -m gitops.export`) and made anew by an end-to-end
test.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from support.world import World

Json = dict[str, Any]
States = dict[str, dict[str, Json]]
"""Kind, then state, then the object."""

HOLD = "drifttrigger.dev/hold"
TRIGGER = "drifttrigger.dev/trigger"
NOWHERE = "http://127.0.0.1:9"
FRESH, BEHIND = "fresh", "generation-behind"
DRIFTED = ("drifted", "running", "failed", "held")
SOURCES = {"MetricsSource": "metricssources", "ClusterMetricsSource": "clustermetricssources"}


def live_states(world: World) -> States:
    """Bring objects into every state; takes about 15 s."""
    found: States = {"DriftTrigger": {}, "Retraining": {}, **{kind: {} for kind in SOURCES}}
    for name, score in _scores().items():
        world.set(name, *score)
    with _sources(world):
        _apply(world)
        _take_fresh(world, found)
        detection = world.operator("--controllers=detection")
        world.wait(lambda: _retraining(world, "running") is not None, what="a decision")
        found["Retraining"][FRESH] = _retraining(world, "running") or {}
        detection.stop()
        operator = world.operator()
        _settle(world)
        _take(world, found)
        operator.stop()
        _take_behind(world, found)
    return found


def _scores() -> dict[str, tuple[float, ...]]:
    scores: dict[str, tuple[float, ...]] = dict.fromkeys(DRIFTED, (0.35,))
    quiet = ("evaluating", "suspended", "job-refused", "unreachable", "stalled")
    return scores | dict.fromkeys(quiet, (0.1,)) | {"no-data": ()}


def _triggers(world: World) -> Iterator[Json]:
    yield world.trigger("evaluating")
    yield world.trigger("drifted")
    yield world.trigger("running", podTemplate={"outcome": "hang"})
    failed = world.trigger("failed", maxAttempts=1, podTemplate={"outcome": "fail"})
    failed["spec"]["jobTemplate"]["spec"]["backoffLimit"] = 0
    yield failed
    yield world.trigger("held", annotations={HOLD: "forever audit week"})
    yield world.trigger("suspended", suspend=True)
    yield world.trigger("stalled", query="max(")
    yield world.trigger("unreachable", prometheus={"address": NOWHERE})
    yield world.trigger("no-data")
    refused = world.trigger("job-refused")
    refused["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["name"] = "No!"
    yield refused


def _source(kind: str, name: str, **spec: Any) -> Json:
    version = "drifttrigger.dev/v1alpha1"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}


@contextlib.contextmanager
def _sources(world: World) -> Iterator[None]:
    """Sources of both kinds; those of the cluster are taken away again."""
    addresses = {"answering": world.cluster.prometheus_url, "unreachable": NOWHERE}
    for kind in SOURCES:
        for name, address in addresses.items():
            world.kubectl(
                *("apply", f"--namespace={world.namespace}", "--filename=-"),
                stdin=_source(kind, f"{name}-{world.namespace}", address=address),
            )
    try:
        yield
    finally:
        names = [f"{name}-{world.namespace}" for name in addresses]
        world.kubectl("delete", "clustermetricssources", *names, "--ignore-not-found")


def _apply(world: World) -> None:
    items = list(_triggers(world))
    world.apply({"apiVersion": "v1", "kind": "List", "items": items})


def _sources_in(world: World, state: str) -> Iterator[tuple[str, Json]]:
    for kind, plural in SOURCES.items():
        yield kind, world.get(plural, f"{state}-{world.namespace}")


def _take_fresh(world: World, found: States) -> None:
    found["DriftTrigger"][FRESH] = world.get("drifttrigger", "evaluating")
    for kind, body in _sources_in(world, "answering"):
        found[kind][FRESH] = body


def _retraining(world: World, trigger: str) -> Json | None:
    label = f"--selector={TRIGGER}={trigger}"
    where = f"--namespace={world.namespace}"
    items: list[Json] = world.kubectl.get("retrainings", label, where)["items"]
    return items[0] if items else None


# Object of each kind, and the reason that one of its conditions has in the state it is named after.
_SETTLED = {
    "drifttriggers": {
        "evaluating": "BelowThreshold",
        "suspended": "Suspended",
        "stalled": "SpecInvalid",
        "unreachable": "Unreachable",
        "no-data": "NoData",
        "job-refused": "JobRefused",
        "drifted": "CoolingDown",
        "failed": "AttemptsExhausted",
        "held": "RetrainingActive",
        "running": "RetrainingActive",
    },
    "retrainings": {
        "drifted": "Completed",
        "failed": "JobFailed",
        "held": "Pending",
        "running": "Running",
    },
}


def _settle(world: World) -> None:
    """Wait until each object is in the state that it is named after."""
    missing: list[str] = []

    def settled() -> bool:
        missing[:] = [*_unsettled(world), *_unsettled_sources(world)]
        return not missing

    try:
        world.wait(settled, within_seconds=40, what="every state")
    except AssertionError as error:
        raise AssertionError(f"not settled: {missing}\n{error}") from None


def _unsettled(world: World) -> Iterator[str]:
    for plural, states in _SETTLED.items():
        found = {
            body["metadata"].get("labels", {}).get(TRIGGER, body["metadata"]["name"]): body
            for body in world.all(plural)
        }
        yield from (
            f"{plural} {name}: {reason}"
            for name, reason in states.items()
            if reason not in _reasons(found.get(name, {}))
        )


def _unsettled_sources(world: World) -> Iterator[str]:
    for state, reason in (("answering", "Answering"), ("unreachable", "Unreachable")):
        for kind, body in _sources_in(world, state):
            if reason not in _reasons(body):
                yield f"{kind} {state}"


def _reasons(body: Json) -> list[str]:
    return [condition["reason"] for condition in body.get("status", {}).get("conditions", [])]


def _take(world: World, found: States) -> None:
    for body in world.all("drifttriggers"):
        found["DriftTrigger"][body["metadata"]["name"]] = body
    for state, trigger in {
        "running": "running",
        "completed": "drifted",
        "failed": "failed",
        "held": "held",
    }.items():
        found["Retraining"][state] = _retraining(world, trigger) or {}
    for state in ("answering", "unreachable"):
        for kind, body in _sources_in(world, state):
            found[kind][state] = body


def _take_behind(world: World, found: States) -> None:
    edit = '--patch={"spec":{"threshold":0.9}}'
    where = f"--namespace={world.namespace}"
    world.kubectl("patch", "drifttrigger", "evaluating", "--type=merge", edit, where)
    found["DriftTrigger"][BEHIND] = world.get("drifttrigger", "evaluating")
    for kind, plural in SOURCES.items():
        name = f"answering-{world.namespace}"
        edit = '--patch={"spec":{"timeout":"9s"}}'
        world.kubectl("patch", plural, name, "--type=merge", edit, where)
        found[kind][BEHIND] = world.get(plural, name)
