"""The picture of a backtest: scores, bounds, episodes and retrainings; below it the sweep."""

import io
import math
from collections.abc import Sequence
from datetime import datetime

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure

from drifttrigger.api.reasons import Outcome
from drifttrigger.cli.analysis.plots import BLUE, GREEN, GREY, ORANGE, VERMILLION
from drifttrigger.cli.backtest.replay import Replay
from drifttrigger.cli.backtest.result import Result
from drifttrigger.cli.backtest.sweep import Row
from drifttrigger.core.observation import Observation, format_value

_WIDTH, _HEIGHT, _SWEEP_HEIGHT, _DPI = 11.0, 5.5, 3.0, 150
_FEW, _MANY = 200, 5_000
_DASHES, _DOTS = (0, (6, 4)), (0, (2, 2))


def backtest_plot(result: Result) -> bytes:
    """Draw a result.

    Returns:
        A PNG.
    """
    rows = result.rows or ()
    height = _HEIGHT + (_SWEEP_HEIGHT if rows else 0.0)
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    if rows:
        ratios = [_HEIGHT, _SWEEP_HEIGHT]
        history, below = figure.subplots(2, 1, gridspec_kw={"height_ratios": ratios})
        _draw_sweep(below, rows, threshold=result.replay.rules.threshold)
    else:
        history = figure.add_subplot()
    _draw_history(history, result)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _draw_history(axes: Axes, result: Result) -> None:
    replay = result.replay
    _draw_episodes(axes, replay)
    _draw_scores(axes, result.observations)
    _draw_bounds(axes, replay)
    _draw_retrainings(axes, replay)
    locator = AutoDateLocator()  # type: ignore[no-untyped-call] # matplotlib is not typed here
    axes.xaxis.set_major_locator(locator)
    formatter = ConciseDateFormatter(locator)  # type: ignore[no-untyped-call] # the same
    axes.xaxis.set_major_formatter(formatter)
    if replay.first is not None and replay.last is not None and replay.first < replay.last:
        axes.set_xlim(_number(replay.first), _number(replay.last))
    axes.margins(y=0.15)
    axes.set_ylabel("drift score")
    axes.set_xlabel("time (UTC)")
    # Names and queries are no TeX: a dollar sign is one.
    title = f"Backtest of {replay.rules.name}: retrainings that would have been made"
    axes.set_title(title, loc="left", fontweight="bold", parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), frameon=False, ncols=5)


def _number(time: datetime) -> float:
    return float(date2num(time))  # type: ignore[no-untyped-call] # the same


def _draw_scores(axes: Axes, observations: Sequence[Observation]) -> None:
    scores = [
        o.score if o.score is not None and o.outcome is Outcome.SCORE else math.nan
        for o in observations
    ]
    # NaN breaks the line: no data is a gap, never a straight line across it.
    is_few = len(scores) <= _FEW
    axes.plot(
        [_number(o.tick) for o in observations],
        scores,
        color=BLUE,
        linewidth=1.2 if len(scores) <= _MANY else 0.4,
        marker="o" if is_few else "",
        markersize=3.5,
        label="score (gaps: no data)",
        zorder=3,
    )


def _draw_bounds(axes: Axes, replay: Replay) -> None:
    rules = replay.rules
    label = f"θ = {format_value(rules.threshold)}"
    line = {"linewidth": 1.8, "zorder": 3.5}
    axes.axhline(rules.threshold, color=VERMILLION, linestyle=_DASHES, label=label, **line)
    if rules.clear_threshold != rules.threshold:
        label = f"clear = {format_value(rules.clear_threshold)}"
        axes.axhline(rules.clear_threshold, color=GREEN, linestyle=_DOTS, label=label, **line)


def _draw_episodes(axes: Axes, replay: Replay) -> None:
    for index, span in enumerate(replay.episodes):
        end = span.cleared_at or replay.last or span.opened_at
        axes.axvspan(
            _number(span.opened_at),
            _number(end),
            facecolor=to_rgba(ORANGE, 0.25),
            edgecolor=to_rgba(ORANGE, 0.5),  # else a short episode of a long history is not seen
            linewidth=0.8,
            label="drifted" if index == 0 else "_",
        )


def _draw_retrainings(axes: Axes, replay: Replay) -> None:
    if not replay.fired:
        return
    threshold = replay.rules.threshold
    axes.plot(
        [_number(fired.time) for fired in replay.fired],
        [threshold if f.score is None else f.score for f in replay.fired],
        linestyle="none",
        marker="v",
        markersize=9,
        markerfacecolor=VERMILLION,
        markeredgecolor="white",
        label="retraining",
        zorder=4,
    )


def _draw_sweep(axes: Axes, rows: Sequence[Row], *, threshold: float) -> None:
    thetas = [row.threshold for row in rows]
    for label, values, marker, color in (
        ("episodes per 30 days", [row.episodes_a_month for row in rows], "o", BLUE),
        ("retrainings per 30 days", [row.retrainings_a_month for row in rows], "s", VERMILLION),
    ):
        shown = [math.nan if value is None else value for value in values]
        axes.plot(thetas, shown, marker=marker, markersize=5, color=color, label=label)
    axes.axvline(threshold, color=GREY, linestyle=_DASHES, linewidth=1.2, label="present θ")
    share = axes.twinx()
    share.plot(
        thetas,
        [100 * row.drifted_share for row in rows],
        color=GREEN,
        linestyle="--",
        marker="^",
        markersize=5,
        label="time drifted (right)",
    )
    share.set_ylabel("time drifted, %")
    share.set_ylim(0, 105)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("θ")
    axes.set_ylabel("per 30 days")
    axes.spines[["top"]].set_visible(False)
    share.spines[["top"]].set_visible(False)
    lines = [*axes.get_lines(), *share.get_lines()]
    axes.legend(lines, [str(line.get_label()) for line in lines], frameon=False)
