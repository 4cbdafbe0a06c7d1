"""From a table of past scores to one named observation at each tick.

A single finite number needs no naming; all else goes through the operator's own `observe`, so that
two series without `reduce`, NaN and nothing mean here what they mean there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from msgspec.structs import replace

from drifttrigger.api.reasons import Outcome
from drifttrigger.core.observation import Answer, Observation, Sample, observe, parse_value
from drifttrigger.core.rules import Rules

if TYPE_CHECKING:
    from drifttrigger.cli.analysis.history import History

_EPOCH_SECONDS = "datetime64[s]"


def observations_of(
    rules: Rules, history: History, ticks: Sequence[datetime], *, offset: timedelta
) -> list[Observation]:
    """Name what was there at each tick.

    Args:
        rules: The trigger's rules (reduce).
        history: The table.
        ticks: By time.
        offset: How far before its tick a score is looked up (spec.queryOffset).
    """
    table = history.table
    seconds = table["timestamp"].dt.tz_localize(None).to_numpy(dtype=_EPOCH_SECONDS).astype("int64")
    rows: dict[int, list[tuple[int, str]]] = {}
    for at, series, value in zip(
        seconds.tolist(), table["series"].tolist(), table["value"].tolist(), strict=True
    ):
        rows.setdefault(at, []).append((series, value))
    nothing = observe(rules, Answer(), datetime.fromisoformat("1970-01-01T00:00:00Z"))
    shift = int(offset.total_seconds())
    found = []
    for tick in ticks:
        here = rows.get(int(tick.timestamp()) - shift, ())
        here = [row for row in here if row[1]]  # an empty text of a file is no data
        if not here:
            found.append(replace(nothing, tick=tick))
        else:
            found.append(_named(rules, here, history.labels, tick))
    return found


def _named(
    rules: Rules,
    rows: Sequence[tuple[int, str]],
    labels: Sequence[Mapping[str, str]],
    tick: datetime,
) -> Observation:
    if len(rows) == 1 and rules.reduce is None:
        text = rows[0][1]
        number = parse_value(text)
        if number is not None and math.isfinite(number):
            return Observation(tick=tick, outcome=Outcome.SCORE, score=number, value=text)
    samples = tuple(Sample(dict(labels[series]), value) for series, value in rows)
    return observe(rules, Answer(samples=samples), tick)
