"""What was promised, held against what was measured: one row each.

A row is judged at the largest number of triggers. Those that are promised for ten thousand triggers
at an interval of 30 s are judged only there: a process has a cost of its own, which few triggers
share. What the peers take was measured on a 2-core machine at 1,000 objects asking every 10 s.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import median

from bench.options import Options, Part
from bench.replicas import LEASE_SECONDS
from bench.run import Level, Result
from bench.steady import Window

PROMISED_TRIGGERS, PROMISED_INTERVAL_SECONDS = 10_000, 30
_START_SECONDS = 10.0
_ALIKE = 1.25
_TO_MICROSECONDS = 1e6
PEER_TRIGGERS = 1_000


@dataclass(frozen=True, slots=True)
class Peer:
    """What another operator takes: microseconds, requests an evaluation, megabytes."""

    name: str
    operator: float
    prometheus: float
    memory: float
    requests: float | None = None


KEDA = Peer("KEDA", operator=912, prometheus=1686, memory=222)
ROLLOUTS = Peer("Argo Rollouts", operator=1411, prometheus=1167, memory=103, requests=1.0)


class Verdict(StrEnum):
    """Whether a target is met."""

    PASS = "PASS"
    FAIL = "FAIL"
    OPEN = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One target.

    Attributes:
        what: What is measured.
        unit: Of the numbers.
        limit: The most, or the least, that was promised.
        is_least: Whether the limit is the least.
        measured: None where it was not measured.
        is_judged: Whether the run is of the size that the promise is about.
        keda: What KEDA takes; None where it was not measured or has no such thing.
        rollouts: The same for Argo Rollouts.
        note: More, for people.
        part: What it is measured by; None for the steady state.
    """

    what: str
    unit: str
    limit: float
    measured: float | None
    is_least: bool = False
    is_judged: bool = True
    keda: float | None = None
    rollouts: float | None = None
    note: str = ""
    part: Part | None = None

    @property
    def verdict(self) -> Verdict:
        """Whether the target is met."""
        if self.measured is None or not self.is_judged:
            return Verdict.OPEN
        is_met = self.measured >= self.limit if self.is_least else self.measured <= self.limit
        return Verdict.PASS if is_met else Verdict.FAIL


def rows(result: Result, options: Options) -> list[Row]:
    """Hold a run against the targets."""
    level = result.levels[-1]
    is_promised = (
        level.number >= PROMISED_TRIGGERS and options.interval_seconds == PROMISED_INTERVAL_SECONDS
    )
    found = [
        *_costs(level, is_promised=is_promised),
        _growth(result.levels),
        *_times(result, options),
        _saturated(result, is_promised=is_promised),
        *_replicas(result, options, is_promised=is_promised),
    ]
    return [_with_problem(row, result.problems) for row in found]


def _with_problem(row: Row, problems: Mapping[Part, str]) -> Row:
    """Let a row fail whose part broke off: not to be measurable is no way to pass."""
    problem = problems.get(row.part) if row.part is not None else None
    if problem is None:
        return row
    return replace(row, measured=0.0 if row.is_least else float("inf"), note=problem)


def cost(windows: Iterable[Window], amount: Callable[[Window], float]) -> float:
    """Return the median of something per evaluation."""
    return median(window.each(amount(window)) for window in windows)


def operator_cost(windows: Iterable[Window]) -> float:
    """Return the operators' CPU for an evaluation, microseconds."""
    return cost(windows, lambda window: window.operator_seconds) * _TO_MICROSECONDS


def prometheus_cost(windows: Iterable[Window]) -> float:
    """Return Prometheus' CPU for an evaluation, microseconds, its scraping included."""
    return cost(windows, lambda window: window.prometheus_seconds) * _TO_MICROSECONDS


def _costs(level: Level, *, is_promised: bool) -> Iterator[Row]:
    windows = level.windows
    pages = median(w.page_seconds for w in windows)
    yield Row(
        what="operator CPU per evaluation",
        unit="µs",
        limit=60,
        measured=operator_cost(windows),
        is_judged=is_promised,
        keda=KEDA.operator,
        rollouts=ROLLOUTS.operator,
        note=f"a page of metrics {pages * 1000:.0f} ms",
    )
    scraping = cost(windows, lambda w: level.idle_prometheus * w.seconds) * _TO_MICROSECONDS
    yield Row(
        what="Prometheus CPU per evaluation",
        unit="µs",
        limit=80,
        measured=prometheus_cost(windows),
        is_judged=is_promised,
        keda=KEDA.prometheus,
        rollouts=ROLLOUTS.prometheus,
        note=f"{scraping:.0f} µs of it without any operator; {_batches(windows)}",
    )
    requests: Counter[str] = sum((w.requests for w in windows), Counter())
    evaluations = sum(w.evaluations for w in windows)
    own = sum(w.own_requests for w in windows)
    yield Row(
        what="API requests per evaluation",
        unit="",
        limit=0.01,
        measured=requests.total() / evaluations if evaluations else float("inf"),
        is_judged=is_promised,
        rollouts=ROLLOUTS.requests,
        note=f"{_told(requests)}; the operator counts {own:.0f}",
    )
    yield Row(
        what="resident memory",
        unit="MB",
        limit=90 + 5 * level.number / 1000,
        measured=max(w.memory_bytes for w in windows) / 1e6,
        keda=KEDA.memory,
        rollouts=ROLLOUTS.memory,
        note=f"{level.history} finished Retrainings and Jobs a trigger in the cluster",
    )


def _growth(levels: tuple[Level, ...]) -> Row:
    """Compare what one trigger costs at the largest number with the cheapest level."""
    costs = [operator_cost(level.windows) for level in levels]
    return Row(
        what="growth: cost at the largest against the least",
        unit="×",
        limit=_ALIKE,
        measured=costs[-1] / min(costs) if len(costs) > 1 and min(costs) else None,
        note=", ".join(
            f"{level.number}: {each:.0f} µs" for level, each in zip(levels, costs, strict=True)
        ),
    )


def _times(result: Result, options: Options) -> Iterator[Row]:
    level, crossing = result.levels[-1], result.crossing
    late = max((w.lateness for w in level.windows), key=lambda lateness: lateness.bound)
    missed = [w.missed for w in level.windows if w.missed is not None]
    yield Row(
        what="tick lateness p99 (bucket bound)",
        unit="ms",
        limit=250,
        measured=late.bound * 1000 if late.count else float("inf"),
        note=f"interpolated {late.value * 1000:.0f}; missed ticks "
        + (f"{sum(missed):.0f}" if missed else "not told"),
    )
    yield Row(
        what="crossing to Job p99, beyond the tick",
        part=Part.CROSSING,
        unit="ms",
        limit=500,
        measured=None if crossing is None else crossing.percentile(0.99) * 1000,
        note=""
        if crossing is None
        else f"{crossing.triggers} triggers, median {crossing.percentile(0.5) * 1000:.0f}",
    )
    yield Row(
        what="cold start to every one evaluated",
        unit="s",
        limit=options.interval_seconds + _START_SECONDS,
        measured=level.cold_seconds,
        note=f"first start after all were created {level.first_seconds:.1f}",
    )


def _saturated(result: Result, *, is_promised: bool) -> Row:
    found = result.saturated
    return Row(
        what="evaluations a second, one core",
        part=Part.SATURATED,
        unit="/s",
        limit=5000,
        is_least=True,
        measured=None if found is None else found.per_cpu_second,
        is_judged=is_promised,
        note=""
        if found is None
        else f"{found.per_second:.0f}/s with {found.core_share:.0%} of a core that others use too",
    )


def _replicas(result: Result, options: Options, *, is_promised: bool) -> Iterator[Row]:
    shared, crossings = result.shared, [] if result.crossing is None else [result.crossing]
    if shared is not None:
        crossings += [shared.crossing, shared.loss]
    yield Row(
        what="two replicas: largest share of load",
        part=Part.REPLICAS,
        unit="%",
        limit=55,
        measured=None if shared is None else _largest_share(shared.windows, options.largest),
        is_judged=is_promised,
    )
    alone = operator_cost(result.levels[-1].windows)
    yield Row(
        what="two replicas: CPU against one",
        part=Part.REPLICAS,
        unit="×",
        limit=_ALIKE,
        measured=None if shared is None else operator_cost(shared.windows) / alone,
        is_judged=is_promised,
        note="" if shared is None else f"{operator_cost(shared.windows):.0f} µs per evaluation",
    )
    yield Row(
        what="decisions doubled or lost",
        part=Part.REPLICAS,
        unit="",
        limit=0,
        measured=sum(c.doubled + c.lost for c in crossings) if crossings else None,
        note=f"of {sum(c.triggers for c in crossings)}, one and two replicas, one killed",
    )
    yield Row(
        what="replica killed: all evaluated again",
        part=Part.REPLICAS,
        unit="s",
        limit=LEASE_SECONDS + options.interval_seconds,
        measured=None if shared is None else shared.taken_over_seconds,
        note="" if shared is None else f"{shared.orphans} triggers",
    )


def _largest_share(windows: Iterable[Window], number: int) -> float:
    """Return the largest share of triggers that one owned, per cent; 100 when none tells."""
    shares = [max((each or number) / number for each in w.owned) for w in windows]
    return 100 * median(shares)


def _batches(windows: Iterable[Window]) -> str:
    batches = [w.batch for w in windows if w.batch is not None]
    return f"{median(batches):.0f} queries a request" if batches else "one query a request"


def _told(requests: Counter[str]) -> str:
    return f"{requests.total()}: " + ", ".join(
        f"{what} {number}" for what, number in requests.most_common(4)
    )
