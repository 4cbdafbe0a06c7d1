"""The instants that a trigger would have been asked at, and the range query that covers them.

An instant query at each tick and a range query with the same start and step give the same scores,
so a whole history takes few requests. Cron ticks are not evenly spaced: the range query takes the
greatest common step of their distances, and what falls between ticks is left out.
"""

import math
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from drifttrigger.api.errors import UsageError
from drifttrigger.core.rules import Rules
from drifttrigger.core.schedule import CronSchedule, IntervalSchedule, phase
from drifttrigger.core.times import format_duration

POINTS_PER_REQUEST = 11_000
"""Prometheus refuses a range query of more points a series."""
MOST_POINTS = 3_000_000
_SECOND = timedelta(seconds=1)


def schedule_for(
    rules: Rules, *, step: timedelta | None, align: timedelta | None, uid: str
) -> IntervalSchedule | CronSchedule:
    """Choose the ticks: the trigger's own, or every `step`, with the phase that `align` gives.

    Args:
        rules: The trigger's rules.
        step: Asked for instead of the trigger's interval or cron expression.
        align: Offset of every tick from a multiple of the interval since the epoch.
        uid: UID of a live trigger, which sets its phase; empty for 0.
    """
    schedule = rules.schedule
    if step is not None:
        schedule = IntervalSchedule(step, phase(uid, step))
    if align is None:
        return schedule
    if isinstance(schedule, CronSchedule):
        raise UsageError("--align is for intervals: the ticks of a cron schedule are its own")
    return IntervalSchedule(schedule.interval, align % schedule.interval)


def ticks_between(
    schedule: IntervalSchedule | CronSchedule, since: datetime, until: datetime
) -> list[datetime]:
    """List the ticks from since to until, both included.

    Raises:
        UsageError: There are too many to replay.
    """
    most = (until - since) / schedule.shortest_wait()
    if most > MOST_POINTS:
        raise UsageError(
            f"{format_duration(until - since)} at a step of "
            f"{format_duration(schedule.shortest_wait())} is more than {MOST_POINTS:,} points; "
            "set a larger --step, or a later --since"
        )
    return list(_ticks(schedule, since, until))


def _ticks(
    schedule: IntervalSchedule | CronSchedule, since: datetime, until: datetime
) -> Iterator[datetime]:
    tick = schedule.following(since - _SECOND)
    while tick is not None and tick <= until:
        yield tick
        if isinstance(schedule, IntervalSchedule):
            tick += schedule.interval  # what `following` gives, without its arithmetic
        else:
            tick = schedule.following(tick)


def common_step(ticks: Sequence[datetime]) -> timedelta:
    """Return the largest step whose multiples from the first tick meet every tick."""
    distances = {round((after - before) / _SECOND) for before, after in pairwise(ticks)}
    return timedelta(seconds=math.gcd(*distances) or 1)


def chunks(
    ticks: Sequence[datetime], step: timedelta, *, points: int = POINTS_PER_REQUEST
) -> list[tuple[datetime, datetime]]:
    """Cut a history into range queries of at most `points` points each, first and last included."""
    if not ticks:
        return []
    found = []
    start, last = ticks[0], ticks[-1]
    while start <= last:
        end = min(last, start + (points - 1) * step)
        found.append((start, end))
        start = end + step
    return found
