"""One storm: load, faults and disturbances together, then calm, then the count.

```
people ─ scores, edits ──────────> API server <── machines: restarted, frozen, compacted
                                      ^
operators (killed, frozen) ─ proxy ───┤
                             proxy ───┴──> Prometheus <── machines
calm: faults end, scores fall, all settles without a restart
proof of life: every trigger crosses once more and makes a retraining
count: from the audit log
```
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from chaos.ground import JOBS, RETRAININGS, TRIGGERS, Ground, prepared
from chaos.laws import Verdict, judge
from chaos.ledger import Ledger
from chaos.machines import DISTURBANCES, Machines
from chaos.operators import Slot, every_disturbance
from chaos.people import ALLOWING, HIGH, KINDS, LOW, Kind, People
from support.faults import FaultPlan, seeded
from support.operator import OperatorProcess
from support.proxy import Proxy, kind_of_kubernetes, kind_of_prometheus

_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Options:
    """How large a storm is.

    Args:
        seed: Repeats plan, load and disturbances.
        faults: It lasts until this many faults were injected, and all else is done.
        namespaces: How many.
        kinds: Triggers in each namespace.
        disturbances: What is done to operators, dealt to two of them.
        machines: What is done to servers.
        longest_seconds: It ends after this long, whatever was reached.
        settle_seconds: How long settling may take.
    """

    seed: str
    faults: int = 200
    namespaces: int = 2
    kinds: tuple[Kind, ...] = KINDS
    disturbances: tuple[str, ...] = tuple(every_disturbance())
    machines: tuple[str, ...] = (*DISTURBANCES, *DISTURBANCES)
    longest_seconds: float = 900.0
    settle_seconds: float = 150.0


@dataclass
class Report:
    """What came of a storm."""

    options: Options
    verdict: Verdict = field(default_factory=Verdict)
    faults: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    ended: list[str] = field(default_factory=list)
    seconds: float = 0.0
    settled_seconds: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether the law holds."""
        return not self.verdict.breaks


@dataclass
class Storm:
    """The moving parts of a storm under way."""

    ground: Ground
    plan: FaultPlan
    people: People
    slots: list[Slot]
    machines: Machines
    operators: list[OperatorProcess]


def run(options: Options, folder: Path, *, say: Callable[[str], None]) -> Report:
    """Run one storm."""
    report = Report(options)
    names = [f"storm-{number}" for number in range(options.namespaces)]
    with prepared(folder, names) as ground, _proxied(ground, options) as (plan, urls):
        storm = _begin(options, ground, plan, urls)
        try:
            report.seconds = _rage(storm, options, say)
            report.settled_seconds = _calm(storm, options, report, say)
            _prove_life(storm, options, report, say)
        finally:
            for slot in storm.slots:
                slot.stop()
        report.verdict.breaks += _defects(storm.operators)
        counted = judge(Ledger.of(ground.cluster.audit_events()), allow=ALLOWING)
        report.verdict.numbers = counted.numbers
        report.verdict.breaks += counted.breaks
        _collect(storm, report)
    return report


@contextmanager
def _proxied(ground: Ground, options: Options) -> Iterator[tuple[FaultPlan, tuple[str, str]]]:
    plan = FaultPlan(options.seed)
    cluster = ground.cluster
    assert cluster.prometheus_url is not None
    with (
        Proxy(cluster.url, plan, kind_of=kind_of_kubernetes, ca_file=cluster.ca_file) as api,
        Proxy(cluster.prometheus_url, plan, kind_of=kind_of_prometheus) as metrics,
    ):
        yield plan, (api.url, metrics.url)


def _begin(options: Options, ground: Ground, plan: FaultPlan, urls: tuple[str, str]) -> Storm:
    api, metrics = urls
    kubeconfig = ground.operator_kubeconfig(api)
    operators: list[OperatorProcess] = []

    def start(name: str) -> Callable[[str], OperatorProcess]:
        def with_fault(fault: str) -> OperatorProcess:
            operators.append(
                OperatorProcess(
                    kubeconfig,
                    ground.namespaces,
                    ground.folder / f"operator-{name}.log",
                    fault=fault,
                    arguments=[f"--identity={name}", "--max-starts-per-minute=1000"],
                )
            )
            return operators[-1]

        return with_fault

    script = list(options.disturbances)
    seeded(f"{options.seed}/script").shuffle(script)
    people = People(ground, metrics, options.kinds, options.seed)
    people.begin()
    slots = [
        Slot(name, start(name), script[number::2], seeded(f"{options.seed}/{name}"))
        for number, name in enumerate(("one", "two"))
    ]
    machines = Machines(ground.cluster, options.machines, options.seed)
    for part in (people, *slots, machines):
        part.start()
    return Storm(ground, plan, people, slots, machines, operators)


def _rage(storm: Storm, options: Options, say: Callable[[str], None]) -> float:
    """Wait until everything has been done and enough faults were injected."""
    started = time.monotonic()
    told = 0.0
    while (seconds := time.monotonic() - started) < options.longest_seconds:
        through = all(slot.is_through.is_set() for slot in storm.slots)
        if through and not storm.machines.is_alive() and storm.plan.total() >= options.faults:
            break
        if seconds - told >= 20:
            told = seconds
            say(f"  {seconds:4.0f} s: {storm.plan.total()} faults injected")
        time.sleep(_POLL_SECONDS)
    return time.monotonic() - started


def _calm(storm: Storm, options: Options, report: Report, say: Callable[[str], None]) -> float:
    """End the faults and wait until nothing is left over; nobody restarts anything for that."""
    started = time.monotonic()
    storm.machines.join()
    storm.plan.is_on = False
    storm.people.stop()
    left = ["not looked yet"]
    while left and time.monotonic() - started < options.settle_seconds:
        time.sleep(_POLL_SECONDS)
        left = left_over(storm.ground)
    seconds = time.monotonic() - started
    say(f"  settled after {seconds:.0f} s" if not left else f"  not settled: {left}")
    report.verdict.breaks += [f"left over: {what}" for what in left]
    return seconds


def left_over(ground: Ground) -> list[str]:
    """Name what is unfinished, as the API server has it now."""
    try:
        triggers = ground.items(TRIGGERS)
        retrainings = ground.items(RETRAININGS)
        jobs = ground.items(JOBS)
    except OSError as error:
        return [f"the API server does not answer: {error}"]
    left = []
    for trigger in triggers:
        status, name = trigger.get("status", {}), trigger["metadata"]["name"]
        left += [f"{name} has a pending intent"] * bool(status.get("pending"))
        left += [f"{name} has active {a['name']}" for a in status.get("active", ())]
        left += [f"{name} has an open episode"] * (status.get("episode", {}).get("number", 0) > 0)
    for retraining in retrainings:
        conditions = retraining.get("status", {}).get("conditions", ())
        final = any(c["type"] == "Succeeded" and c["status"] != "Unknown" for c in conditions)
        labelled = "drifttrigger.dev/active" in retraining["metadata"].get("labels", {})
        left += [f"{retraining['metadata']['name']} is unfinished"] * (not final or labelled)
    for job in jobs:
        conditions = job.get("status", {}).get("conditions", ())
        if not any(c["type"] in ("Complete", "Failed") for c in conditions):
            left.append(f"Job {job['metadata']['name']} runs")
    return left


def _prove_life(storm: Storm, options: Options, report: Report, say: Callable[[str], None]) -> None:
    """Every trigger crosses once more: what a lost decision or a stuck one would not survive."""
    before = _numbers(storm.ground)
    storm.people.all_scores(HIGH)
    late = list(before)
    deadline = time.monotonic() + 40
    while late and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        now = _numbers(storm.ground)
        late = [key for key in before if now.get(key, 0) <= before[key]]
    storm.people.all_scores(LOW)
    report.verdict.breaks += [f"{key[1]} in {key[0]} decides no more" for key in late]
    deadline = time.monotonic() + 60
    left = ["not looked yet"]
    while left and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        left = left_over(storm.ground)
    report.verdict.breaks += [f"left over at the end: {what}" for what in left]
    say(f"  {len(before) - len(late)} of {len(before)} triggers decided once more")


def _numbers(ground: Ground) -> dict[tuple[str, str], int]:
    """Tell how many Retrainings each trigger has asked for."""
    try:
        triggers = ground.items(TRIGGERS)
    except OSError:
        return {}
    numbers = {}
    for trigger in triggers:
        metadata, status = trigger["metadata"], trigger.get("status", {})
        numbers[metadata["namespace"], metadata["name"]] = status.get("retrainings", 0)
    return numbers


def _defects(operators: list[OperatorProcess]) -> list[str]:
    """Take what the operators themselves call a failure that should not happen."""
    logs = {operator.log: operator for operator in operators}
    found: Counter[str] = Counter()
    for operator in logs.values():
        for line in operator.lines():
            ours = line["logger"].startswith("drifttrigger")
            if ours and line["level"] in ("ERROR", "CRITICAL") and "exc_info" in line:
                last = line["exc_info"].strip().splitlines()[-1]
                found[f"{line['message']}: {last[:300]}"] += 1
    return [f"an operator logged {number} times: {text}" for text, number in found.items()]


def _collect(storm: Storm, report: Report) -> None:
    report.faults = Counter({str(fault): n for fault, n in storm.plan.by_fault().items()})
    report.requests = storm.plan.by_kind()
    for part in (storm.people, storm.machines, *storm.slots):
        report.done += part.done
    report.ended = [line for slot in storm.slots for line in slot.ended]
