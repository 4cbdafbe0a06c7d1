"""`drifttrigger simulate`: the reference drift scores, and the check of the latest one, in words.

The numbers are those of the original exercise, and what is said about them is what they say: with
seed 42 its thirty scores peak at 0.1792 and no trigger fires. CSV goes into `backtest --csv`,
OpenMetrics into `promtool tsdb create-blocks-from openmetrics`, `--serve` is there to be scraped.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from drifttrigger.api.errors import UsageError
from drifttrigger.api.v1alpha1 import Comparison
from drifttrigger.cli.backtest.inputs import period
from drifttrigger.clients.clock import SystemClock
from drifttrigger.core.observation import format_value
from drifttrigger.core.rules import breaches
from drifttrigger.core.times import format_duration, format_instant

if TYPE_CHECKING:
    import pandas as pd
    from prometheus_client import Gauge

METRIC = "model_drift_score"
_HELP = "How far the model's inputs are from those it was trained on."
_DAY = timedelta(days=1)
_STEP_SERVED = timedelta(seconds=10)
_LAST_ROWS = 10
_MOST_STEPS = 100_000
_MOST_SAMPLES = 10_000_000
_LARGEST_SEED, _LARGEST = 2**32 - 1, 1e12


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The command line, as it was written."""

    seed: int
    steps: int
    base: float
    change_point: int
    slope: float
    noise: float
    threshold: float
    output_format: str
    output: Path | None
    model: str
    every: str | None
    serve: str | None


class _Finite(click.ParamType[float]):
    """A number whose series stays finite."""

    name = "number"

    def __init__(self, *, least: float | None = None) -> None:
        self._least = least

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read it, refusing NaN, infinities and what would become one."""
        number = float(click.FLOAT.convert(value, param, ctx))
        if not abs(number) <= _LARGEST:
            self.fail(f"{value} is no number up to {_LARGEST:g}", param, ctx)
        if self._least is not None and number < self._least:
            self.fail(f"{value} is less than {self._least:g}", param, ctx)
        return number


@click.command()
@click.option("--seed", type=click.IntRange(0, _LARGEST_SEED), default=42, show_default=True)
@click.option(
    "--steps",
    type=click.IntRange(0, _MOST_STEPS),
    default=30,
    show_default=True,
    help="Days; the last one is today.",
)
@click.option(
    "--base", type=_Finite(), default=0.05, show_default=True, help="Score without drift."
)
@click.option(
    "--change-point",
    type=click.IntRange(-_MOST_STEPS, _MOST_STEPS),
    default=20,
    show_default=True,
    help="Day after which it drifts.",
)
@click.option("--slope", type=_Finite(), default=0.015, show_default=True, help="Growth a day.")
@click.option(
    "--noise", type=_Finite(least=0), default=0.02, show_default=True, help="Standard deviation."
)
@click.option("--threshold", type=_Finite(), default=0.2, show_default=True, help="θ of the check.")
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["table", "csv", "openmetrics", "plot"]),
    default="table",
    show_default=True,
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write there instead of stdout; a plot becomes a PNG.",
)
@click.option("--model", default="fraud-detector", show_default=True, help="Value of the label.")
@click.option(
    "--every",
    help="OpenMetrics: a sample this often (default 1d). --serve: the length of a step (10s).",
)
@click.option("--serve", metavar="HOST:PORT", help="Serve the scores step by step at /metrics.")
def simulate(**given: Any) -> None:
    """Make the reference drift scores, and check the latest one against θ.

    score = max(0, base + slope · max(0, day - change point) + noise · N(0, 1))
    """
    options = Options(**given)
    if options.serve is not None:
        _serve(options, options.serve)
        return
    series = _series(options, end=today())
    text, picture = _rendered(options, series)
    if options.output is not None:
        _write(options.output, picture if picture is not None else text.encode())
    else:
        click.echo(text, nl=False)
    # What programs read stays clean; people see the words in any case.
    is_data = options.output_format in ("csv", "openmetrics") and options.output is None
    for line in words(options, series):
        click.echo(line, err=is_data)


def today() -> datetime:
    """Return the beginning of this day, UTC."""
    return SystemClock().now().replace(hour=0, minute=0, second=0, microsecond=0)


def _series(options: Options, *, end: datetime) -> pd.DataFrame:
    from drifttrigger.cli.analysis.reference import reference_series

    return reference_series(
        options.steps,
        seed=options.seed,
        base=options.base,
        change_point=options.change_point,
        slope=options.slope,
        noise=options.noise,
        end=end,
    )


def _rendered(options: Options, series: pd.DataFrame) -> tuple[str, bytes | None]:
    """Return the text for stdout and, for a plot into a file, the picture."""
    match options.output_format:
        case "csv":
            return as_csv(series), None
        case "openmetrics":
            every = period(options.every, "--every") if options.every is not None else _DAY
            return "".join(openmetrics(series, model=options.model, every=every)), None
        case "plot" if options.output is not None:
            from drifttrigger.cli.analysis.plots import series_plot

            return "", series_plot(series, threshold=options.threshold)
        case "plot":
            return _chart(options, series), None
        case _:
            return as_table(series), None


def as_table(series: pd.DataFrame) -> str:
    """Print the last ten rows, as the exercise does."""
    if series.empty:
        return ""
    last = series.tail(_LAST_ROWS)
    head = f"The last {len(last)} of {len(series)} drift scores:\n"
    shown = last.assign(timestamp=last["timestamp"].dt.strftime("%Y-%m-%d"))
    return f"{head}{shown.to_string(float_format=lambda score: f'{score:.6f}')}\n"


def as_csv(series: pd.DataFrame) -> str:
    """Write `timestamp,drift_score`; the scores read back as the same doubles."""
    rows = zip(series["timestamp"], series["drift_score"], strict=True)
    lines = [f"{format_instant(at.to_pydatetime())},{float(score)!r}\n" for at, score in rows]
    return "".join(["timestamp,drift_score\n", *lines])


def openmetrics(series: pd.DataFrame, *, model: str, every: timedelta) -> Iterator[str]:
    """Write the scores for a backfill; each lasts a day, and none lies in the future."""
    count = max(1, _DAY // every)
    if len(series) * count > _MOST_SAMPLES:
        raise UsageError(f"more than {_MOST_SAMPLES:,} samples; set a larger --every")
    label = model.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    now = SystemClock().now().timestamp()
    yield f"# TYPE {METRIC} gauge\n# HELP {METRIC} {_HELP}\n"
    for at, score in zip(series["timestamp"], series["drift_score"], strict=True):
        for sample in range(count):
            seconds = int(at.timestamp()) + sample * int(every.total_seconds())
            if seconds <= now:
                yield f'{METRIC}{{model="{label}"}} {float(score)!r} {seconds}\n'
    yield "# EOF\n"


def words(options: Options, series: pd.DataFrame) -> list[str]:
    """Check the latest score with the operator's own comparison; say what the numbers say."""
    if series.empty:
        return ["Warning: there are no drift scores; nothing is checked and no trigger fires."]
    from drifttrigger.cli.analysis.reference import first_crossing

    scores = [float(score) for score in series["drift_score"]]
    latest, theta = scores[-1], format_value(options.threshold)
    when = series["timestamp"].iloc[-1].strftime("%Y-%m-%d")
    lines = [f"Checking the drift score of {when}: {latest:.4f}, threshold: {theta}"]
    if breaches(latest, Comparison.GREATER_THAN, options.threshold):
        lines.append(f"Drift detected: {latest:.4f} > {theta}. A retraining would be triggered.")
    else:
        lines.append(f"No significant drift: {latest:.4f} ≤ {theta}. No trigger fires.")
    peak, crossing = max(scores), first_crossing(scores, threshold=options.threshold)
    summary = f"Of {len(scores)} scores the highest is {peak:.4f} (step {scores.index(peak)})"
    if crossing is None:
        return [*lines, f"{summary}: θ = {theta} is never crossed, no trigger fires."]
    first = f"the first above θ = {theta} is step {crossing} ({scores[crossing]:.4f})"
    return [*lines, f"{summary}; {first}."]


def _chart(options: Options, series: pd.DataFrame) -> str:
    if series.empty:
        return ""
    from rich.console import Console

    from drifttrigger.cli.demo.chart import chart

    console = Console(highlight=False)
    scores = [float(score) for score in series["drift_score"]]
    with console.capture() as captured:
        console.print(chart(scores, threshold=options.threshold, width=console.width))
    return captured.get().rstrip() + "\n"


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror}") from error


def _serve(options: Options, address: str) -> None:
    """Serve step after step until Ctrl-C; the last score stays."""
    from prometheus_client import CollectorRegistry, start_http_server
    from prometheus_client import Gauge as NewGauge

    host, _, port = address.rpartition(":")
    if not port.isdecimal() or not 0 <= int(port) <= 65535 or not host:
        raise click.BadParameter("write it like 127.0.0.1:9105", param_hint="--serve")
    length = period(options.every, "--every") if options.every is not None else _STEP_SERVED
    series = _series(options, end=today())
    registry = CollectorRegistry()
    gauge = NewGauge(METRIC, _HELP, ["model"], registry=registry)
    gauge_of_step = NewGauge("simulated_step", "Step of the series.", ["model"], registry=registry)
    try:
        server, _thread = start_http_server(int(port), addr=host, registry=registry)
    except OSError as error:
        raise UsageError(f"can't listen on {address}: {error.strerror}") from error
    bound = server.server_port
    click.echo(f"http://{host}:{bound}/metrics, a step every {format_duration(length)}", err=True)
    try:
        _walk(options, series, gauge, gauge_of_step, length)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        server.shutdown()
        server.server_close()


def _walk(
    options: Options, series: pd.DataFrame, score: Gauge, at: Gauge, length: timedelta
) -> None:
    for step, value in enumerate(series["drift_score"]):
        score.labels(options.model).set(float(value))
        at.labels(options.model).set(step)
        click.echo(f"step {step}: {float(value):.4f}", err=True)
        time.sleep(length.total_seconds())
    for line in words(options, series):
        click.echo(line, err=True)
    while True:
        time.sleep(length.total_seconds())
