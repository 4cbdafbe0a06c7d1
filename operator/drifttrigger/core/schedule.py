"""When a trigger is asked: fixed-rate ticks with a phase from the UID, or cron with a time zone.

Tick k of an interval is at k·interval + phase since the epoch: wall-clock aligned: a restart or a
second replica asks at the same instants, and a range query with the same start and step reproduces
every score. Cron ticks honour daylight saving: each nominal time comes once.
"""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

import msgspec
from cronsim import CronSim, CronSimError

from drifttrigger.api.errors import SpecError

_MOST_COUNTED = 1000
_NONE = timedelta(0)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SET_BACK = timedelta(hours=3)
"""How long after the clocks were set back a repeated wall time may last."""


class Schedule(Protocol):
    """The ticks of one trigger."""

    def latest(self, now: datetime) -> datetime | None:
        """Return the newest tick at or before now, None if there was none in living memory."""

    def following(self, instant: datetime) -> datetime | None:
        """Return the first tick after the instant, None if there is none in sight."""

    def shortest_wait(self) -> timedelta:
        """Return the least time between two ticks, for budgets."""


def ticks_between(schedule: Schedule, first: datetime, last: datetime) -> int:
    """Count the ticks after `first` and before `last`, at most 1000."""
    count = 0
    tick = schedule.following(first)
    while tick is not None and tick < last and count < _MOST_COUNTED:
        count += 1
        tick = schedule.following(tick)
    return count


def phase(uid: str, interval: timedelta) -> timedelta:
    """Derive the phase of a trigger: whole seconds in [0, interval), the same after a restart."""
    if not uid:
        return timedelta(0)
    number = int.from_bytes(hashlib.blake2s(uid.encode(), person=b"phase").digest()[:8], "big")
    return timedelta(seconds=number % max(1, int(interval.total_seconds())))


class IntervalSchedule(msgspec.Struct, frozen=True, gc=False):
    """A fixed rate.

    Attributes:
        interval: Time between two ticks, whole seconds, at least one.
        phase: Offset of every tick from a multiple of interval since the epoch.
    """

    interval: timedelta
    phase: timedelta = timedelta(0)

    def latest(self, now: datetime) -> datetime:
        """Return the newest tick at or before now."""
        return now - (now - _EPOCH - self.phase) % self.interval

    def following(self, instant: datetime) -> datetime:
        """Return the first tick after the instant."""
        return self.latest(instant) + self.interval

    def shortest_wait(self) -> timedelta:
        """Return the interval."""
        return self.interval


class CronSchedule(msgspec.Struct, frozen=True, gc=False):
    """Five-field cron in a time zone.

    Attributes:
        expression: Minute, hour, day of month, month, day of week.
        zone: IANA name of the time zone.
    """

    expression: str
    zone: str = "UTC"

    def latest(self, now: datetime) -> datetime | None:
        """Return the newest tick at or before now."""
        zone = ZoneInfo(self.zone)
        present, earlier = now.astimezone(zone), (now - _SET_BACK).astimezone(zone)
        # Where clocks were set back, nominal times that have passed lie ahead of the wall clock.
        back = (earlier.utcoffset() or _NONE) - (present.utcoffset() or _NONE)
        start = present + max(back, _NONE) + timedelta(microseconds=1)
        return next((tick for tick in self._from(start, reverse=True) if tick <= now), None)

    def following(self, instant: datetime) -> datetime | None:
        """Return the first tick after the instant."""
        start = instant.astimezone(ZoneInfo(self.zone))
        return next((tick for tick in self._from(start) if tick > instant), None)

    def _from(self, start: datetime, *, reverse: bool = False) -> Iterator[datetime]:
        """Yield the instants of nominal times; one that clocks skip comes right after the gap."""
        for nominal in CronSim(self.expression, start.replace(tzinfo=None), reverse=reverse):
            local = nominal.replace(tzinfo=ZoneInfo(self.zone))
            while local.astimezone(UTC).astimezone(local.tzinfo).replace(fold=0) != local:
                local += timedelta(minutes=1)
            yield local.astimezone(UTC)

    def shortest_wait(self) -> timedelta:
        """Return a minute: cron knows nothing shorter."""
        return timedelta(minutes=1)


def cron_schedule(expression: str, zone: str) -> CronSchedule:
    """Check a cron expression and its zone.

    Raises:
        SpecError: The expression, or the zone, is none, or never comes.
    """
    if len(expression.split()) != 5:
        raise SpecError("spec.schedule", f"{expression!r} does not have five fields")
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError) as error:
        raise SpecError("spec.timeZone", f"{zone!r} is no IANA time zone") from error
    schedule = CronSchedule(expression, zone)
    try:
        first = schedule.following(datetime(2024, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        raise SpecError(
            "spec.schedule", f"{expression!r} is no cron expression: {error}"
        ) from error
    if first is None:
        raise SpecError("spec.schedule", f"{expression!r} never comes")
    return schedule
