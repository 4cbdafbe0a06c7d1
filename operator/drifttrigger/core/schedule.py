"""When a trigger is asked: fixed-rate ticks with a phase from the UID, or cron with a time zone.

Tick k of an interval is at k·interval + phase since the epoch: wall-clock aligned: a restart or a
second replica asks at the same instants, and a range query with the same start and step reproduces
every score. Cron ticks honour daylight saving: each nominal time comes once.
"""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

import msgspec
from cronsim import CronSim, CronSimError

from drifttrigger.api.errors import SpecError


class Schedule(Protocol):
    """The ticks of one trigger."""

    def latest(self, now: datetime) -> datetime | None:
        """Return the newest tick at or before now, None if there was none in living memory."""

    def following(self, instant: datetime) -> datetime | None:
        """Return the first tick after the instant, None if there is none in sight."""

    def shortest_wait(self) -> timedelta:
        """Return the least time between two ticks, for budgets."""


def phase(uid: str, interval: timedelta) -> timedelta:
    """Derive the phase of a trigger: whole seconds in [0, interval), the same after a restart."""
    if not uid:
        return timedelta(0)
    number = int.from_bytes(hashlib.blake2s(uid.encode(), person=b"phase").digest()[:8], "big")
    return timedelta(seconds=number % max(1, int(interval.total_seconds())))


class IntervalSchedule(msgspec.Struct, frozen=True):
    """A fixed rate.

    Attributes:
        interval: Time between two ticks, whole seconds, at least one.
        phase: Offset of every tick from a multiple of interval since the epoch.
    """

    interval: timedelta
    phase: timedelta = timedelta(0)

    def latest(self, now: datetime) -> datetime:
        """Return the newest tick at or before now."""
        step = int(self.interval.total_seconds())
        offset = int(self.phase.total_seconds())
        tick = (int(now.timestamp() // 1) - offset) // step * step + offset
        return datetime.fromtimestamp(tick, UTC)

    def following(self, instant: datetime) -> datetime:
        """Return the first tick after the instant."""
        return self.latest(instant) + self.interval

    def shortest_wait(self) -> timedelta:
        """Return the interval."""
        return self.interval


class CronSchedule(msgspec.Struct, frozen=True):
    """Five-field cron in a time zone.

    Attributes:
        expression: Minute, hour, day of month, month, day of week.
        zone: IANA name of the time zone.
    """

    expression: str
    zone: str = "UTC"

    def latest(self, now: datetime) -> datetime | None:
        """Return the newest tick at or before now."""
        start = (now + timedelta(microseconds=1)).astimezone(ZoneInfo(self.zone))
        return self._first(CronSim(self.expression, start, reverse=True))

    def following(self, instant: datetime) -> datetime | None:
        """Return the first tick after the instant."""
        return self._first(CronSim(self.expression, instant.astimezone(ZoneInfo(self.zone))))

    def shortest_wait(self) -> timedelta:
        """Return a minute: cron knows nothing shorter."""
        return timedelta(minutes=1)

    @staticmethod
    def _first(ticks: CronSim) -> datetime | None:
        tick: datetime | None = next(ticks, None)
        return tick.astimezone(UTC) if tick is not None else None


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
        schedule.following(datetime(2024, 1, 1, tzinfo=UTC))
    except (CronSimError, StopIteration) as error:
        raise SpecError(
            "spec.schedule", f"{expression!r} is no cron expression: {error}"
        ) from error
    return schedule
