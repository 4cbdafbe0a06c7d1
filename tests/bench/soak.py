"""`make soak`: one process for half an hour of edits, deletions and Jobs; does anything grow?

    ARGS="--minutes 60 --triggers 2000"

Every ten seconds it is looked at from outside: resident memory, threads, open files, connections.
The last quarter of the run is held against the second one: the first is warming up.
Exit status 0 when all is flat, 1 when something grows, 2 when the run broke off.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import orjson
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.churn import Churn
from bench.errors import BenchError
from bench.ground import Ground, prepared
from bench.operators import BenchOperator
from bench.options import OUTPUT
from bench.proc import Footprint, footprint
from bench.settling import settle
from drifttrigger.api.errors import DriftTriggerError
from drifttrigger.cli.analysis.plots import BLUE

KINDS = ("memory_bytes", "threads", "descriptors", "connections")
_SHARE = 1.10
_SLACK = {"memory_bytes": 5e6, "threads": 1.0, "descriptors": 4.0, "connections": 4.0}
_INCHES, _DPI = (11.0, 6.0), 150


@dataclass(frozen=True, slots=True)
class Plan:
    """A soak.

    Attributes:
        triggers: How many.
        seconds: How long.
        interval_seconds: Of every trigger.
        every_seconds: Between two looks.
        namespaces: Over how many the triggers are spread.
        seed: Of what is done to them.
    """

    triggers: int = 2_000
    seconds: float = 1_800.0
    interval_seconds: int = 30
    every_seconds: float = 10.0
    namespaces: int = 20
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Sample:
    """One look.

    Attributes:
        at_seconds: Since the beginning.
        footprint: What the process held.
    """

    at_seconds: float
    footprint: Footprint


@dataclass(frozen=True, slots=True)
class Growth:
    """One kind of thing, in the second quarter and in the last.

    Attributes:
        kind: Which.
        second: Median of the second quarter.
        last: Median of the last quarter.
        is_flat: Whether the last is no more than a tenth, and a little, above the second.
    """

    kind: str
    second: float
    last: float
    is_flat: bool


def growth(samples: Sequence[Sample]) -> list[Growth]:
    """Hold the last quarter against the second.

    Raises:
        BenchError: There are fewer than eight samples.
    """
    quarter = len(samples) // 4
    if quarter < 2:
        raise BenchError(f"{len(samples)} samples are too few to tell; let it run longer")
    found = []
    for kind in KINDS:
        values = [float(getattr(sample.footprint, kind)) for sample in samples]
        second, last = median(values[quarter : 2 * quarter]), median(values[-quarter:])
        found.append(Growth(kind, second, last, last <= second * _SHARE + _SLACK[kind]))
    return found


def soak(ground: Ground, plan: Plan, *, first: int = 0) -> tuple[list[Sample], Counter[str]]:
    """Let a process live through edits, deletions and Jobs.

    Args:
        ground: Where.
        plan: How long and with what.
        first: Number of the first trigger; those from here on do not exist yet.

    Returns:
        The samples, and how often what was done.
    """
    numbers = range(first, first + plan.triggers)
    ground.create_triggers(numbers, interval_seconds=plan.interval_seconds)
    ground.wait_scores(plan.triggers)
    settle(ground, plan.triggers, name="settler")
    operator = BenchOperator(ground, "operator")
    stream = random.Random(plan.seed)  # noqa: S311 - a repeatable load, not a secret
    churn = Churn(ground, numbers, plan.interval_seconds, stream)
    try:
        operator.wait(
            lambda page: len(page.scores) >= plan.triggers,
            within_seconds=300,
            what="every trigger evaluated",
        )
        churn.start()
        samples = _look(ground, operator, churn, plan)
    finally:
        churn.stop()
        operator.stop()
    return samples, churn.done


def _look(ground: Ground, operator: BenchOperator, churn: Churn, plan: Plan) -> list[Sample]:
    samples: list[Sample] = []
    started = time.monotonic()
    while (elapsed := time.monotonic() - started) < plan.seconds:
        operator.check()
        churn.check()
        samples.append(Sample(elapsed, footprint(operator.pid)))
        if len(samples) % 6 == 1:
            ground.say(f"  {elapsed / 60:4.1f} min: {_told(samples[-1].footprint)}")
        time.sleep(plan.every_seconds)
    return samples


def _told(held: Footprint) -> str:
    return (
        f"{held.memory_bytes / 1e6:.1f} MB, {held.threads} threads, "
        f"{held.descriptors} descriptors, {held.connections} connections"
    )


def write_plot(path: Path, samples: Sequence[Sample]) -> None:
    """Draw every kind against time."""
    figure = Figure(figsize=_INCHES, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    minutes = [sample.at_seconds / 60 for sample in samples]
    for axes, kind in zip(figure.subplots(2, 2).flat, KINDS, strict=True):
        scale, name = (1e6, "memory (MB)") if kind == "memory_bytes" else (1, kind)
        axes.plot(minutes, [getattr(s.footprint, kind) / scale for s in samples], color=BLUE)
        axes.set_ylim(bottom=0)
        axes.set_title(name, loc="left", fontweight="bold")
        axes.set_xlabel("minutes")
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, format="png")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description="Look for leaks.")
    parser.add_argument("--triggers", type=int, default=Plan().triggers)
    parser.add_argument("--minutes", type=float, default=Plan().seconds / 60)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args(arguments)
    if given.triggers < 8 or given.minutes < 1.5:
        parser.error("at least 8 triggers and 1.5 minutes are needed to tell anything")
    plan = Plan(triggers=given.triggers, seconds=given.minutes * 60)
    given.output.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    try:
        with prepared(folder, namespaces=plan.namespaces, scrape_seconds=5.0, say=_say) as ground:
            samples, done = soak(ground, plan)
        found = growth(samples)
    except (BenchError, DriftTriggerError, OSError) as error:
        print(f"error: {error}; logs are in {folder}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        shutil.rmtree(folder)
        print("interrupted; nothing runs any more", file=sys.stderr)
        return 130
    content = {"plan": plan, "done": done, "growth": found, "samples": samples}
    (given.output / "soak.json").write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
    write_plot(given.output / "soak.png", samples)
    shutil.rmtree(folder)
    return _print(found, done, given.output)


def _print(found: Sequence[Growth], done: Counter[str], output: Path) -> int:
    print("done: " + ", ".join(f"{what} {number}" for what, number in done.most_common()))
    for each in found:
        verdict = "flat" if each.is_flat else "GROWS"
        print(f"  {each.kind:14} {each.second:>14,.0f} -> {each.last:>14,.0f}  {verdict}")
    print(f"all of it is in {output}")
    return int(not all(each.is_flat for each in found))


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
