"""Mass events: a thousand triggers cross in one tick; Prometheus is lost under two thousand.

Each is held against the limits of one operator process with its default settings, measured in the
API server's audit log. A neighbour on another metrics server shows that nobody else notices.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from chaos.ground import RETRAININGS, TRIGGERS, Ground, pod_template, prepared
from chaos.rates import Rates, rates
from drifttrigger.local.prometheus import PROMETHEUS
from support.operator import OperatorProcess

BUDGET, STARTS = 20.0, 20
_EVENTS_PER_SECOND = 5.0
_BURST_SECONDS = 1.0
_NAMESPACES = tuple(f"mass-{number}" for number in range(10))
_POLL_SECONDS = 2.0
_FEW_EVENTS = 10  # of the server that is lost and found, and of the neighbour's one retraining
Body = dict[str, Any]
Say = Callable[[str], None]


@dataclass
class MassReport:
    """What a mass event did.

    Attributes:
        name: Which.
        lines: What was measured, for people.
        breaks: Which limits did not hold.
    """

    name: str
    lines: list[str] = field(default_factory=list)
    breaks: list[str] = field(default_factory=list)

    def expect(self, holds: bool, what: str) -> None:
        """Note what does not hold."""
        if not holds:
            self.breaks.append(what)


class Answering:
    """A metrics server of one number, which a test sets."""

    def __init__(self) -> None:
        self.value = 0.05
        ours = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                sample = {"metric": {}, "value": [time.time(), str(ours.value)]}
                data = {"resultType": "vector", "result": [sample]}
                body = json.dumps({"status": "success", "data": data}).encode()
                with suppress(ConnectionError):
                    self.send_response(200)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@dataclass
class Scene:
    """A ground with many triggers on it."""

    ground: Ground
    say: Say
    operators: list[OperatorProcess] = field(default_factory=list)

    def operator(self, *arguments: str) -> OperatorProcess:
        """Start an operator, past every proxy."""
        name = f"operator-{len(self.operators)}"
        process = OperatorProcess(
            self.ground.operator_kubeconfig(),
            self.ground.namespaces,
            self.ground.folder / f"{name}.log",
            arguments=["--log-level=INFO", f"--identity={name}", *arguments],
        )
        self.operators.append(process)
        return process

    def create(self, bodies: Iterable[Body]) -> None:
        """Create triggers, several at a time."""
        api = self.ground.api

        def post(body: Body) -> int:
            path = TRIGGERS.format(body["metadata"]["namespace"])
            return api.send("POST", path, body=body).status

        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(post, bodies)) == {201}

    def get_ready(self, bodies: list[Body]) -> OperatorProcess:
        """Create triggers, let an operator with a large budget look at all of them, start anew."""
        self.create(bodies)
        helper = self.operator("--api-write-budget=1000")
        seconds = self.wait(lambda: self.reasons("TemplateValid")["Valid"] >= len(bodies), 300)
        seconds += self.wait(lambda: self.reasons("Ready")["Evaluating"] >= len(bodies), 300)
        helper.stop()
        self.say(f"  {len(bodies)} triggers are ready after {seconds:.0f} s")
        return self.operator()

    def reasons(self, kind: str, collection: str = TRIGGERS) -> Counter[str]:
        """Count the reasons of a condition."""
        return Counter(
            condition["reason"]
            for item in self.ground.items(collection)
            for condition in item.get("status", {}).get("conditions", ())
            if condition["type"] == kind
        )

    def wait(self, question: Callable[[], bool], seconds: float) -> float:
        """Wait until something is true, or time is over; returns the seconds."""
        started = time.monotonic()
        while not question() and time.monotonic() - started < seconds:
            time.sleep(_POLL_SECONDS)
        return time.monotonic() - started

    def rates(self, since: datetime) -> Rates:
        """Measure the operators' writes."""
        return rates(self.ground.cluster.audit_events(), since=since)


@contextmanager
def _scene(folder: Path, say: Say) -> Iterator[tuple[Scene, Answering]]:
    answering = Answering()
    # A Prometheus that comes back still knows the scores from before it was lost.
    with prepared(folder, _NAMESPACES, lookback_seconds=900) as ground:
        scene = Scene(ground, say)
        try:
            yield scene, answering
        finally:
            for operator in scene.operators:
                operator.stop()
            answering.close()


def trigger(name: str, number: int, address: str, **spec: Any) -> Body:
    """Build a trigger of a crowd."""
    return {
        "apiVersion": "drifttrigger.dev/v1alpha1",
        "kind": "DriftTrigger",
        "metadata": {"name": f"{name}-{number}", "namespace": _NAMESPACES[number % 10]},
        "spec": {
            "prometheus": {"address": address},
            "query": f'max(model_drift_score{{model="{name}"}})',
            "threshold": 0.2,
            "jobTemplate": {"spec": {"template": pod_template()}},
            **spec,
        },
    }


def crossing(folder: Path, *, number: int, watch_seconds: float, say: Say) -> MassReport:
    """Let many triggers cross in one tick.

    Args:
        folder: For logs.
        number: Of triggers.
        watch_seconds: How long after the tick is measured.
        say: Told of progress.
    """
    report = MassReport(f"{number} triggers cross in one tick")
    with _scene(folder, say) as (scene, server):
        crowd = [trigger("crowd", n, server.url, schedule="* * * * *") for n in range(number)]
        operator = scene.get_ready(crowd)
        _sleep_until_second(range(8, 50))
        server.value = 0.9
        since = datetime.now(UTC)
        tick = since.replace(second=0, microsecond=0) + timedelta(minutes=1)
        say(f"  the score is high; the tick is at {tick:%H:%M:%S}")
        time.sleep((tick - since).total_seconds())
        scene.wait(lambda: sum(scene.reasons("Succeeded", RETRAININGS).values()) >= number, 120)
        time.sleep(max(0.0, watch_seconds - (datetime.now(UTC) - tick).total_seconds()))
        measured = scene.rates(since)
        succeeded = scene.reasons("Succeeded", RETRAININGS)
        drifted = scene.reasons("Drifted")
        made = len(scene.ground.items(RETRAININGS))
        late = (measured.last_intent - tick).total_seconds() if measured.last_intent else 0.0
        report.lines += [str(measured), f"all intents carried out {late:.1f} s after the tick"]
        report.lines.append(f"Retrainings by reason: {dict(succeeded)}; Drifted: {dict(drifted)}")
        report.lines.append(_told(operator))
        report.expect(made == number, f"{made} Retrainings of {number} decisions")
        report.expect(succeeded["Deferred"] >= number * 0.7, "the rest is not shown as Deferred")
        _expect_limits(report, measured)
    return report


def outage(folder: Path, *, number: int, interval: str, say: Say) -> MassReport:
    """Lose Prometheus under many triggers, and find it again.

    Args:
        folder: For logs.
        number: Of triggers.
        interval: Of each.
        say: Told of progress.
    """
    report = MassReport(f"Prometheus lost under {number} triggers (interval {interval})")
    with _scene(folder, say) as (scene, other):
        cluster = scene.ground.cluster
        scene.ground.scores.set("crowd", 0.05)
        crowd = [
            trigger("crowd", n, str(cluster.prometheus_url), interval=interval)
            for n in range(number)
        ]
        neighbour = trigger("neighbour", 0, other.url, interval="1s")
        operator = scene.get_ready([*crowd, neighbour])
        time.sleep(10)
        since = datetime.now(UTC)
        time.sleep(20)
        report.lines.append(f"calm: {scene.rates(since)}")
        since, told = datetime.now(UTC), len(operator.lines())
        cluster.stop_process(PROMETHEUS)
        seconds = scene.wait(lambda: scene.reasons("Ready")["Unreachable"] > number * 0.02, 240)
        report.lines.append(f"the first say Unreachable after {seconds:.0f} s")
        _neighbour_crosses(scene, other, report)
        more = scene.wait(lambda: scene.reasons("Ready")["Unreachable"] >= number, 240)
        say(f"  all say Unreachable {seconds + more:.0f} s after the loss")
        report.expect(scene.reasons("Ready")["Unreachable"] >= number, "some never say Unreachable")
        lost = scene.rates(since)
        report.lines.append(f"lost: all say so after {seconds + more:.0f} s; {lost}")
        _expect_limits(report, lost)
        since = datetime.now(UTC)
        cluster.start_process(PROMETHEUS)
        seconds = scene.wait(lambda: scene.reasons("Ready")["Evaluating"] > number, 400)
        report.expect(scene.reasons("Ready")["Evaluating"] > number, "some never recover")
        found = scene.rates(since)
        report.lines.append(f"found: all are Ready after {seconds:.0f} s; {found}")
        _expect_limits(report, found)
        report.lines.append(_told(operator, since=told))
        events = lost.writes["create events"] + found.writes["create events"]
        report.expect(events <= _FEW_EVENTS, f"{events} Events of one server")
    return report


def _neighbour_crosses(scene: Scene, other: Answering, report: MassReport) -> None:
    """Show that a trigger on another server is decided as if nothing had happened."""
    started = time.monotonic()
    other.value = 0.9
    path = RETRAININGS.format(_NAMESPACES[0])
    found = False
    while not found and time.monotonic() - started < 30:
        time.sleep(0.1)
        found = b"neighbour-0-" in scene.ground.api.get(path).body
    seconds = time.monotonic() - started
    report.lines.append(f"a neighbour on another server is decided in {seconds:.1f} s meanwhile")
    report.expect(seconds < 5, f"the neighbour had to wait for {seconds:.1f} s")


def _expect_limits(report: MassReport, measured: Rates) -> None:
    budget = BUDGET + _EVENTS_PER_SECOND
    lasting = budget + BUDGET * _BURST_SECONDS / 10
    report.expect(
        measured.highest_lasting <= lasting,
        f"{measured.highest_lasting:.1f} writes/s over ten seconds are beyond {lasting:.0f}",
    )
    report.expect(
        measured.highest_starts <= STARTS,
        f"{measured.highest_starts} Jobs in a minute are beyond {STARTS}",
    )


def _told(operator: OperatorProcess, *, since: int = 0) -> str:
    """Count log lines of INFO and above by message's kind."""
    lines = operator.lines()[since:]
    told = Counter(
        f"{line['logger'].removeprefix('drifttrigger.')}/{line.get('reason', line['level'])}"
        for line in lines
    )
    return f"{len(lines)} log lines: {dict(told.most_common(8))}"


def _sleep_until_second(seconds: range) -> None:
    while datetime.now(UTC).second not in seconds:
        time.sleep(0.2)
