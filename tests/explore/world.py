"""What happens without the operator: the clock, Jobs, people, the garbage collector, the TTL.

A world is everything that is not inside a replica. Every function here maps one world to the next
ones, each with the words for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from drifttrigger.api.v1alpha1 import ANNOTATION_HOLD, ANNOTATION_TRIGGER_NOW
from drifttrigger.core.times import format_instant
from explore.actors import KEY, instant
from explore.laws import Facts, check_ttl, observe_write
from explore.server import MARK, Request, Server, changed

Json = dict[str, Any]
Moves = Iterator[tuple[str, "World"]]
TRIGGER = ("drifttriggers", KEY[1])
EDITED_THRESHOLD = 0.3


@dataclass(frozen=True, slots=True)
class Faults:
    """What may still happen, each at any point.

    Attributes:
        crashes: A process is killed and starts again with nothing in memory.
        lost_replies: A write is done, and its reply never comes.
        late_writes: A write gets no answer, and lands at any later moment.
        refusals: A write is answered 503.
        rejections: A create is answered 422.
        quotas: The create of a Job meets an exhausted quota.
        deletions: Somebody deletes the trigger.
        applications: Somebody applies the trigger again once it is gone.
        job_deletions: Somebody deletes a Job.
        retraining_deletions: Somebody deletes a Retraining.
        suspensions: Somebody turns spec.suspend over.
        edits: Somebody edits the condition.
        resets: Somebody empties the trigger's status.
        requests: Somebody asks for a retraining by trigger-now.
        holds: Somebody sets the hold annotation, or takes it away.
    """

    crashes: int = 0
    lost_replies: int = 0
    late_writes: int = 0
    refusals: int = 0
    rejections: int = 0
    quotas: int = 0
    deletions: int = 0
    applications: int = 0
    job_deletions: int = 0
    retraining_deletions: int = 0
    suspensions: int = 0
    edits: int = 0
    resets: int = 0
    requests: int = 0
    holds: int = 0

    def spend(self, kind: str) -> Faults:
        """Return what is left after one of a kind."""
        return replace(self, **{kind: getattr(self, kind) - 1})


@dataclass(frozen=True, slots=True)
class Scenario:
    """A bounded world.

    Attributes:
        name: What it is called.
        scores: The score of each step; the clock goes through all of them.
        faults: What may go wrong.
        spec: Fields of the trigger's spec.
        ttl: The Job template's ttlSecondsAfterFinished.
        foreground: Whether people delete in the foreground: what they delete stays for a while.
        processes: How many passes may be under way at once, each in a process of its own.
        checks_version: Whether the API server refuses a write decided on an older version.
        cleans: Whether every detection pass also applies the history limits.
        jobs_end: Whether Jobs may complete before all comes to rest.
    """

    name: str
    scores: tuple[float | None, ...]
    faults: Faults = field(default_factory=Faults)
    spec: tuple[tuple[str, Any], ...] = ()
    ttl: int | None = None
    foreground: bool = False
    processes: int = 2
    checks_version: bool = True
    cleans: bool = False
    jobs_end: bool = True

    def trigger(self) -> bytes:
        """Return the manifest."""
        job: Json = {"template": {"spec": {"containers": []}}}
        if self.ttl is not None:
            job["ttlSecondsAfterFinished"] = self.ttl
        spec = {
            "prometheus": {"address": "http://p"},
            "query": "q",
            "threshold": 0.2,
            "interval": "10s",
            "cooldown": "15s",
            "jobTemplate": {"spec": job},
            **dict(self.spec),
        }
        return orjson.dumps(
            {
                "apiVersion": "drifttrigger.dev/v1alpha1",
                "kind": "DriftTrigger",
                "metadata": {"name": KEY[1]},
                "spec": spec,
            }
        )


@dataclass(frozen=True, slots=True)
class World:
    """Everything outside the processes, at one moment."""

    server: Server
    step: int
    faults: Faults
    in_flight: tuple[Request, ...] = ()
    facts: Facts = field(default_factory=Facts)


def first_world(scenario: Scenario) -> World:
    """Return the world in which the trigger was just applied."""
    server = Server(checks_version=scenario.checks_version)
    server = server.handle(Request("create", *TRIGGER, scenario.trigger()))[0]
    return World(server, 0, scenario.faults)


def moves(scenario: Scenario, world: World) -> Moves:
    """Yield every next world with the words for it."""
    if world.step + 1 < len(scenario.scores):
        score = scenario.scores[world.step + 1]
        words = f"the clock goes to step {world.step + 1} (score {score})"
        yield words, replace(world, step=world.step + 1)
    for request in world.in_flight:
        left = list(world.in_flight)
        left.remove(request)
        server, _ = world.server.handle(request)
        words, facts = f"late: {request} lands", world.facts
        if server != world.server:
            facts = observe_write(facts, world.server, server, request, words)
        yield words, replace(world, server=server, in_flight=tuple(left), facts=facts)
    yield from _cluster(world, jobs_end=scenario.jobs_end)
    yield from _people(scenario, world)
    trigger = world.server.read(*TRIGGER)
    if trigger is not None and MARK not in trigger["metadata"]:
        yield from _edits(world, trigger)


def _cluster(world: World, *, jobs_end: bool) -> Moves:
    """What the other controllers do: Jobs end, the TTL runs, garbage goes, deletions finish."""
    server = world.server
    for job in server.all("jobs"):
        name = job["metadata"]["name"]
        if not job.get("status", {}).get("conditions"):
            if jobs_end:
                yield f"job {name} completes", completed(world, job)
        elif job["spec"].get("ttlSecondsAfterFinished") is not None:
            check_ttl(server, job)
            yield f"the TTL removes job {name}", replace(world, server=server.drop("jobs", name))
    for kind, name in server.orphans():
        words = f"the garbage collector removes {kind} {name}"
        yield words, replace(world, server=server.drop(kind, name))
    for kind, name in server.marked():
        words = f"the deletion of {kind} {name} is finished"
        yield words, replace(world, server=server.drop(kind, name))


def at_rest(world: World) -> Moves:
    """What goes on by itself, once nobody does anything any more."""
    yield from _cluster(world, jobs_end=True)
    trigger = world.server.read(*TRIGGER)
    if trigger is not None and ANNOTATION_HOLD in trigger["metadata"].get("annotations", {}):
        faults = replace(world.faults, holds=1)
        yield (
            "the hold ends",
            _annotated(replace(world, faults=faults), "holds", ANNOTATION_HOLD, None),
        )


def completed(world: World, job: Json) -> World:
    """Let a Job complete."""
    at = format_instant(instant(world.step))
    status = {
        "conditions": [{"type": "Complete", "status": "True", "lastTransitionTime": at}],
        "completionTime": at,
        "succeeded": 1,
    }
    server = world.server.put("jobs", changed({**job, "status": status}))
    facts = world.facts.job_ended(world.server, job, world.step)
    return replace(world, server=server, facts=facts)


def _people(scenario: Scenario, world: World) -> Moves:
    """What people delete and apply."""
    server, faults = world.server, world.faults
    deletable = (
        ("deletions", "drifttriggers"),
        ("job_deletions", "jobs"),
        ("retraining_deletions", "retrainings"),
    )
    for fault, kind in deletable:
        if not getattr(faults, fault):
            continue
        for body in server.all(kind):
            if MARK in body["metadata"]:
                continue
            name = body["metadata"]["name"]
            gone = server.mark(kind, name) if scenario.foreground else server.drop(kind, name)
            facts = world.facts.job_deleted(server, body) if kind == "jobs" else world.facts
            words = f"somebody deletes {kind} {name}"
            yield words, replace(world, server=gone, faults=faults.spend(fault), facts=facts)
    if faults.applications and server.read(*TRIGGER) is None:
        applied = server.handle(Request("create", *TRIGGER, scenario.trigger()))[0]
        words = "somebody applies the trigger again"
        yield words, replace(world, server=applied, faults=faults.spend("applications"))


def _edits(world: World, trigger: Json) -> Moves:
    """What people change on the trigger."""
    faults, spec = world.faults, trigger["spec"]
    annotations = trigger["metadata"].get("annotations", {})
    if faults.suspensions:
        value = not spec.get("suspend", False)
        yield f"somebody sets suspend: {value}", _edited(world, "suspensions", suspend=value)
    if faults.edits:
        yield "somebody edits the condition", _edited(world, "edits", threshold=EDITED_THRESHOLD)
    if faults.resets and trigger.get("status"):
        reset = changed({key: value for key, value in trigger.items() if key != "status"})
        server = world.server.put("drifttriggers", reset)
        facts = world.facts.after_reset()
        spent = replace(world, server=server, faults=faults.spend("resets"), facts=facts)
        yield "somebody empties the status", spent
    if faults.requests:
        now = format_instant(instant(world.step))
        if annotations.get(ANNOTATION_TRIGGER_NOW) != now:
            asked = _annotated(world, "requests", ANNOTATION_TRIGGER_NOW, now)
            yield "somebody asks by trigger-now", asked
    if faults.holds:
        value = None if ANNOTATION_HOLD in annotations else "forever"
        yield f"somebody sets hold: {value}", _annotated(world, "holds", ANNOTATION_HOLD, value)


def _edited(world: World, fault: str, **fields: Any) -> World:
    trigger = world.server.read(*TRIGGER)
    assert trigger is not None
    trigger["spec"] |= fields
    trigger["metadata"]["generation"] += 1
    server = world.server.put("drifttriggers", changed(trigger))
    return replace(world, server=server, faults=world.faults.spend(fault))


def _annotated(world: World, fault: str, key: str, value: str | None) -> World:
    trigger = world.server.read(*TRIGGER)
    assert trigger is not None
    annotations = trigger["metadata"].setdefault("annotations", {})
    annotations.pop(key, None)
    if value is not None:
        annotations[key] = value
    server = world.server.put("drifttriggers", changed(trigger))
    return replace(world, server=server, faults=world.faults.spend(fault))
