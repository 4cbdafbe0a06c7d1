"""The laws, and what must be remembered of the past to check them.

1. One decision (a trigger's UID and tick), one Retraining that ever runs.
2. Under Forbid no two Jobs that count run at once.
3. For drift: no Job within the cooldown of the end of the last one.
4. At most maxAttempts Jobs in one episode.
5. No Job that its Retraining counts as its own is ever deleted by the operator while it runs.
6. A target, once recorded, and an outcome never change.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from explore.actors import instant
from explore.server import Request, Server

from drifttrigger.core.times import parse_duration, parse_instant

Json = dict[str, Any]


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
        ended: Step at which a Job that counts ended, and UID of its Retraining.
    """

    started: frozenset[tuple[str, str, int, str]] = frozenset()
    ended: frozenset[tuple[int, str]] = frozenset()

    def job_ended(self, server: Server, job: Json, step: int) -> Facts:
        """Remember the end of a Job that counts."""
        retraining = server.read("retrainings", job["metadata"]["name"])
        if retraining is None or _target(retraining) not in ("", job["metadata"]["uid"]):
            return self
        return replace(self, ended=self.ended | {(step, retraining["metadata"]["uid"])})


def check(server: Server) -> None:
    """Check what one state shows."""
    running = []
    for retraining in server.all("retrainings"):
        target = _target(retraining)
        job = server.read("jobs", retraining["metadata"]["name"])
        if not target or job is None or job["metadata"]["uid"] != target:
            continue
        if not job.get("status", {}).get("conditions"):
            running.append(retraining["metadata"]["name"])
    if len(running) > 1:
        raise Violation(f"two Jobs run at once: {', '.join(running)}")


def observe_write(
    facts: Facts, before: Server, after: Server, request: Request, step: int, who: str
) -> Facts:
    """Check one write of the operator, and remember what it started."""
    if request.verb == "delete" and request.plural == "jobs" and before is not after:
        _check_deletion(before, request, who)
    if request.verb != "patch-status" or request.plural != "retrainings":
        return facts
    old = before.read("retrainings", request.name)
    new = after.read("retrainings", request.name)
    if old is None or new is None:
        return facts
    _check_constancy(old, new, who)
    if _target(old) or not _target(new):
        return facts
    return _started(facts, after, new, step, who)


def _check_deletion(before: Server, request: Request, who: str) -> None:
    job = before.read("jobs", request.name)
    retraining = before.read("retrainings", request.name)
    if job is None or retraining is None:
        return
    ended = job.get("status", {}).get("conditions")
    if not ended and _target(retraining) == job["metadata"]["uid"]:
        raise Violation(f"a running Job is deleted by {who}", (who,))


def _check_constancy(old: Json, new: Json, who: str) -> None:
    if _target(old) and _target(old) != _target(new):
        raise Violation(f"a target changes: {who}", (who,))
    if _final(old) and _final(old) != _final(new):
        raise Violation(f"an outcome changes from {_final(old)} to {_final(new)}", (who,))


def _started(facts: Facts, server: Server, retraining: Json, step: int, who: str) -> Facts:
    spec = retraining["spec"]
    uid, tick = spec["triggerRef"]["uid"], spec["evidence"]["time"]
    episode, own = spec.get("episode", 0), retraining["metadata"]["uid"]
    for other_uid, other_tick, _, other in facts.started:
        if (other_uid, other_tick) == (uid, tick) and other != own:
            raise Violation(f"one decision, two Jobs: the tick {tick}", (who,))
    started = facts.started | {(uid, tick, episode, own)}
    trigger = server.read("drifttriggers", spec["triggerRef"]["name"])
    if trigger is not None:
        most = trigger["spec"].get("maxAttempts", 3)
        same = [s for s in started if (s[0], s[2]) == (uid, episode)]
        if most and len(same) > most:
            raise Violation(f"more than {most} Jobs in episode {episode}", (who,))
        cooldown = parse_duration(trigger["spec"]["cooldown"], field="spec.cooldown")
        _check_cooldown(facts, tick, own, cooldown, who)
    return replace(facts, started=started)


def _check_cooldown(
    facts: Facts, tick: str, own: str, cooldown: timedelta, who: str
) -> None:
    at = parse_instant(tick)
    for ended, retraining in facts.ended:
        if retraining == own:
            continue
        end = instant(ended).replace(microsecond=0)
        if at < end + cooldown:
            raise Violation(f"a Job for the tick {tick}, within the cooldown from {end}", (who,))


def _target(retraining: Json) -> str:
    return str(retraining.get("status", {}).get("target", {}).get("uid", ""))


def _final(retraining: Json) -> str:
    for condition in retraining.get("status", {}).get("conditions", []):
        if condition["status"] in ("True", "False"):
            return str(condition["reason"])
    return ""
