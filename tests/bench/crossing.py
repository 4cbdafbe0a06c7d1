"""From a threshold crossing that Prometheus can see to a Job that exists, and none of them twice.

All chosen scores are raised at once. Prometheus is asked until it has them. Each trigger then has
to wait for its own tick, which is nobody's fault: what is measured begins there, and ends when the
API server has answered the creation of the Job (its audit log).
"""

import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bench.exporter import CALM, HIGH
from bench.ground import JOBS, RETRAININGS, Body, Ground, trigger_path
from bench.operators import BenchOperator
from bench.scraped import Trigger
from bench.sending import Request
from drifttrigger.api.v1alpha1 import LABEL_TRIGGER
from drifttrigger.core.schedule import IntervalSchedule, phase
from drifttrigger.core.times import parse_instant

_POLL_SECONDS = 0.05
_LATE_SECONDS = 30.0
_CALM_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Crossing:
    """What came of triggers that crossed.

    Attributes:
        triggers: How many crossed.
        retrainings: How many Retrainings there are of them.
        jobs: How many Jobs.
        doubled: Triggers with more than one Retraining or Job.
        lost: Triggers without.
        seconds: From tick to Job, sorted; of those that have one.
    """

    triggers: int
    retrainings: int
    jobs: int
    doubled: int
    lost: int
    seconds: tuple[float, ...]

    def percentile(self, share: float) -> float:
        """Return the nearest-rank percentile; infinite when there is none."""
        if not self.seconds:
            return float("inf")
        return self.seconds[max(0, math.ceil(share * len(self.seconds)) - 1)]


@dataclass(frozen=True, slots=True)
class Seen:
    """When Prometheus showed the crossing: not yet at `after`, but at `until`."""

    after: datetime
    until: datetime


def cross(
    ground: Ground,
    operators: Sequence[BenchOperator],
    triggers: Sequence[Trigger],
    *,
    interval_seconds: int,
    score: float = HIGH,
    within_seconds: float = 0.0,
) -> Crossing:
    """Let triggers cross their threshold and wait for their Jobs.

    Args:
        ground: Where.
        operators: Those that must stay alive meanwhile.
        triggers: Which; each crosses for the first time.
        interval_seconds: Of the triggers.
        score: What they rise to, beyond the threshold; another one each time.
        within_seconds: How long it may take; 0 for an interval and half a minute.
    """
    position = ground.audit.position()
    seen = _raise(ground, triggers, score)
    deadline = time.monotonic() + (within_seconds or interval_seconds + _LATE_SECONDS)
    while time.monotonic() < deadline:
        for operator in operators:
            operator.check()
        if _jobs_since(ground, position) >= len(triggers):
            break
        time.sleep(1)
    ground.exporter.set_all((name for _, name in triggers), CALM)
    time.sleep(
        min(_CALM_SECONDS, interval_seconds)
    )  # a second Job of the same decision would come now
    return _judged(ground, triggers, position, seen=seen, interval_seconds=interval_seconds)


def _raise(ground: Ground, triggers: Sequence[Trigger], score: float) -> Seen:
    """Raise the scores; returns when Prometheus showed them."""
    ground.exporter.set_all((name for _, name in triggers), score)
    after = datetime.now(UTC)
    while True:
        asked = datetime.now(UTC)
        if ground.asked_prometheus(f"count(model_drift_score == {score})") >= len(triggers):
            return Seen(after, datetime.now(UTC))
        after = asked
        time.sleep(_POLL_SECONDS)


def _jobs_since(ground: Ground, position: int) -> int:
    return sum(made.resource == "jobs" for made in ground.audit.created(position))


def _judged(
    ground: Ground,
    triggers: Sequence[Trigger],
    position: int,
    *,
    seen: Seen,
    interval_seconds: int,
) -> Crossing:
    wanted = set(triggers)
    retrainings = [item for item in _of(ground, RETRAININGS, triggers) if not _is_superseded(item)]
    jobs = _of(ground, JOBS, triggers)
    decided, started = Counter(map(_owner, retrainings)), Counter(map(_owner, jobs))
    decisions = {_owner(item): item for item in retrainings}
    bodies = ground.send([Request("GET", trigger_path(*trigger)) for trigger in triggers])
    uids = {_name(body): body["metadata"]["uid"] for body in bodies}
    seconds = []
    for made in ground.audit.created(position):
        owner = (made.namespace, made.name.rsplit("-", 2)[0])
        if made.resource == "jobs" and owner in decisions:
            decided_at = parse_instant(decisions[owner]["spec"]["evidence"]["time"])
            schedule = _schedule(uids[owner], interval_seconds)
            begin = expected_from(decided_at, schedule, seen)
            seconds.append((made.at - begin).total_seconds())
    return Crossing(
        triggers=len(wanted),
        retrainings=len(retrainings),
        jobs=len(jobs),
        doubled=sum(decided[trigger] > 1 or started[trigger] > 1 for trigger in wanted),
        lost=sum(not started[trigger] for trigger in wanted),
        seconds=tuple(sorted(seconds)),
    )


def expected_from(decided_at: datetime, schedule: IntervalSchedule, seen: Seen) -> datetime:
    """Tell from when on a Job could have been expected.

    A decision at a tick before the crossing was seen for certain counts from that tick, or from the
    last time that it was not to be seen; a later tick than the first possible one is no excuse.

    Args:
        decided_at: The tick that decided.
        schedule: Of the trigger.
        seen: When Prometheus showed the crossing.
    """
    if decided_at < seen.until:
        return max(decided_at, seen.after)
    return schedule.following(seen.until - timedelta(microseconds=1))


def _schedule(uid: str, interval_seconds: int) -> IntervalSchedule:
    interval = timedelta(seconds=interval_seconds)
    return IntervalSchedule(interval, phase(uid, interval))


def _of(ground: Ground, collection: str, triggers: Sequence[Trigger]) -> list[Body]:
    """List what belongs to some triggers; a list of everything would be felt by the operators."""
    names: dict[str, list[str]] = {}
    for namespace, name in triggers:
        names.setdefault(namespace, []).append(name)
    return ground.list_all(
        collection,
        labels={key: f"{LABEL_TRIGGER} in ({','.join(some)})" for key, some in names.items()},
    )


def _is_superseded(retraining: Body) -> bool:
    """Tell whether a Retraining never had the right to run: it started nothing."""
    conditions = retraining.get("status", {}).get("conditions", [])
    return any(condition["reason"] == "Superseded" for condition in conditions)


def _owner(item: Body) -> Trigger:
    metadata = item["metadata"]
    return metadata["namespace"], metadata.get("labels", {}).get(LABEL_TRIGGER, "")


def _name(item: Body) -> Trigger:
    return item["metadata"]["namespace"], item["metadata"]["name"]
