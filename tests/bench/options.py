"""What a run of the benchmark is told."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

OUTPUT = Path("build/bench")
_DEFAULT_COUNTS = (100, 1_000, 10_000)


class Part(StrEnum):
    """What is measured at the largest number of triggers, beside the steady state."""

    CROSSING = "crossing"
    REPLICAS = "replicas"
    SATURATED = "saturated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """A run.

    Attributes:
        counts: Numbers of triggers, rising.
        interval_seconds: Of every trigger; whole.
        windows: How often the steady state is measured at each number; medians are reported.
        window_seconds: How long each time.
        history: Finished Retrainings and Jobs of every trigger at the largest number.
        crossings: Triggers that cross their threshold when the way to the Job is measured.
        scrape_seconds: How often Prometheus fetches the scores.
        namespaces: Over how many the triggers are spread.
        parts: What else is measured.
        rest_seconds: How long an operator is left alone before its steady state is measured,
            beyond an interval, and Prometheus before its idling is.
        output: Folder for results.json and cost.png.
    """

    counts: tuple[int, ...] = _DEFAULT_COUNTS
    interval_seconds: int = 30
    windows: int = 3
    window_seconds: float = 60.0
    history: int = 10
    crossings: int = 100
    scrape_seconds: float = 5.0
    namespaces: int = 20
    parts: tuple[Part, ...] = tuple(Part)
    rest_seconds: float = 15.0
    output: Path = OUTPUT

    @property
    def largest(self) -> int:
        """The largest number of triggers."""
        return self.counts[-1]


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line; ends the process with a sentence where it can't be used."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure what the operator costs against its targets."
    )
    add, default = parser.add_argument, Options()
    add("--triggers", type=_counts, default=default.counts, help="numbers of triggers: 100,1000")
    add("--interval", type=_positive, default=default.interval_seconds, help="seconds")
    add("--windows", type=_positive, default=default.windows, help="measurements per number")
    add("--window", type=_positive, default=0, help="seconds; 0: two intervals, at least 60")
    add("--history", type=_count, default=default.history, help="finished Retrainings a trigger")
    add("--crossings", type=_positive, default=default.crossings, help="triggers that cross")
    add(
        "--scrape",
        type=_positive,
        default=round(default.scrape_seconds),
        help="seconds between scrapes",
    )
    add("--parts", type=_parts, default=default.parts, help=f"among {','.join(Part)}, or none")
    add("--output", type=Path, default=default.output, help="folder for results.json, cost.png")
    given = parser.parse_args(arguments)
    return Options(
        counts=given.triggers,
        interval_seconds=given.interval,
        windows=given.windows,
        window_seconds=float(given.window or max(60, 2 * given.interval)),
        history=given.history,
        crossings=min(given.crossings, max(1, given.triggers[-1] // 4)),
        scrape_seconds=float(given.scrape),
        parts=given.parts,
        output=given.output,
    )


def _counts(text: str) -> tuple[int, ...]:
    return tuple(sorted({_positive(part) for part in text.split(",")}))


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 0 or more")
    return int(text)


def _positive(text: str) -> int:
    if (number := _count(text)) < 1:
        raise argparse.ArgumentTypeError("0 is too few")
    return number


def _parts(text: str) -> tuple[Part, ...]:
    names = [name for name in text.split(",") if name and name != "none"]
    unknown = [name for name in names if name not in set(Part)]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r}: choose among {', '.join(Part)}, none")
    return tuple(Part(name) for name in names)
