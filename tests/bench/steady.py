"""The steady state: what one window of time cost, seen from outside.

CPU is read after the first page of metrics has come and before the last is asked for, so that
rendering pages of ten thousand triggers is not counted as evaluating them; what a page costs is
reported for itself.
"""

import os
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from bench.asked import server_total
from bench.ground import Ground
from bench.operators import BenchOperator
from bench.proc import cpu_seconds, machine, memory_bytes, pinned
from bench.scraped import Quantile, Scraped, between, quantile

LATENESS = "drifttrigger_tick_lateness_seconds"
_CHECK_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What happened in one window; sums over all operators that ran.

    Attributes:
        seconds: Its length.
        evaluations: Answers that were taken, of whatever outcome.
        errors: Those of them that were no score.
        operator_seconds: CPU of the operators.
        prometheus_seconds: CPU of Prometheus, its scraping included.
        page_seconds: CPU of the operators for one page of metrics each.
        requests: Operators' requests to the API server by verb and resource, its audit log.
        server_requests: Requests for our resources by anybody, the API server's metrics.
        own_requests: Requests that the operators count themselves.
        lateness: 99th percentile of ticks' lateness, seconds.
        missed: Ticks missed; None where there is no such metric.
        batch: Mean number of queries in one request; None where there is no such metric.
        source_requests: Requests to Prometheus.
        memory_bytes: Resident set of the largest operator at its end.
        owned: Triggers owned by each operator.
        load: Load average of the last minute at its end.
        others: Share of the machine that was used by others than the run, 0 to 1.
    """

    seconds: float
    evaluations: float
    errors: float
    operator_seconds: float
    prometheus_seconds: float
    page_seconds: float
    requests: Counter[str] = field(default_factory=Counter)
    server_requests: float = 0.0
    own_requests: float = 0.0
    lateness: Quantile
    missed: float | None = None
    batch: float | None = None
    source_requests: float = 0.0
    memory_bytes: int = 0
    owned: tuple[float | None, ...] = ()
    load: float = 0.0
    others: float = 0.0

    def each(self, amount: float) -> float:
        """Divide by the evaluations; infinite when there were none."""
        return amount / self.evaluations if self.evaluations else float("inf")


@dataclass(frozen=True, slots=True)
class _Instant:
    """Everything that is read at both ends of a window."""

    pages: tuple[Scraped, ...]
    at: float
    operators: float
    prometheus: float
    run: float
    busy: float
    all_seconds: float
    audit: int
    server: float


def measure(ground: Ground, operators: Sequence[BenchOperator], *, seconds: float) -> Window:
    """Look at operators that run, for a while."""
    pids = [operator.pid for operator in operators]
    with apart(ground):
        server = server_total(ground.api)
        before = sum(map(cpu_seconds, pids))
        pages = tuple(operator.scrape() for operator in operators)
        page_seconds = sum(map(cpu_seconds, pids)) - before
        first = _look(ground, operators, pages=pages, server=server)
        _pause(operators, seconds)
        last = _look(ground, operators, pages=None, server=0.0)
        server = server_total(ground.api)
    return _window(ground, operators, first, last, page_seconds=page_seconds, server=server)


def _look(
    ground: Ground,
    operators: Sequence[BenchOperator],
    *,
    pages: tuple[Scraped, ...] | None,
    server: float,
) -> _Instant:
    """Read the accounts; without pages, those are read last."""
    pids = [operator.pid for operator in operators]
    counted = sum(map(cpu_seconds, pids))
    prometheus = cpu_seconds(ground.prometheus_pid)
    whole = machine()
    run = counted + sum(map(cpu_seconds, _others(ground)))
    at = time.monotonic()
    return _Instant(
        pages=pages or tuple(operator.scrape() for operator in operators),
        at=at,
        operators=counted,
        prometheus=prometheus,
        run=run,
        busy=whole.busy_seconds,
        all_seconds=whole.all_seconds,
        audit=ground.audit.position(),
        server=server,
    )


def _window(
    ground: Ground,
    operators: Sequence[BenchOperator],
    first: _Instant,
    last: _Instant,
    *,
    page_seconds: float,
    server: float,
) -> Window:
    pages = (first.pages, last.pages)
    evaluations = between("drifttrigger_evaluations_total", *pages)
    scores = between('drifttrigger_evaluations_total{outcome="Score"}', *pages)
    batches = between("drifttrigger_batch_size_count", *pages)
    missed = last.pages[0].total("drifttrigger_ticks_missed_total")
    whole = last.all_seconds - first.all_seconds
    foreign = (last.busy - first.busy) - (last.run - first.run)
    return Window(
        seconds=last.at - first.at,
        evaluations=evaluations,
        errors=evaluations - scores,
        operator_seconds=last.operators - first.operators,
        prometheus_seconds=last.prometheus - first.prometheus,
        page_seconds=page_seconds,
        requests=ground.audit.requests(first.audit, last.audit),
        server_requests=server - first.server,
        own_requests=between("drifttrigger_api_requests_total", *pages),
        lateness=quantile(LATENESS, *pages, share=0.99),
        missed=None if missed is None else between("drifttrigger_ticks_missed_total", *pages),
        batch=between("drifttrigger_batch_size_sum", *pages) / batches if batches else None,
        source_requests=between("drifttrigger_source_requests_total", *pages),
        memory_bytes=max(memory_bytes(operator.pid) for operator in operators),
        owned=tuple(page.total("drifttrigger_triggers_owned") for page in last.pages),
        load=os.getloadavg()[0],
        others=max(0.0, foreign / whole) if whole else 0.0,
    )


def idle_prometheus(ground: Ground, *, seconds: float) -> float:
    """Measure the CPU seconds a second that Prometheus takes when nobody asks it."""
    with apart(ground):
        before, started = cpu_seconds(ground.prometheus_pid), time.monotonic()
        time.sleep(seconds)
        return (cpu_seconds(ground.prometheus_pid) - before) / (time.monotonic() - started)


def apart(ground: Ground) -> AbstractContextManager[None]:
    """Keep servers and ourselves off the operators' core for the length of a block."""
    return pinned(_others(ground), ground.cores.servers)


def _others(ground: Ground) -> list[int]:
    """List the servers and ourselves, who hold the scores."""
    return [*ground.servers.values(), os.getpid()]


def _pause(operators: Sequence[BenchOperator], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        for operator in operators:
            operator.check()
        time.sleep(min(_CHECK_SECONDS, left))
