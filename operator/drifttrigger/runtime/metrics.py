"""What Prometheus can scrape from the operator itself.

Counters and histograms are prometheus-client's. The series of each trigger are read from the
records when they are scraped, so that they vanish with their trigger.
"""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from drifttrigger import __version__
from drifttrigger.api.reasons import ConditionType, Outcome, Reason, RetrainingResult
from drifttrigger.core.conditions import find
from drifttrigger.core.decide import Decision
from drifttrigger.core.episode import is_drifted
from drifttrigger.core.observation import Observation, format_value
from drifttrigger.runtime.records import Record
from drifttrigger.runtime.views import Key, RetrainingView

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_LABEL_LENGTH = 256
_PIECE = 500
_SIZES = (2, 5, 10, 25, 50, 100, 150, 200)
_LONG_SECONDS = (10, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 86400, 7 * 86400)


class Metrics:
    """All metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._evaluations = Counter(
            "drifttrigger_evaluations",
            "Answers of metrics servers, by outcome.",
            ["outcome"],
            registry=self.registry,
        )
        self._decisions = Counter(
            "drifttrigger_decisions",
            "Decisions, by reason.",
            ["reason"],
            registry=self.registry,
        )
        self._evaluation_seconds = Histogram(
            "drifttrigger_evaluation_seconds",
            "Time from asking a metrics server to its whole answer.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._lateness_seconds = Histogram(
            "drifttrigger_tick_lateness_seconds",
            "Time from a tick to its asking.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._ticks_missed = Counter(
            "drifttrigger_ticks_missed",
            "Ticks that were never asked, since a later one had come.",
            registry=self.registry,
        )
        self._source_requests = Counter(
            "drifttrigger_source_requests",
            "Requests to metrics servers, by result: ok, or the outcome's name.",
            ["result"],
            registry=self.registry,
        )
        self._batch_size = Histogram(
            "drifttrigger_batch_size",
            "Queries that shared a request.",
            buckets=_SIZES,
            registry=self.registry,
        )
        self._retrainings = Counter(
            "drifttrigger_retrainings",
            "Retrainings that ended, by result.",
            ["result"],
            registry=self.registry,
        )
        self._retraining_seconds = Histogram(
            "drifttrigger_retraining_seconds",
            "Time from a decision to the end of its Retraining.",
            buckets=_LONG_SECONDS,
            registry=self.registry,
        )

        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """Show counters before they count.

        One that first appears at 1 has no increase: alerts would miss the first failure.
        """
        self._evaluations_by = {o: self._evaluations.labels(o.value) for o in Outcome}
        self._decisions_by: dict[Reason, Counter] = {}
        for result in RetrainingResult:
            self._retrainings.labels(result.value)
        self._decisions.labels(Reason.ATTEMPTS_EXHAUSTED.value)

    def evaluated(self, observation: Observation, *, seconds: float) -> None:
        """Count one answer."""
        self._evaluations_by[observation.outcome].inc()
        self._evaluation_seconds.observe(seconds)

    def asked(self, result: str) -> None:
        """Count one request that was sent to a metrics server."""
        self._source_requests.labels(result).inc()

    def missed(self, ticks: int) -> None:
        """Count ticks that were never asked: later ones had come."""
        if ticks:
            self._ticks_missed.inc(ticks)

    def batched(self, size: int) -> None:
        """Record the size of one batch that was sent."""
        self._batch_size.observe(size)

    def lateness(self, seconds: float) -> None:
        """Record how late a tick was asked."""
        self._lateness_seconds.observe(max(0.0, seconds))

    def decided(self, decision: Decision) -> None:
        """Count one decision."""
        counter = self._decisions_by.get(decision.reason)
        if counter is None:
            counter = self._decisions.labels(decision.reason.value)
            self._decisions_by[decision.reason] = counter
        counter.inc()

    def retraining_ended(self, retraining: RetrainingView) -> None:
        """Count one ended Retraining."""
        self._retrainings.labels(retraining.result.value).inc()
        seconds = (retraining.ended_at - retraining.created_at).total_seconds()
        self._retraining_seconds.observe(max(0.0, seconds))


class TriggerSeries:
    """The series of each trigger as text, read from the records when scraped.

    Written here, since prometheus-client makes three objects of each sample first: at 10,000
    triggers its page took 0.3 s of the loop's core and 20 MB that were never given back.

    Args:
        records: The live records.
    """

    def __init__(self, records: Callable[[], Iterable[tuple[Key, Record]]]) -> None:
        self._records = records

    def pieces(self) -> Iterator[str]:
        """Yield score, threshold, drifted and ready of every trigger, some hundred at a time."""
        items = [item for item in self._records() if item[1].is_owned]  # another replica tells
        for name, help_text, read in SERIES:
            yield f"# HELP {name} {help_text}\n# TYPE {name} gauge\n"
            for start in range(0, len(items), _PIECE):
                yield "".join(
                    f'{name}{{namespace="{namespace}",trigger="{trigger}"}} {value}\n'
                    for (namespace, trigger), record in items[start : start + _PIECE]
                    if (value := read(record)) is not None
                )


def _score(record: Record) -> str | None:
    observation = record.observation
    if observation is None or observation.outcome is not Outcome.SCORE or observation.score is None:
        return None
    return format_value(observation.score)


def _threshold(record: Record) -> str | None:
    rules = record.view.rules
    return format_value(rules.threshold) if rules is not None else None


def _drifted(record: Record) -> str:
    return "1" if is_drifted(record.view.status) else "0"


def _ready(record: Record) -> str:
    condition = find(record.view.status.conditions, ConditionType.READY)
    return "1" if condition is not None and condition.status == "True" else "0"


SERIES: tuple[tuple[str, str, Callable[[Record], str | None]], ...] = (
    ("drifttrigger_score", "Newest finite score.", _score),
    ("drifttrigger_threshold", "Threshold of the spec.", _threshold),
    ("drifttrigger_drifted", "1 while an episode is open.", _drifted),
    ("drifttrigger_ready", "1 while the condition Ready is True.", _ready),
)
"""Of each trigger: name, help, and how its value is read; None for no sample."""


class SourceCollector(Collector):
    """How metrics servers are, read when scraped.

    Args:
        health: Addresses asked lately, and whether all is well with each.
    """

    def __init__(self, health: Callable[[], dict[str, bool]]) -> None:
        self._health = health

    def collect(self) -> Iterator[Metric]:
        """Yield source_up of every address."""
        up = GaugeMetricFamily(
            "drifttrigger_source_up", "1 while a metrics server answers.", labels=["source"]
        )
        for address, is_well in self._health().items():
            up.add_metric([address[:_LABEL_LENGTH]], float(is_well))
        yield up


class ProcessCollector(Collector):
    """What the process knows of itself, read when scraped.

    Args:
        requests: API requests so far by verb, resource and code.
        gauges: Other numbers by name: help text and a function that reads it.
    """

    def __init__(
        self,
        requests: Callable[[], dict[tuple[str, str, str], int]],
        gauges: dict[str, tuple[str, Callable[[], float]]],
    ) -> None:
        self._requests = requests
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        """Yield API requests, gauges and the build."""
        requests = CounterMetricFamily(
            "drifttrigger_api_requests",
            "Requests to the API server.",
            labels=["verb", "resource", "code"],
        )
        for labels, number in self._requests().items():
            requests.add_metric(list(labels), number)
        yield requests
        for name, (text, read) in self._gauges.items():
            yield GaugeMetricFamily(f"drifttrigger_{name}", text, value=read())
        build = GaugeMetricFamily(
            "drifttrigger_build_info", "The version that runs.", labels=["version"]
        )
        build.add_metric([__version__], 1)
        yield build
