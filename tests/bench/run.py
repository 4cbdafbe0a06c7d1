"""The order of a run.

```
for each number of triggers:
    create what is missing ── first start (large write budget) until nothing is left to write
    at the largest: lay history
    cold start with default settings ── an interval of rest ── windows of the steady state
    at the largest: crossing ── two replicas, one killed ── saturated
```
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from bench.crossing import Crossing, cross
from bench.errors import BenchError
from bench.ground import Ground, Say, prepared
from bench.history import lay_history
from bench.operators import BenchOperator
from bench.options import Options, Part
from bench.replicas import Shared, share
from bench.saturated import Saturated, saturate
from bench.settling import polling_seconds, settle
from bench.steady import Window, apart, idle_prometheus, measure

Measured = TypeVar("Measured", Crossing, Shared, Saturated)


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What was measured at one number of triggers.

    Attributes:
        number: Of triggers.
        history: Finished Retrainings and Jobs of each.
        first_seconds: Until each was evaluated by a process that starts as it finds the triggers
            that were just made.
        cold_seconds: The same for a process that starts where all is known.
        idle_prometheus: CPU seconds a second of Prometheus without an operator.
        windows: Of the steady state.
    """

    number: int
    history: int
    first_seconds: float
    cold_seconds: float
    idle_prometheus: float
    windows: tuple[Window, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """All that a run measured.

    Attributes:
        levels: The steady state at each number of triggers.
        crossing: None where it was left out or broke off; so are the next two.
        shared: Two replicas.
        saturated: One core.
        problems: Why a part broke off.
    """

    levels: tuple[Level, ...]
    crossing: Crossing | None = None
    shared: Shared | None = None
    saturated: Saturated | None = None
    problems: Mapping[Part, str] = field(default_factory=dict)


class Run:
    """One run of the benchmark.

    Args:
        options: What was asked for.
        ground: Where.
    """

    def __init__(self, options: Options, ground: Ground) -> None:
        self._options = options
        self._ground = ground
        self._say = ground.say
        self._crossing: Crossing | None = None
        self._problems: dict[Part, str] = {}

    def whole(self) -> Result:
        """Run all of it."""
        levels, before = [], 0
        for number in self._options.counts:
            self._say(f"{number} triggers, {self._options.interval_seconds} s interval")
            levels.append(self._level(before, number))
            before = number
        return Result(
            levels=tuple(levels),
            crossing=self._crossing,
            shared=self._attempt(Part.REPLICAS, self._shared),
            saturated=self._attempt(Part.SATURATED, self._saturated),
            problems=self._problems,
        )

    def _attempt(self, part: Part, work: Callable[[], Measured]) -> Measured | None:
        """Measure a part if it is wanted; what breaks it off is kept, and the run goes on."""
        if part not in self._options.parts:
            return None
        try:
            return work()
        except BenchError as error:
            self._problems[part] = str(error)
            self._say(f"  broke off: {error}")
            return None

    def _level(self, before: int, number: int) -> Level:
        options, ground = self._options, self._ground
        ground.create_triggers(range(before, number), interval_seconds=options.interval_seconds)
        ground.wait_scores(number)
        self._say(f"  {number - before} created")
        first = settle(ground, number, name=f"settler-{number}")
        is_largest = number == options.largest
        history = options.history if is_largest else 0
        if history:
            lay_history(ground, [ground.trigger(n) for n in range(number)], each=history)
        idle = idle_prometheus(ground, seconds=options.rest_seconds)
        operator = BenchOperator(ground, f"operator-{number}")
        try:
            cold = operator.wait(
                lambda page: len(page.scores) >= number,
                within_seconds=120 + number / 50,
                what=f"{number} triggers evaluated",
                every_seconds=polling_seconds(number),
            )
            self._say(f"  all evaluated: first start {first:.1f} s, restart {cold:.1f} s")
            time.sleep(options.interval_seconds + options.rest_seconds)
            windows = self._windows([operator])
            if is_largest:
                self._crossing = self._attempt(Part.CROSSING, lambda: self._cross(operator))
        finally:
            operator.stop()
        return Level(
            number=number,
            history=history,
            first_seconds=first,
            cold_seconds=cold,
            idle_prometheus=idle,
            windows=windows,
        )

    def _windows(self, operators: Sequence[BenchOperator]) -> tuple[Window, ...]:
        measured = []
        for _ in range(self._options.windows):
            window = measure(self._ground, operators, seconds=self._options.window_seconds)
            measured.append(window)
            self._say(f"  {told(window)}")
        return tuple(measured)

    def _cross(self, operator: BenchOperator) -> Crossing:
        options, ground = self._options, self._ground
        triggers = [ground.trigger(n) for n in range(options.crossings)]
        with apart(ground):
            found = cross(ground, [operator], triggers, interval_seconds=options.interval_seconds)
        self._say(
            f"  {found.triggers} crossed: {found.jobs} Jobs, median {found.percentile(0.5):.3f} s, "
            f"p99 {found.percentile(0.99):.3f} s after their ticks"
        )
        return found

    def _shared(self) -> Shared:
        options = self._options
        self._say(f"two replicas, {options.largest} triggers")
        found = share(
            self._ground,
            [self._ground.trigger(n) for n in range(options.crossings, options.largest)],
            windows=options.windows,
            seconds=options.window_seconds,
            interval_seconds=options.interval_seconds,
            crossings=options.crossings,
        )
        self._say(f"  {told(found.windows[-1])}; owned {found.windows[-1].owned}")
        self._say(
            f"  {found.orphans} triggers of the one that was killed were evaluated again after "
            f"{found.taken_over_seconds:.1f} s; {found.loss.jobs} Jobs of {found.loss.triggers}"
        )
        return found

    def _saturated(self) -> Saturated:
        self._say(f"saturated: {self._options.largest} triggers, 1 s interval")
        found = saturate(self._ground, self._options.largest, windows=self._options.windows)
        self._say(
            f"  {found.per_second:.0f} evaluations/s of {found.demanded:.0f} at "
            f"{found.core_share:.0%} of a core: {found.per_cpu_second:.0f} per CPU second"
        )
        return found


def told(window: Window) -> str:
    """Say in a line what a window was like."""
    requests = sum(window.requests.values())
    return (
        f"{window.evaluations / window.seconds:.1f} evaluations/s; each: operator "
        f"{window.each(window.operator_seconds) * 1e6:.0f} µs, Prometheus "
        f"{window.each(window.prometheus_seconds) * 1e6:.0f} µs, {window.each(requests):.4f} API "
        f"requests; RSS {window.memory_bytes / 1e6:.0f} MB; lateness p99 "
        f"{window.lateness.value * 1000:.0f} ms; load {window.load:.1f}, others "
        f"{window.others:.0%} of the machine"
    )


def run(options: Options, folder: Path, *, say: Say) -> Result:
    """Run the benchmark on a control plane of its own.

    Args:
        options: What to measure.
        folder: For the operators' logs.
        say: Told of progress.
    """
    with prepared(
        folder,
        namespaces=options.namespaces,
        scrape_seconds=options.scrape_seconds,
        say=say,
    ) as ground:
        return Run(options, ground).whole()
