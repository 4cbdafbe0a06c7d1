"""Pictures of what a trigger saw: scores by time, θ and the clear threshold, gaps for no data."""

import io
import math
from collections.abc import Sequence
from datetime import datetime

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure

from drifttrigger.api.reasons import Outcome
from drifttrigger.cli.analysis.plots import BLUE, GREEN, VERMILLION
from drifttrigger.core.observation import Observation, format_value
from drifttrigger.core.rules import Rules, breaches

_INCHES, _DPI = (11.0, 5.0), 120
_FEW, _MANY = 200, 5_000
_DASHES, _DOTS = (0, (6, 4)), (0, (2, 2))


def history_plot(rules: Rules, observations: Sequence[Observation], *, form: str) -> bytes:
    """Draw the scores of a trigger.

    Args:
        rules: The trigger's rules.
        observations: By time.
        form: `png` or `svg`.
    """
    figure = Figure(figsize=_INCHES, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    draw_scores(axes, observations)
    _draw_breaches(axes, rules, observations)
    draw_bounds(axes, rules)
    draw_frame(axes, first=observations[0].tick, last=observations[-1].tick)
    axes.set_title(f"Scores of {rules.name}", loc="left", fontweight="bold", parse_math=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=form)
    return buffer.getvalue()


def draw_scores(axes: Axes, observations: Sequence[Observation]) -> None:
    """Draw the scores; NaN breaks the line: no data is a gap, never a straight line across it."""
    scores = [
        o.score if o.score is not None and o.outcome is Outcome.SCORE else math.nan
        for o in observations
    ]
    is_few = len(scores) <= _FEW
    axes.plot(
        [number_of(o.tick) for o in observations],
        scores,
        color=BLUE,
        linewidth=1.2 if len(scores) <= _MANY else 0.4,
        marker="o" if is_few else "",
        markersize=3.5,
        label="score (gaps: no data)",
        zorder=3,
    )


def _draw_breaches(axes: Axes, rules: Rules, observations: Sequence[Observation]) -> None:
    """Mark what breaches, where the points are few enough to be told apart."""
    beyond = [
        (number_of(o.tick), o.score)
        for o in observations
        if o.outcome is Outcome.SCORE
        and o.score is not None
        and breaches(o.score, rules.comparison, rules.threshold)
    ]
    if not beyond or len(observations) > _FEW:
        return
    times, scores = zip(*beyond, strict=True)
    axes.plot(
        times,
        scores,
        linestyle="none",
        marker="o",
        markersize=9,
        markerfacecolor="none",
        markeredgecolor=VERMILLION,
        markeredgewidth=1.6,
        clip_on=False,  # else the newest one, on the edge, is half a ring
        label="breach",
        zorder=4,
    )


def draw_bounds(axes: Axes, rules: Rules) -> None:
    """Draw θ dashed and, where there is one, the clear threshold dotted."""
    label = f"θ = {format_value(rules.threshold)}"
    line = {"linewidth": 1.8, "zorder": 3.5}
    axes.axhline(rules.threshold, color=VERMILLION, linestyle=_DASHES, label=label, **line)
    if rules.clear_threshold != rules.threshold:
        label = f"clear = {format_value(rules.clear_threshold)}"
        axes.axhline(rules.clear_threshold, color=GREEN, linestyle=_DOTS, label=label, **line)


def draw_frame(axes: Axes, *, first: datetime | None, last: datetime | None) -> None:
    """Draw the axes, of dates, and the legend."""
    locator = AutoDateLocator()  # type: ignore[no-untyped-call] # matplotlib is not typed here
    axes.xaxis.set_major_locator(locator)
    formatter = ConciseDateFormatter(locator)  # type: ignore[no-untyped-call] # the same
    axes.xaxis.set_major_formatter(formatter)
    if first is not None and last is not None and first < last:
        axes.set_xlim(number_of(first), number_of(last))
    axes.margins(y=0.15)
    axes.set_ylabel("drift score")
    axes.set_xlabel("time (UTC)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), frameon=False, ncols=5)


def number_of(time: datetime) -> float:
    """Return a time as matplotlib counts it, in days."""
    return float(date2num(time))  # type: ignore[no-untyped-call] # matplotlib is not typed here
