"""Breadth-first search over every interleaving of two replicas, their crashes and the world.

A state is the API server, the two replicas (memory, and the pass under way), the step of the clock,
what is left of each kind of fault, and what the laws need to remember. Breadth first, so the first
violation found has a shortest trace.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
from explore.actors import KEY, Activity, Actors, Memory, instant
from explore.laws import Facts, Violation, check, observe_write
from explore.server import Request, Response, Server, is_unfinished

from drifttrigger.core.times import format_instant

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Faults:
    """What may still go wrong, each at any point."""

    crashes: int = 0
    lost_replies: int = 0
    late_creates: int = 0
    refusals: int = 0
    recreations: int = 0
    job_deletions: int = 0
    suspensions: int = 0


@dataclass(frozen=True, slots=True)
class Scenario:
    """A bounded world.

    Attributes:
        name: What it is called.
        scores: The score of each step; the clock goes through all of them.
        faults: What may go wrong.
        spec: Fields of the trigger's spec.
        replicas: How many processes.
    """

    name: str
    scores: tuple[float | None, ...]
    faults: Faults
    spec: tuple[tuple[str, Any], ...] = ()
    replicas: int = 2
    checks_version: bool = True


@dataclass(frozen=True, slots=True)
class Replica:
    """One process: what it remembers, and the pass under way."""

    memory: Memory = field(default_factory=Memory)
    activity: Activity | None = None


@dataclass(frozen=True, slots=True)
class State:
    """Everything at one moment."""

    server: Server
    replicas: tuple[Replica, ...]
    step: int
    faults: Faults
    in_flight: tuple[Request, ...] = ()
    facts: Facts = field(default_factory=Facts)


@dataclass
class Result:
    """What a search found."""

    states: int = 0
    transitions: int = 0
    settled: int = 0
    violation: str = ""
    trace: list[str] = field(default_factory=list)
    is_complete: bool = True


class Search:
    """Explores one scenario."""

    def __init__(self, scenario: Scenario, *, limit: int = 2_000_000) -> None:
        self.scenario = scenario
        self.actors = Actors(scenario.scores)
        self.limit = limit
        spec = dict(scenario.spec)
        self._spec = orjson.dumps(spec)
        self._settled: set[Server] = set()

    def run(self) -> Result:
        """Visit every state within the bounds, or until a law breaks."""
        start = self._start()
        parents: dict[State, tuple[State | None, str]] = {start: (None, "")}
        seen = {_canonical(start)}
        queue, result = deque([start]), Result()
        while queue:
            state = queue.popleft()
            result.states += 1
            if result.states > self.limit:
                result.is_complete = False
                return result
            try:
                check(state.server)
                if self._is_quiet(state):
                    result.settled += 1
                    self._settle(state)
                for label, following in self.moves(state):
                    result.transitions += 1
                    if (key := _canonical(following)) not in seen:
                        seen.add(key)
                        parents[following] = (state, label)
                        queue.append(following)
            except Violation as violation:
                result.violation = str(violation)
                result.trace = _trace(parents, state) + list(violation.steps)
                return result
        return result

    def _start(self) -> State:
        server = Server(checks_version=self.scenario.checks_version)
        server = server.handle(Request("create", "drifttriggers", KEY[1], self._trigger()))[0]
        return State(
            server=server,
            replicas=tuple(Replica() for _ in range(self.scenario.replicas)),
            step=0,
            faults=self.scenario.faults,
        )

    def _trigger(self) -> bytes:
        spec = orjson.loads(self._spec)
        return orjson.dumps(
            {
                "apiVersion": "drifttrigger.dev/v1alpha1",
                "kind": "DriftTrigger",
                "metadata": {"name": KEY[1]},
                "spec": {
                    "prometheus": {"address": "http://p"},
                    "query": "q",
                    "threshold": 0.2,
                    "interval": "10s",
                    "cooldown": "15s",
                    "jobTemplate": {"spec": {"template": {"spec": {"containers": []}}}},
                    **spec,
                },
            }
        )

    # Moves.

    def moves(self, state: State) -> Iterator[tuple[str, State]]:
        """Yield every next state with the words for it."""
        for number, replica in enumerate(state.replicas):
            if replica.activity is None:
                yield from self._beginnings(state, number)
            else:
                yield from self._answers(state, number, replica.activity)
            if state.faults.crashes and (replica.activity or replica.memory.view):
                faults = replace(state.faults, crashes=state.faults.crashes - 1)
                following = replace(_with(state, number, Replica()), faults=faults)
                yield f"replica {number}: kill -9, restart", following
        yield from self._world(state)

    def _beginnings(self, state: State, number: int) -> Iterator[tuple[str, State]]:
        replica = state.replicas[number]
        live = state.server.read("drifttriggers", KEY[1])
        views = {replica.memory.view} - {b""}
        if live is not None:
            views.add(orjson.dumps(live, option=orjson.OPT_SORT_KEYS))
        for view in sorted(views):
            known = replica.memory
            same = known.view and _uid(known.view) == _uid(view)
            memory = replace(known, view=view) if same else Memory(view=view)
            activity = Activity("detect", KEY[1], state.step, memory)
            word = "sees the trigger" if view != known.view else "goes on with what it saw"
            yield from self._begin(state, number, activity, f"detection {word}")
        for retraining in state.server.all("retrainings"):
            name = retraining["metadata"]["name"]
            job = state.server.read("jobs", name)
            target = retraining.get("status", {}).get("target", {}).get("uid")
            is_stray = job is not None and job["metadata"]["uid"] != target
            if is_unfinished(retraining) or is_stray:
                activity = Activity("execute", name, state.step, Memory())
                yield from self._begin(state, number, activity, f"execution looks at {name}")

    def _begin(
        self, state: State, number: int, activity: Activity, words: str
    ) -> Iterator[tuple[str, State]]:
        outcome = self._outcome(activity)
        replica = state.replicas[number]
        if outcome.request is None:
            memory = outcome.memory if activity.kind == "detect" else replica.memory
            following = _with(state, number, Replica(memory or Memory()))
            if following != state:
                yield f"replica {number}: {words}", following
            return
        following = _with(state, number, replace(replica, activity=activity))
        yield f"replica {number}: {words}", following

    def _answers(
        self, state: State, number: int, activity: Activity
    ) -> Iterator[tuple[str, State]]:
        request = self._outcome(activity).request
        assert request is not None
        who, faults = f"replica {number}: {request}", state.faults
        server, response = state.server.handle(request)
        facts = observe_write(state.facts, state.server, server, request, state.step, who)
        done = replace(state, server=server, facts=facts)
        yield f"{who} -> {response.error or 'ok'}", self._told(done, number, activity, response)
        if not request.is_write:
            return
        if faults.lost_replies and server != state.server:
            spent = replace(faults, lost_replies=faults.lost_replies - 1)
            lost = self._told(done, number, activity, Response(error="Lost"))
            yield f"{who} -> done, but the reply is lost", replace(lost, faults=spent)
        if faults.refusals:
            spent = replace(faults, refusals=faults.refusals - 1)
            refused = self._told(state, number, activity, Response(error="Unavailable"))
            yield f"{who} -> 503", replace(refused, faults=spent)
        if faults.late_creates and request.verb == "create":
            spent = replace(faults, late_creates=faults.late_creates - 1)
            late = self._told(state, number, activity, Response(error="Lost"))
            late = replace(late, faults=spent, in_flight=(*state.in_flight, request))
            yield f"{who} -> no answer, and it will land later", late

    def _told(self, state: State, number: int, activity: Activity, response: Response) -> State:
        further = activity.told(response)
        outcome = self._outcome(further)
        if outcome.request is not None:
            return _with(state, number, replace(state.replicas[number], activity=further))
        memory = state.replicas[number].memory
        if activity.kind == "detect" and outcome.memory is not None:
            memory = outcome.memory
        return _with(state, number, Replica(memory))

    def _outcome(self, activity: Activity) -> Any:
        outcome = self.actors.outcome(activity)
        if outcome.defect:
            raise Violation(f"an unexpected error: {outcome.defect}")
        return outcome

    def _world(self, state: State) -> Iterator[tuple[str, State]]:
        """What happens without the operator."""
        if state.step + 1 < len(self.scenario.scores):
            score = self.scenario.scores[state.step + 1]
            yield f"the clock goes to step {state.step + 1} (score {score})", replace(
                state, step=state.step + 1
            )
        for request in state.in_flight:
            left = list(state.in_flight)
            left.remove(request)
            server, _ = state.server.handle(request)
            yield f"late: {request} lands", replace(state, server=server, in_flight=tuple(left))
        for job in state.server.all("jobs"):
            name = job["metadata"]["name"]
            if not job.get("status", {}).get("conditions"):
                yield f"job {name} completes", self._completed(state, job)
            if state.faults.job_deletions:
                spent = replace(state.faults, job_deletions=state.faults.job_deletions - 1)
                server = state.server.drop("jobs", name)
                yield f"somebody deletes job {name}", replace(state, server=server, faults=spent)
        if state.faults.recreations and state.server.read("drifttriggers", KEY[1]):
            spent = replace(state.faults, recreations=state.faults.recreations - 1)
            server = state.server.drop("drifttriggers", KEY[1])
            create = Request("create", "drifttriggers", KEY[1], self._trigger())
            server = server.handle(create)[0]
            yield "somebody deletes the trigger and applies it again", replace(
                state, server=server, faults=spent
            )
        if state.faults.suspensions:
            spent = replace(state.faults, suspensions=state.faults.suspensions - 1)
            trigger = state.server.read("drifttriggers", KEY[1])
            if trigger is not None:
                trigger["spec"]["suspend"] = not trigger["spec"].get("suspend", False)
                metadata = trigger["metadata"]
                metadata["generation"] += 1
                metadata["resourceVersion"] = str(int(metadata["resourceVersion"]) + 1)
                server = state.server.put("drifttriggers", trigger)
                yield "somebody toggles suspend", replace(state, server=server, faults=spent)

    def _completed(self, state: State, job: Json) -> State:
        job = {**job}
        at = format_instant(instant(state.step))
        job["status"] = {
            "conditions": [{"type": "Complete", "status": "True", "lastTransitionTime": at}],
            "completionTime": at,
            "succeeded": 1,
        }
        job["metadata"] = {
            **job["metadata"],
            "resourceVersion": str(int(job["metadata"]["resourceVersion"]) + 1),
        }
        server = state.server.put("jobs", job)
        facts = state.facts.job_ended(state.server, job, state.step)
        return replace(state, server=server, facts=facts)

    # None lost.

    def _is_quiet(self, state: State) -> bool:
        last = state.step + 1 == len(self.scenario.scores)
        return last and all(r.activity is None for r in state.replicas) and not state.in_flight

    def _settle(self, state: State) -> None:
        """Let one fresh process go on alone, Jobs end: every intent must come to its end."""
        if state.server in self._settled:
            return
        self._settled.add(state.server)
        trigger = state.server.read("drifttriggers", KEY[1])
        if trigger is not None and trigger["spec"].get("suspend"):
            return
        steps: list[str] = []
        state = replace(state, replicas=(Replica(),), faults=Faults())
        for _ in range(60):
            following = self._next_quiet(state, steps)
            if following is None:
                self._check_rest(state, steps)
                return
            state = following
        raise Violation("it never comes to rest", tuple(steps))

    def _next_quiet(self, state: State, steps: list[str]) -> State | None:
        """Make one whole pass that changes something; when there is none, let a Job complete."""
        for label, following in self._beginnings(state, 0):
            trail = [label]
            while (activity := following.replicas[0].activity) is not None:
                label, following = next(iter(self._answers(following, 0, activity)))
                trail.append(label)
            if following.server != state.server:
                steps += trail
                return replace(following, replicas=(Replica(following.replicas[0].memory),))
        for job in state.server.all("jobs"):
            if not job.get("status", {}).get("conditions"):
                steps.append(f"job {job['metadata']['name']} completes")
                return self._completed(state, job)
        return None

    def _check_rest(self, state: State, steps: list[str]) -> None:
        trigger = state.server.read("drifttriggers", KEY[1])
        status = trigger.get("status", {}) if trigger else {}
        if status.get("pending"):
            raise Violation("an intent is never carried out", tuple(steps))
        if status.get("active"):
            raise Violation("an ended Retraining is never released", tuple(steps))
        unfinished = [r for r in state.server.all("retrainings") if is_unfinished(r)]
        if unfinished:
            raise Violation("a Retraining never ends", tuple(steps))
        ours = [
            r
            for r in state.server.all("retrainings")
            if trigger and r["spec"]["triggerRef"]["uid"] == trigger["metadata"]["uid"]
        ]
        if trigger and len(ours) != status.get("retrainings", 0):
            raise Violation("a decision has no Retraining", tuple(steps))


def _uid(body: bytes) -> str:
    return str(orjson.loads(body)["metadata"]["uid"])


def _with(state: State, number: int, replica: Replica) -> State:
    replicas = list(state.replicas)
    replicas[number] = replica
    return replace(state, replicas=tuple(replicas))


def _canonical(state: State) -> int:
    """Digest a state up to the numbering of the replicas, which are alike."""
    replicas = frozenset(Counter(state.replicas).items())
    return hash((replace(state, replicas=()), replicas))


def _trace(parents: dict[State, tuple[State | None, str]], state: State) -> list[str]:
    steps: list[str] = []
    here: State | None = state
    while here is not None:
        here, label = parents[here]
        if label:
            steps.append(label)
    return steps[::-1]
