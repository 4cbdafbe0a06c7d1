"""The picture of a backtest: scores, bounds, episodes and retrainings; below it the sweep."""

import io
import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from drifttrigger.cli.analysis.plots import BLUE, GREEN, GREY, ORANGE, VERMILLION
from drifttrigger.cli.analysis.score_plots import draw_bounds, draw_frame, draw_scores, number_of
from drifttrigger.cli.backtest.replay import Replay
from drifttrigger.cli.backtest.result import Result
from drifttrigger.cli.backtest.sweep import Row

_WIDTH, _HEIGHT, _SWEEP_HEIGHT, _DPI = 11.0, 5.5, 3.0, 150
_DASHES = (0, (6, 4))


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
    draw_scores(axes, result.observations)
    draw_bounds(axes, replay.rules)
    _draw_retrainings(axes, replay)
    draw_frame(axes, first=replay.first, last=replay.last)
    # Names and queries are no TeX: a dollar sign is one.
    title = f"Backtest of {replay.rules.name}: retrainings that would have been made"
    axes.set_title(title, loc="left", fontweight="bold", parse_math=False)


def _draw_episodes(axes: Axes, replay: Replay) -> None:
    for index, span in enumerate(replay.episodes):
        end = span.cleared_at or replay.last or span.opened_at
        axes.axvspan(
            number_of(span.opened_at),
            number_of(end),
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
        [number_of(fired.time) for fired in replay.fired],
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
