"""Durations and instants as the API server writes them.

Durations are Prometheus style: whole numbers with the units w, d, h, m, s, largest first, each once
(https://prometheus.io/docs/prometheus/latest/querying/basics/#float-literals-and-time-durations).
Instants are RFC 3339 in UTC. Everything inside the package is a `timedelta` or an aware `datetime`.
"""

import functools
import re
from datetime import UTC, datetime, timedelta

from drifttrigger.api.errors import SpecError

_DURATION = re.compile(
    r"^(?:(\d{1,9})w)?(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?$", re.ASCII
)
_UNITS_SECONDS = (604800, 86400, 3600, 60, 1)
_SUFFIXES = "wdhms"


def parse_duration(text: str, *, field: str) -> timedelta:
    """Read a duration such as `90s`, `1h30m`, `1d` or `2w`.

    Args:
        text: The duration; whole seconds, largest unit first.
        field: Path of the field it stands in, for the error.

    Raises:
        SpecError: It is not such a duration, or longer than a thousand years.
    """
    match = _DURATION.fullmatch(text) if text else None
    if match is None:
        raise SpecError(field, f"{text!r} is no duration; write it like 90s, 1h30m, 1d or 2w")
    parts = zip(match.groups(), _UNITS_SECONDS, strict=True)
    seconds = sum(int(number) * unit for number, unit in parts if number)
    if seconds > 1000 * 365 * 86400:
        raise SpecError(field, f"{text!r} is longer than a thousand years")
    return timedelta(seconds=seconds)


def format_duration(duration: timedelta) -> str:
    """Write a duration with the fewest units, rounded up to whole seconds; `0s` for none."""
    seconds = max(0, -(-duration // timedelta(seconds=1)))
    text = ""
    for suffix, unit in zip(_SUFFIXES, _UNITS_SECONDS, strict=True):
        number, seconds = divmod(seconds, unit)
        text += f"{number}{suffix}" if number else ""
    return text or "0s"


def parse_instant(text: str) -> datetime:
    """Read an RFC 3339 instant.

    Raises:
        ValueError: It is not one, or names no offset from UTC.
    """
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None or "T" not in text.upper():
        raise ValueError(f"{text!r} is no RFC 3339 time with an offset, like 2026-01-31T12:00:00Z")
    try:
        return instant.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{text!r} lies outside the years 1 to 9999") from error


@functools.lru_cache(maxsize=1024)
def format_instant(instant: datetime) -> str:
    """Write an instant as RFC 3339 in UTC, whole seconds (metav1.Time has no fractions)."""
    return _written(instant, "seconds")


def format_precise(instant: datetime) -> str:
    """Write an instant as RFC 3339 in UTC with milliseconds where there are any."""
    if not instant.microsecond:
        return format_instant(instant)
    return _written(instant, "milliseconds")


def _written(instant: datetime, precision: str) -> str:
    # Not strftime: it writes the year 1 as `1`.
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=precision) + "Z"
