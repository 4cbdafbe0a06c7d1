"""The laws, and what must be remembered of the past to check them.

In every state, and at every write of the operator:

1. One decision (a trigger's UID and tick), one Retraining that ever runs.
2. Under Forbid no two Jobs that count run at once. A Job counts once a Retraining recorded it.
3. For drift: no Job for a tick within the cooldown of the end of the last Job that counts.
4. At most maxAttempts Jobs in one episode.
5. The operator never deletes a Job that counts while it runs.
6. A target, once recorded, and an outcome never change.
7. No Job is created for a Retraining that was never bound in its trigger's `active`.
8. JobDeleted is recorded only when the Job that counts is gone.
9. No TTL removes a Job before its outcome is recorded.
10. A Retraining is released only when it has ended, or is gone and its Job does not run.
11. A bound Retraining whose episode goes on is never Superseded: no decision is lost.
12. The operator never deletes a Retraining that has not ended, or that is pending or active.
13. An intent for drift rests on a tick that is newer than every tick decided before.

When all comes to rest (a fresh process alone, Jobs end): nothing pending, nothing active, every
Retraining has ended, every Job that is left is the one its Retraining recorded, and every sequence
number has its Retraining.

What people do on purpose bounds the laws: an emptied status begins a new count (4); a trigger under
deletionPolicy Delete takes its history along (2, 3); and a Retraining that was deleted by hand is
forgotten with the trigger, or the status, that knew of it (1, 2, 3). A Job that was deleted by hand
before its outcome was seen ends when that is noticed (3).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from drifttrigger.core.times import parse_duration, parse_instant
from explore.actors import KEY, instant
from explore.server import MARK, Request, Server

Json = dict[str, Any]
ENDED = ("True", "False")


class Violation(Exception):  # noqa: N818 - it is what it says
    """A law is broken."""

    def __init__(self, message: str, steps: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.steps = steps


@dataclass(frozen=True, slots=True)
class Facts:
    """The past.

    Attributes:
        started: Trigger UID, tick, episode and UID of each Retraining whose Job was recorded.
        counting: UID of every Job that was recorded as a target, and of its trigger.
        ended: Step at which a Job that counts ended, UIDs of its Retraining and its trigger.
        bound: UIDs of the Retrainings that have been in `active`.
        is_reset: Whether somebody emptied the status.
    """

    started: frozenset[tuple[str, str, int, str]] = frozenset()
    counting: frozenset[tuple[str, str]] = frozenset()
    ended: frozenset[tuple[int, str, str]] = frozenset()
    bound: frozenset[str] = frozenset()
    is_reset: bool = False

    def job_ended(self, server: Server, job: Json, step: int) -> Facts:
        """Remember the end of a Job that counts, or that its Retraining may still record."""
        retraining, owner = server.read("retrainings", job["metadata"]["name"]), owner_of(job)
        if retraining is None or retraining["metadata"]["uid"] != owner or _final(retraining):
            return self
        if _target(retraining) not in ("", job["metadata"]["uid"]):
            return self
        trigger = retraining["spec"]["triggerRef"]["uid"]
        return replace(self, ended=self.ended | {(step, owner, trigger)})

    def job_deleted(self, server: Server, job: Json) -> Facts:
        """Forget the end of a Job that a person took away before anybody saw it."""
        retraining, owner = server.read("retrainings", job["metadata"]["name"]), owner_of(job)
        if retraining is not None and _final(retraining):
            return self
        return replace(self, ended=frozenset(e for e in self.ended if e[1] != owner))

    def with_bound(self, server: Server) -> Facts:
        """Remember what is bound now."""
        bound = {entry["uid"] for entry in _active(server)}
        return self if bound <= self.bound else replace(self, bound=self.bound | bound)

    def after_reset(self) -> Facts:
        """Begin to count anew: whoever empties the status takes back attempts and episodes."""
        started = frozenset((uid, tick, -1, own) for uid, tick, _, own in self.started)
        return replace(self, started=started, is_reset=True)


def owner_of(job: Json) -> str:
    """Return the UID of the Retraining that a Job was made for."""
    return str(job["metadata"]["ownerReferences"][0]["uid"])


def check(server: Server, facts: Facts) -> None:
    """Check what one state shows."""
    trigger = server.read("drifttriggers", KEY[1])
    spec = trigger["spec"] if trigger else {}
    if spec.get("concurrencyPolicy") == "Allow":
        return
    counting = dict(facts.counting)
    there = {retraining["metadata"]["uid"] for retraining in server.all("retrainings")}
    running = []
    for job in server.all("jobs"):
        uid = job["metadata"]["uid"]
        if uid not in counting or _has_ended(job):
            continue
        is_foreign = trigger is not None and counting[uid] != trigger["metadata"]["uid"]
        if is_foreign and spec.get("deletionPolicy") == "Delete":
            continue
        if owner_of(job) not in there and (is_foreign or facts.is_reset):
            continue  # garbage by two acts of a person, about to be collected
        running.append(job["metadata"]["name"])
    if len(running) > 1:
        raise Violation(f"two Jobs run at once: {', '.join(running)}")


def check_ttl(server: Server, job: Json) -> None:
    """Check a Job that the TTL is about to remove."""
    retraining = server.read("retrainings", job["metadata"]["name"])
    if retraining is None or retraining["metadata"]["uid"] != owner_of(job):
        return
    if not _final(retraining):
        raise Violation(f"a TTL takes an outcome away: job {job['metadata']['name']}")


def observe_write(facts: Facts, before: Server, after: Server, request: Request, who: str) -> Facts:
    """Check one write of the operator that changed something, and remember what it did."""
    match request.verb, request.plural:
        case "delete", "jobs":
            _check_job_deletion(before, request, who)
        case "delete", "retrainings":
            _check_removal(before, request, who)
        case "create", "jobs":
            _check_creation(facts, after, request, who)
        case "patch-status", "drifttriggers":
            _check_release(before, after, who, facts)
            _check_intent(before, after, who)
            return facts.with_bound(after)
        case "patch-status", "retrainings":
            return _observe_retraining(facts, before, after, request, who)
    return facts


def _check_job_deletion(before: Server, request: Request, who: str) -> None:
    job = before.read("jobs", request.name)
    retraining = before.read("retrainings", request.name)
    if job is None or retraining is None:
        return
    if not _has_ended(job) and _target(retraining) == job["metadata"]["uid"]:
        raise Violation("a running Job is deleted by the operator", (who,))


def _check_removal(before: Server, request: Request, who: str) -> None:
    retraining = before.read("retrainings", request.name)
    trigger = before.read("drifttriggers", KEY[1])
    if retraining is None:
        return
    if not _final(retraining):
        raise Violation("an unfinished Retraining is deleted", (who,))
    status = trigger.get("status", {}) if trigger else {}
    uid = retraining["metadata"]["uid"]
    if status.get("pending", {}).get("name") == request.name or uid in _uids(before):
        raise Violation("a Retraining is deleted that has not been released", (who,))


def _check_creation(facts: Facts, after: Server, request: Request, who: str) -> None:
    job = after.read("jobs", request.name)
    assert job is not None
    if owner_of(job) not in facts.bound:
        raise Violation("a Job for a Retraining that was never bound", (who,))


def _check_release(before: Server, after: Server, who: str, facts: Facts) -> None:
    kept = _uids(after)
    counting = {uid for uid, _ in facts.counting}
    for entry in _active(before):
        if entry["uid"] in kept:
            continue
        retraining = before.read("retrainings", entry["name"])
        if retraining is not None and retraining["metadata"]["uid"] == entry["uid"]:
            if not _final(retraining):
                raise Violation(f"{entry['name']} is released before it has ended", (who,))
            continue
        job = before.read("jobs", entry["name"])
        if job is None or owner_of(job) != entry["uid"]:
            continue
        if not _has_ended(job) and job["metadata"]["uid"] in counting:
            raise Violation(f"{entry['name']} is released while its Job runs", (who,))


def _check_intent(before: Server, after: Server, who: str) -> None:
    old, new = before.read("drifttriggers", KEY[1]), after.read("drifttriggers", KEY[1])
    assert old is not None
    assert new is not None
    pending = new["status"].get("pending")
    if (
        not pending
        or pending["cause"] != "Drift"
        or pending == old.get("status", {}).get("pending")
    ):
        return
    tick, last = pending["evidence"]["time"], old.get("status", {}).get("lastTick", "")
    if tick <= last:
        raise Violation(f"an intent for the tick {tick}, and {last} is decided", (who,))


def _observe_retraining(
    facts: Facts, before: Server, after: Server, request: Request, who: str
) -> Facts:
    old = before.read("retrainings", request.name)
    new = after.read("retrainings", request.name)
    assert old is not None
    assert new is not None
    if _target(old) and _target(old) != _target(new):
        raise Violation("a target changes", (who,))
    if _final(old) and _final(old) != _final(new):
        raise Violation(f"an outcome changes from {_final(old)} to {_final(new)}", (who,))
    if not _final(old):
        _check_end(facts, before, new, who)
    if _target(old) or not _target(new):
        return facts
    return _started(facts, after, new, who)


def _check_end(facts: Facts, before: Server, new: Json, who: str) -> None:
    name, end = new["metadata"]["name"], _final(new)
    job = before.read("jobs", name)
    if end == "JobDeleted" and job is not None and job["metadata"]["uid"] == _target(new):
        raise Violation(f"{name} ends as JobDeleted, and its Job is there", (who,))
    if end != "Superseded" or facts.is_reset or new["metadata"]["uid"] not in _uids(before):
        return
    trigger = before.read("drifttriggers", KEY[1])
    if trigger is None or MARK in trigger["metadata"]:
        return
    if new["spec"]["triggerRef"]["uid"] != trigger["metadata"]["uid"]:
        return
    episode = trigger.get("status", {}).get("episode") or {}
    if new["spec"]["cause"] == "Manual" or episode.get("number") == new["spec"].get("episode"):
        raise Violation(f"a decision is lost: {name} was bound and ends as Superseded", (who,))


def _started(facts: Facts, server: Server, retraining: Json, who: str) -> Facts:
    spec = retraining["spec"]
    uid, tick = spec["triggerRef"]["uid"], spec["evidence"]["time"]
    is_drift = spec["cause"] == "Drift"
    episode, own = spec.get("episode", 0) if is_drift else -1, retraining["metadata"]["uid"]
    there = {other["metadata"]["uid"] for other in server.all("retrainings")}
    for other_uid, other_tick, _, other in facts.started:
        is_forgotten = facts.is_reset and other not in there
        if (other_uid, other_tick) == (uid, tick) and other != own and not is_forgotten:
            raise Violation(f"one decision, two Jobs: the tick {tick}", (who,))
    started = facts.started | {(uid, tick, episode, own)}
    counting = facts.counting | {(_target(retraining), uid)}
    trigger = server.read("drifttriggers", spec["triggerRef"]["name"])
    if trigger is not None and is_drift:
        most = trigger["spec"].get("maxAttempts", 3)
        same = [s for s in started if (s[0], s[2]) == (uid, episode)]
        if most and len(same) > most:
            raise Violation(f"more than {most} Jobs in episode {episode}", (who,))
        _check_cooldown(facts, server, trigger["spec"], retraining, who)
    return replace(facts, started=started, counting=counting)


def _check_cooldown(facts: Facts, server: Server, spec: Json, retraining: Json, who: str) -> None:
    if spec.get("concurrencyPolicy") == "Allow":
        return  # there it counts from the start of the last one, and never blocks with 0s
    uid, tick = retraining["spec"]["triggerRef"]["uid"], retraining["spec"]["evidence"]["time"]
    cooldown: timedelta = parse_duration(spec["cooldown"], field="spec.cooldown")
    there = {other["metadata"]["uid"] for other in server.all("retrainings")}
    for ended, other, trigger in facts.ended:
        is_forgotten = other not in there and (trigger != uid or facts.is_reset)
        if other == retraining["metadata"]["uid"] or is_forgotten:
            continue
        if spec.get("deletionPolicy") == "Delete" and trigger != uid:
            continue
        end = instant(ended).replace(microsecond=0)
        if parse_instant(tick) < end + cooldown:
            raise Violation(f"a Job for the tick {tick}, within the cooldown from {end}", (who,))


def check_rest(server: Server, *, whole: bool) -> None:
    """Check what is left when nothing goes on any more.

    Args:
        server: The API server.
        whole: Whether nobody deleted anything, so that every decision must have its Retraining.
    """
    trigger = server.read("drifttriggers", KEY[1])
    status = trigger.get("status", {}) if trigger else {}
    retrainings = server.all("retrainings")
    if status.get("pending"):
        raise Violation("an intent is never carried out")
    if status.get("active"):
        raise Violation("an ended Retraining is never released")
    if not all(_final(retraining) for retraining in retrainings):
        raise Violation("a Retraining never ends")
    targets = {_target(retraining) for retraining in retrainings}
    for job in server.all("jobs"):
        if job["metadata"]["uid"] not in targets:
            raise Violation(f"a stray survives: job {job['metadata']['name']}")
    if not trigger or not whole:
        return
    uid = trigger["metadata"]["uid"]
    ours = [r for r in retrainings if r["spec"]["triggerRef"]["uid"] == uid]
    if len(ours) != status.get("retrainings", 0):
        raise Violation("a decision has no Retraining")


def _active(server: Server) -> list[Json]:
    trigger = server.read("drifttriggers", KEY[1])
    return list(trigger.get("status", {}).get("active", [])) if trigger else []


def _uids(server: Server) -> set[str]:
    return {entry["uid"] for entry in _active(server)}


def _has_ended(job: Json) -> bool:
    return bool(job.get("status", {}).get("conditions"))


def _target(retraining: Json) -> str:
    return str(retraining.get("status", {}).get("target", {}).get("uid", ""))


def _final(retraining: Json) -> str:
    for condition in retraining.get("status", {}).get("conditions", []):
        if condition["status"] in ENDED:
            return str(condition["reason"])
    return ""
