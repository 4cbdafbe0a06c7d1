"""What people write on the command line of a backtest, read and checked."""

import csv
import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from drifttrigger.api.errors import SpecError, UsageError
from drifttrigger.cli.backtest.sweep import Budget, Incident
from drifttrigger.core.observation import clean, parse_value
from drifttrigger.core.times import parse_duration, parse_instant

_MOST_THRESHOLDS = 500
AUTO = "auto"


def duration(text: str, option: str) -> timedelta:
    """Read a duration.

    Raises:
        click.BadParameter: It is none.
    """
    try:
        return parse_duration(text, field=option)
    except SpecError as error:
        raise click.BadParameter(
            f"{text!r} is no duration; write it like 90s, 1h30m, 1d or 2w", param_hint=option
        ) from error


def period(text: str, option: str) -> timedelta:
    """Read a duration of at least a second."""
    found = duration(text, option)
    if not found:
        raise click.BadParameter("must be at least 1s", param_hint=option)
    return found


def moment(text: str, option: str, *, before: datetime) -> datetime:
    """Read an instant, or a duration that is counted back from `before`."""
    if re.fullmatch(r"(\d+[wdhms])+", text):
        try:
            return before - duration(text, option)
        except OverflowError as error:
            raise click.BadParameter("lies before the year 1", param_hint=option) from error
    try:
        return parse_instant(text)
    except ValueError as error:
        raise click.BadParameter(
            f"{text!r} is neither a time like 2026-01-31T12:00:00Z nor a duration like 30d",
            param_hint=option,
        ) from error


def alignment(text: str, option: str) -> timedelta:
    """Read the phase of the ticks: a duration, or an instant that a tick falls on."""
    if re.fullmatch(r"(\d+[wdhms])+", text):
        return duration(text, option)
    return moment(text, option, before=datetime.now(UTC)) - datetime.fromtimestamp(0, UTC)


def budget(text: str) -> Budget:
    """Read `2/30d`: at most two episodes within any thirty days."""
    match = re.fullmatch(r"(\d{1,6})/(\S+)", text)
    if match is None:
        raise click.BadParameter(
            f"{text!r} is no budget; write it like 2/30d", param_hint="--budget"
        )
    return Budget(int(match[1]), period(match[2], "--budget"), match[2])


def thresholds(text: str) -> list[float] | None:
    """Read `0.1,0.2,0.3`, `0.1:0.5:0.05` (from, to, step) or `auto` (None)."""
    if text == AUTO:
        return None
    parts = text.split(":")
    if len(parts) == 3:
        low, high, step = (_number(part) for part in parts)
        if step <= 0 or high < low or (high - low) / step >= _MOST_THRESHOLDS:
            raise click.BadParameter(
                f"{text!r} is no range of at most {_MOST_THRESHOLDS} values; "
                "write it like 0.1:0.5:0.05",
                param_hint="--sweep",
            )
        count = math.floor((high - low) / step + 1e-9) + 1
        return [float(f"{low + n * step:.12g}") for n in range(count)]
    found = sorted({_number(part) for part in text.split(",")})
    if len(found) > _MOST_THRESHOLDS:
        raise click.BadParameter(f"more than {_MOST_THRESHOLDS} values", param_hint="--sweep")
    return found


def _number(text: str) -> float:
    number = parse_value(text.strip())
    if number is None or not math.isfinite(number):
        raise click.BadParameter(
            f"{text!r} is no number; write 0.1,0.2,0.3 or 0.1:0.5:0.05 or {AUTO}",
            param_hint="--sweep",
        )
    return number


def incidents(path: Path) -> list[Incident]:
    """Read known incidents: CSV with `start,end`, RFC 3339; an empty end is one that goes on.

    Raises:
        UsageError: The file can't be read or used; names the line.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream, skipinitialspace=True))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: no CSV: {clean(str(error))}") from error
    if not rows:
        raise UsageError(f"{path}: holds no incident; write a header start,end and a line for each")
    found = [_incident(path, line, row) for line, row in enumerate(rows, start=2)]
    return sorted(found, key=lambda incident: incident.start)


def _incident(path: Path, line: int, row: dict[str, str | None]) -> Incident:
    if "start" not in row or "end" not in row:
        raise UsageError(f"{path}: has no columns start,end")
    try:
        start = parse_instant((row["start"] or "").strip())
        text = (row["end"] or "").strip()
        end = parse_instant(text) if text else None
    except ValueError as error:
        raise UsageError(f"{path}: line {line}: write times like 2026-01-31T12:00:00Z") from error
    if end is not None and end < start:
        raise UsageError(f"{path}: line {line}: ends before it starts")
    return Incident(start, end)


def within(times: Sequence[datetime], since: datetime, until: datetime) -> list[datetime]:
    """Keep the times from since to until, both included."""
    return [time for time in times if since <= time <= until]
