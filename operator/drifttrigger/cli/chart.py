"""Scores by time in a terminal: one column a stretch of time, θ and the clear threshold dashed.

A column shows the worst score of its stretch, so no breach is lost to a narrow terminal; one
without a score stays empty.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from rich.cells import cell_len
from rich.text import Text

from drifttrigger.api.reasons import Outcome
from drifttrigger.api.v1alpha1 import Comparison
from drifttrigger.core.observation import Observation, format_value
from drifttrigger.core.rules import Rules, breaches

_ROWS = 12
_LEAST_COLUMNS = 20
_DIGITS = 4
_POINT, _DASH, _DOT = "●", "╌", "┄"
_GREATER = (Comparison.GREATER_THAN, Comparison.GREATER_THAN_OR_EQUAL)


class _Scale(msgspec.Struct, frozen=True):
    """From scores to rows; row 0 is the lowest."""

    low: float
    high: float

    def row(self, score: float) -> int:
        return round((score - self.low) / ((self.high - self.low) or 1.0) * (_ROWS - 1))


def chart_of(rules: Rules, observations: Sequence[Observation], *, width: int) -> Text:
    """Draw.

    Args:
        rules: θ, comparison, clear threshold.
        observations: By time; at least one has a score.
        width: Columns in all.
    """
    scored = [(o.tick, o.score) for o in observations if o.outcome is Outcome.SCORE]
    known = [(tick, score) for tick, score in scored if score is not None]
    bounds = [rules.threshold, rules.clear_threshold]
    values = [*(score for _, score in known), *bounds]
    scale = _Scale(min(values), max(values))
    marks = _marks(rules, scale)
    margin = max(cell_len(text) for text in marks.values()) + 1
    columns = max(width - margin, _LEAST_COLUMNS)
    first, last = observations[0].tick, observations[-1].tick
    worst = _worst_of_columns(rules, known, (first, last), columns)
    points = {column: _beside(rules, scale, score) for column, score in worst.items()}
    text = Text(no_wrap=True)
    for row in reversed(range(_ROWS)):
        text.append(f"{marks.get(row, ''):>{margin - 1}} ", style="dim")
        for column in range(columns):
            if points.get(column) == row:
                is_bad = breaches(worst[column], rules.comparison, rules.threshold)
                text.append(_POINT, style="red" if is_bad else "cyan")
            else:
                text.append(*_background(rules, scale, row))
        text.append("\n")
    return text.append(_axis(first, last, margin, columns), style="dim")


def _marks(rules: Rules, scale: _Scale) -> Mapping[int, str]:
    """Label the ends and the bounds; θ is the label that wins."""
    return {
        0: _short(scale.low),
        _ROWS - 1: _short(scale.high),
        scale.row(rules.clear_threshold): _short(rules.clear_threshold),
        scale.row(rules.threshold): f"θ {_short(rules.threshold)}",
    }


def _short(score: float) -> str:
    return format_value(float(f"{score:.{_DIGITS}g}"))


def _worst_of_columns(
    rules: Rules,
    known: Sequence[tuple[datetime, float]],
    ends: tuple[datetime, datetime],
    columns: int,
) -> dict[int, float]:
    first, last = ends
    length = (last - first).total_seconds() or 1.0
    pick = max if rules.comparison in _GREATER else min
    found: dict[int, float] = {}
    for tick, score in known:
        column = round((tick - first).total_seconds() / length * (columns - 1))
        found[column] = pick(found.get(column, score), score)
    return found


def _beside(rules: Rules, scale: _Scale, score: float) -> int:
    """Keep a score that is not θ off its line, on the side where it belongs."""
    row, line = scale.row(score), scale.row(rules.threshold)
    if row != line or score == rules.threshold:
        return row
    wanted = line + (1 if score > rules.threshold else -1)
    return min(max(wanted, 0), _ROWS - 1)


def _background(rules: Rules, scale: _Scale, row: int) -> tuple[str, str]:
    if row == scale.row(rules.threshold):
        return _DASH, "yellow"
    if row == scale.row(rules.clear_threshold):
        return _DOT, "green"
    return " ", ""


def _axis(first: datetime, last: datetime, margin: int, columns: int) -> str:
    start, end = (f"{time:%Y-%m-%d %H:%M}" for time in (first, last))
    room = max(columns - len(start) - len(end), 1)
    return f"{'':{margin}}{start}{'':{room}}{end}"
