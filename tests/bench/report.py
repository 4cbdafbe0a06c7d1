"""What a run leaves behind: a table for people, results.json for machines, cost.png for the eye."""

import os
import platform
import sys
from pathlib import Path

import orjson
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.options import Options
from bench.proc import processor
from bench.run import Result
from bench.targets import (
    KEDA,
    PEER_TRIGGERS,
    ROLLOUTS,
    Row,
    Verdict,
    operator_cost,
    prometheus_cost,
)
from drifttrigger import __version__
from drifttrigger.cli.analysis.plots import BLUE, GREEN, GREY, ORANGE, VERMILLION

_INCHES, _DPI = (11.0, 5.0), 150
_WIDTH = 150
_PEERS = {KEDA: "^", ROLLOUTS: "v"}
_STYLES = {Verdict.PASS: "green", Verdict.FAIL: "bold red", Verdict.OPEN: "dim"}


def print_table(rows: list[Row], *, number: int, interval_seconds: int) -> None:
    """Print the rows beside the peers' figures."""
    title = f"{number} triggers, {interval_seconds} s interval (peers: {PEER_TRIGGERS} objects)"
    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column("what")
    for name in ("target", "measured", "", "KEDA", "Argo Rollouts"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("more", style="dim")
    for row in rows:
        table.add_row(
            row.what,
            f"{'≥' if row.is_least else '≤'} {number_of(row.limit)} {row.unit}".rstrip(),
            "not measured" if row.measured is None else number_of(row.measured),
            Text(row.verdict, style=_STYLES[row.verdict]),
            number_of(row.keda),
            number_of(row.rollouts),
            row.note,
        )
    width = None if sys.stdout.isatty() else _WIDTH
    Console(width=width).print(table)


def number_of(value: float | None) -> str:
    """Write a number with as many digits as it deserves; nothing for None."""
    if value is None:
        return ""
    if abs(value) >= 100 or float(value).is_integer():
        return f"{value:.0f}"
    return f"{value:.3g}" if abs(value) >= 0.1 else f"{value:.4f}"


def write_json(path: Path, result: Result, rows: list[Row], options: Options) -> None:
    """Write all that was measured."""
    content = {
        "version": __version__,
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "kernel": platform.release(),
            "python": platform.python_version(),
        },
        "options": {**{name: getattr(options, name) for name in options.__slots__}},
        "rows": [
            {**{name: getattr(row, name) for name in row.__slots__}, "verdict": row.verdict}
            for row in rows
        ],
        "result": result,
    }
    flags = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS
    path.write_bytes(orjson.dumps(content, default=str, option=flags))


def write_plot(path: Path, result: Result) -> None:
    """Draw what an evaluation costs, and what memory a process takes, against the triggers."""
    figure = Figure(figsize=_INCHES, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    costs, memory = figure.subplots(1, 2)
    numbers = sorted({PEER_TRIGGERS, *(level.number for level in result.levels)})
    _draw_costs(costs, result)
    _draw_memory(memory, result)
    for axes in (costs, memory):
        axes.set_xscale("log")
        axes.set_xticks(numbers, labels=[f"{number:,}" for number in numbers])
        axes.set_xlabel("triggers")
        axes.minorticks_off()
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="best", frameon=False, fontsize=8)
    figure.savefig(path, format="png")


def _draw_costs(axes: Axes, result: Result) -> None:
    numbers = [level.number for level in result.levels]
    for name, cost, colour, marker in (
        ("operator", operator_cost, BLUE, "o"),
        ("Prometheus", prometheus_cost, ORANGE, "s"),
    ):
        values = [cost(level.windows) for level in result.levels]
        axes.plot(numbers, values, color=colour, marker=marker, label=name)
        for peer, hollow in _PEERS.items():
            value = getattr(peer, name.lower())
            _draw_peer(axes, value, hollow, colour=colour, label=f"{name}, {peer.name}")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.set_ylabel("CPU per evaluation (µs)")
    axes.set_title("What an evaluation costs", loc="left", fontweight="bold")


def _draw_peer(axes: Axes, value: float, marker: str, *, colour: str, label: str) -> None:
    axes.plot(
        [PEER_TRIGGERS],
        [value],
        color=colour,
        marker=marker,
        linestyle="none",
        markerfacecolor="none",
        label=label,
    )


def _draw_memory(axes: Axes, result: Result) -> None:
    numbers = [level.number for level in result.levels]
    used = [max(w.memory_bytes for w in level.windows) / 1e6 for level in result.levels]
    axes.plot(numbers, used, color=GREEN, marker="o", label="operator")
    limits = [90 + 5 * number / 1000 for number in numbers]
    axes.plot(numbers, limits, color=GREY, linestyle="--", label="target")
    for peer, hollow in _PEERS.items():
        _draw_peer(axes, peer.memory, hollow, colour=VERMILLION, label=peer.name)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("resident memory (MB)")
    axes.set_title("What a process holds", loc="left", fontweight="bold")
