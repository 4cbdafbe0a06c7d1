"""Pictures of scores against a threshold, without a display.

Colours are Okabe and Ito's, which people with any kind of colour vision can tell apart; nothing is
told by colour alone.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

BLUE, VERMILLION, GREEN, ORANGE, GREY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#595959"
_INCHES = (11.0, 5.5)
_DPI = 150
_HEADROOM = 1.3


@dataclass(frozen=True, slots=True)
class Marks:
    """What a picture points at, on the axis of steps.

    Args:
        live_from: First step that was not backfilled.
        crossing: Step of the first score beyond the threshold.
        held: Step at which answers came that were no score.
        job: When the Job started and ended.
        new_model: First step of the new model.
    """

    live_from: int
    crossing: int
    held: int
    job: tuple[float, float]
    new_model: int


def series_plot(series: pd.DataFrame, *, threshold: float) -> bytes:
    """Draw simulated scores by date against the dashed threshold.

    Args:
        series: `timestamp` and `drift_score`; may be empty.
        threshold: θ, of the same unit.

    Returns:
        A PNG.
    """
    figure = Figure(figsize=_INCHES, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    times, scores = series["timestamp"], series["drift_score"]
    axes.plot(times, scores, color=BLUE, marker="o", markersize=5, linewidth=1.2, label="score")
    beyond = series[scores > threshold]
    if not beyond.empty:
        axes.plot(
            beyond["timestamp"],
            beyond["drift_score"],
            linestyle="none",
            marker="o",
            markersize=11,
            markerfacecolor="none",
            markeredgecolor=VERMILLION,
            markeredgewidth=1.8,
            label="above θ",
        )
    _draw_threshold(axes, threshold)
    axes.set_xlabel("date (UTC)")
    axes.set_ylabel("drift score")
    title = f"{len(series)} simulated drift scores, {len(beyond)} above θ"
    axes.set_title(title, loc="left", fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def score_plot(scores: Sequence[float], *, threshold: float, marks: Marks) -> bytes:
    """Draw scores by step against the dashed threshold.

    Args:
        scores: One a step, from step 0 on.
        threshold: θ, of the same unit.
        marks: What to point at.

    Returns:
        A PNG.
    """
    figure = Figure(figsize=_INCHES, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_ylim(0.0, max(*scores, threshold) * _HEADROOM)
    axes.set_xlim(-0.8, len(scores) - 0.2)
    _draw_job(axes, marks)
    _draw_threshold(axes, threshold)
    _draw_scores(axes, scores, marks)
    _point_at_peak(axes, scores[: marks.live_from])
    _point_at_holds(axes, scores, marks)
    _point_at_crossing(axes, scores, threshold, marks)
    axes.set_xlabel("step (days of the series)")
    axes.set_ylabel("drift score")
    axes.set_title("One crossing of θ, one retraining Job", loc="left", fontweight="bold")
    axes.set_xticks(range(0, len(scores), 5))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _draw_threshold(axes: Axes, threshold: float) -> None:
    axes.axhline(
        threshold, color=VERMILLION, linestyle=(0, (6, 4)), linewidth=1.6, label=f"θ = {threshold}"
    )


def _draw_scores(axes: Axes, scores: Sequence[float], marks: Marks) -> None:
    groups = (
        ("backfilled history", 0, marks.live_from, "o", BLUE),
        ("live, the same model", marks.live_from, marks.new_model, "s", BLUE),
        ("live, the new model", marks.new_model, len(scores), "^", GREEN),
    )
    axes.plot(range(len(scores)), scores, color=GREY, linewidth=1.0, zorder=2)
    for label, first, end, marker, color in groups:
        face = "white" if marker == "s" else color
        axes.plot(
            range(first, end),
            scores[first:end],
            linestyle="none",
            marker=marker,
            markersize=6,
            color=color,
            markerfacecolor=face,
            markeredgewidth=1.4,
            label=label,
            zorder=3,
        )


def _draw_job(axes: Axes, marks: Marks) -> None:
    start, end = marks.job
    axes.axvspan(start, end, color=ORANGE, alpha=0.25, linewidth=0, label="the Job runs")
    for position, name, side in ((start, "Job starts", "right"), (end, "Job ends", "left")):
        axes.axvline(position, color=GREY, linewidth=1.0, linestyle=":")
        gap = -0.15 if side == "right" else 0.15
        axes.text(
            position + gap, 0.985, name, ha=side, va="top", transform=axes.get_xaxis_transform()
        )


def _point_at_peak(axes: Axes, scores: Sequence[float]) -> None:
    peak = max(scores)
    axes.annotate(
        f"peak of the {len(scores)} reference scores:\n{peak:.4f}, below θ",
        xy=(scores.index(peak), peak),
        xytext=(-120, -4),
        textcoords="offset points",
        ha="right",
        va="center",
        arrowprops={"arrowstyle": "->", "color": GREY, "shrinkB": 6},
    )


def _point_at_holds(axes: Axes, scores: Sequence[float], marks: Marks) -> None:
    axes.annotate(
        "NaN, no data, two series,\nno Prometheus: nothing fires",
        xy=(marks.held, scores[marks.held]),
        xytext=(-48, -150),
        textcoords="offset points",
        ha="center",
        va="center",
        arrowprops={"arrowstyle": "->", "color": GREY, "shrinkB": 6},
    )


def _point_at_crossing(axes: Axes, scores: Sequence[float], threshold: float, marks: Marks) -> None:
    score = scores[marks.crossing]
    axes.plot(
        marks.crossing,
        score,
        marker="o",
        markersize=15,
        markerfacecolor="none",
        markeredgecolor=VERMILLION,
        markeredgewidth=2.0,
        linestyle="none",
        zorder=4,
    )
    axes.annotate(
        f"step {marks.crossing}: {score:.4f} > {threshold}\ndecision, kill -9, restart: one Job",
        xy=(marks.crossing, score),
        xytext=(-50, 22),
        textcoords="offset points",
        ha="right",
        va="center",
        arrowprops={"arrowstyle": "->", "color": VERMILLION, "shrinkB": 9},
    )
