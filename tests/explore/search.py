"""Breadth-first search over every interleaving of two processes, their crashes and the world.

A state is a world (see `world`) and the processes: what each remembers, and the pass under way.
Breadth first, so the first violation found has a shortest trace. Worlds and processes are numbered,
a state is one integer made of these numbers, and what a process does in a world is worked out once
for all states that share the two.

Three things make the search smaller. None of them hides a violation:

- Processes are alike, so states that differ only in which process is which are one.
- While a pass is under way, what its process remembers is in the pass; nothing is kept twice.
- A write decided on a version that is over gets Conflict (or, once the object is gone, NotFound)
  whenever it comes: a resourceVersion never returns. It neither changes the server nor depends on
  what others do, so it is answered at once and the others wait meanwhile, provided that both errors
  lead the pass to the same place (`_is_alone` looks). A pass is finite: nobody waits for ever.

A violation that needs more than these bounds is not found:

- at most `processes` passes are under way at once, and one trigger exists;
- a read never fails, and an answer of Prometheus always comes;
- a pass of execution makes its first read in the step in which it begins, and `now` stands still
  within a pass;
- only writes of intents, outcomes and conditions are made, never a mere heartbeat; the dry run of
  Job templates is left out, and the start rate always says yes.

Where the real thing is kinder, the worse is explored: the 10 s since a read never pass here, so no
write is held back for being old; and the tick of the present may be asked for also by a process
that has just seen an edit.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Generic, TypeVar

import orjson

from explore import world as worlds
from explore.actors import KEY, Activity, Actors, Memory, Outcome, first_memory
from explore.laws import Violation, check, check_rest, observe_write
from explore.server import Request, Response, Server, is_unfinished
from explore.world import TRIGGER, Faults, Scenario, World

Json = dict[str, Any]
T = TypeVar("T", bound=Hashable)
_LIMIT_AT_REST = 60
_REFUSALS = (
    ("refusals", "Unavailable", "503", ""),
    ("rejections", "Invalid", "422", "create"),
    ("quotas", "Quota", "403, quota exceeded", "create jobs"),
)
_BITS = 22
_MASK = (1 << _BITS) - 1
_WORLD_BITS = 28
_WORLD_MASK = (1 << _WORLD_BITS) - 1


@dataclass(frozen=True, slots=True)
class Process:
    """What one process remembers of the trigger, and the pass under way.

    A pass of detection carries the memory itself, so here it is empty meanwhile.
    """

    memory: Memory = field(default_factory=Memory)
    activity: Activity | None = None


@dataclass
class Result:
    """What a search found."""

    states: int = 0
    transitions: int = 0
    settled: int = 0
    violation: str = ""
    trace: list[str] = field(default_factory=list)
    is_complete: bool = True


class Table(Generic[T]):
    """Gives equal values one number."""

    def __init__(self) -> None:
        self.values: list[T] = []
        self._numbers: dict[T, int] = {}

    def number(self, value: T) -> int:
        """Return the number of a value, a new one if it is new."""
        number = self._numbers.setdefault(value, len(self.values))
        if number == len(self.values):
            self.values.append(value)
        return number


Step = tuple[str, World, int]


class Search:
    """Explores one scenario.

    Args:
        scenario: The bounded world.
        limit: States after which the search gives up.
    """

    def __init__(self, scenario: Scenario, *, limit: int = 30_000_000) -> None:
        self.scenario = scenario
        self.limit = limit
        self._actors = Actors(scenario.scores, cleans=scenario.cleans)
        self._worlds: Table[World] = Table()
        self._processes: Table[Process] = Table()
        self._ends: list[bool] = []
        self._steps: dict[int, tuple[bool, list[tuple[int, int]]]] = {}
        self._moves: dict[int, list[int]] = {}
        self._requests: dict[int, Request | None] = {}
        self._after: dict[tuple[int, Response], int] = {}
        self._handled: dict[tuple[Server, Request], tuple[Server, Response]] = {}
        self._rested: set[World] = set()

    def run(self) -> Result:
        """Visit every state within the bounds, or until a law breaks."""
        idle = self._processes.number(Process())
        start = self._key(self._world(worlds.first_world(self.scenario)), [idle] * self._count)
        seen: dict[int, int] = {start: -1}
        frontier, result = [start], Result(states=1)
        while frontier:
            following: list[int] = []
            for key in frontier:
                try:
                    for further in self._following(key, result):
                        result.transitions += 1
                        if further not in seen:
                            seen[further] = key
                            following.append(further)
                except Violation as violation:
                    result.violation = str(violation)
                    result.trace = self._trace(seen, key) + list(violation.steps)
                    return result
            result.states += len(following)
            if result.states > self.limit:
                result.is_complete = False
                return result
            frontier = following
        return result

    # States.

    @property
    def _count(self) -> int:
        return self.scenario.processes

    def _key(self, world: int, processes: list[int]) -> int:
        key = 0
        for process in sorted(processes, reverse=True):
            key = key << _BITS | process
        return key << _WORLD_BITS | world

    def _split(self, key: int) -> tuple[int, list[int]]:
        world, rest, processes = key & _WORLD_MASK, key >> _WORLD_BITS, []
        for _ in range(self._count):
            processes.append(rest & _MASK)
            rest >>= _BITS
        return world, processes

    def _world(self, world: World) -> int:
        number = self._worlds.number(world)
        if number == len(self._ends):
            last = world.step + 1 == len(self.scenario.scores)
            self._ends.append(last and not world.in_flight)
            check(world.server, world.facts)
        return number

    def _following(self, key: int, result: Result) -> list[int]:
        """Return the keys of all next states."""
        world, processes = self._split(key)
        steps = [self._stepped(world, process) for process in processes]
        for number, (alone, pairs) in enumerate(steps):
            if alone:
                return self._keys(pairs, processes[:number] + processes[number + 1 :])
        if self._ends[world] and all(self._processes.values[p].activity is None for p in processes):
            result.settled += self._settle(self._worlds.values[world])
        keys = [self._key(next_world, processes) for next_world in self._moved(world)]
        for number, (_, pairs) in enumerate(steps):
            if number == 0 or processes[number] != processes[number - 1]:
                keys += self._keys(pairs, processes[:number] + processes[number + 1 :])
        return keys

    def _keys(self, pairs: list[tuple[int, int]], others: list[int]) -> list[int]:
        """Return the keys of the states in which one process made a step."""
        if len(others) != 1:
            return [self._key(world, [process, *others]) for world, process in pairs]
        other = others[0]
        return [
            (process << _BITS | other if process > other else other << _BITS | process)
            << _WORLD_BITS
            | world
            for world, process in pairs
        ]

    def _stepped(self, world: int, process: int) -> tuple[bool, list[tuple[int, int]]]:
        """What a process may do next in a world, and whether the others can wait for it."""
        known = self._steps.get(world << _BITS | process)
        if known is None:
            value = self._worlds.values[world]
            steps = self._process(value, process)
            pairs = dict.fromkeys((self._world(after), then) for _, after, then in steps)
            known = (self._is_alone(value, process), list(pairs))
            self._steps[world << _BITS | process] = known
        return known

    def _moved(self, world: int) -> list[int]:
        known = self._moves.get(world)
        if known is None:
            moves = worlds.moves(self.scenario, self._worlds.values[world])
            known = self._moves[world] = [self._world(after) for _, after in moves]
        return known

    def _trace(self, seen: dict[int, int], key: int) -> list[str]:
        """Find the words again for the way to a state."""
        keys = [key]
        while (key := seen[key]) >= 0:
            keys.append(key)
        keys.reverse()
        return [self._words(a, b) for a, b in pairwise(keys)]

    def _words(self, key: int, wanted: int) -> str:
        world, processes = self._split(key)
        value = self._worlds.values[world]
        for number, process in enumerate(processes):
            others = processes[:number] + processes[number + 1 :]
            for words, after, then in self._process(value, process):
                if self._key(self._world(after), [then, *others]) == wanted:
                    return f"process {'ABCD'[number]}: {words}"
        for words, after in worlds.moves(self.scenario, value):
            if self._key(self._world(after), processes) == wanted:
                return words
        raise AssertionError("a step is not found again")

    # What a process may do. Processes are numbers here, and so are the results.

    def _process(self, world: World, process: int) -> Iterator[Step]:
        value = self._processes.values[process]
        if value.activity is None:
            yield from self._beginnings(world, value.memory)
        else:
            yield from self._answers(world, process)
        if world.faults.crashes and value != Process():
            yield "kill -9, restart", _spent(world, "crashes"), self._processes.number(Process())

    def _is_alone(self, world: World, process: int) -> bool:
        """Whether the others can wait: its write is refused, now or later."""
        request = self._request(process)
        if request is None or not world.server.is_doomed(request):
            return False
        conflict, gone = (self._told(process, Response(error=e)) for e in ("Conflict", "NotFound"))
        one, other = self._processes.values[conflict], self._processes.values[gone]
        same = self._request(conflict) == self._request(gone)
        return same and (one.activity is not None or one == other)

    def _beginnings(self, world: World, known: Memory) -> Iterator[Step]:
        live = world.server.read(*TRIGGER)
        views = {known.view} - {b""}
        if live is not None:
            views.add(orjson.dumps(live, option=orjson.OPT_SORT_KEYS))
        for view in sorted(views):
            same = known.view and _uid(known.view) == _uid(view)
            memory = replace(known, view=view) if same else first_memory(view)
            words = "sees the trigger" if view != known.view else "goes on with what it saw"
            kinds = ("detect", "tick") if _is_active(view) else ("detect",)
            for kind in kinds:
                activity = Activity(kind, KEY[1], world.step, memory)
                yield f"{kind} {words}", world, self._stands(Memory(), activity)
        for retraining in world.server.all("retrainings"):
            name = retraining["metadata"]["name"]
            job = world.server.read("jobs", name)
            target = retraining.get("status", {}).get("target", {}).get("uid")
            is_stray = job is not None and job["metadata"]["uid"] != target
            if is_unfinished(retraining) or is_stray:
                # Its first read comes at once; there is nothing before it that could be told.
                begun = self._stands(known, Activity("execute", name, world.step, Memory()))
                request = self._request(begun)
                assert request is not None
                _, response = self._handle(world.server, request)
                yield f"execute looks at {name}", world, self._told(begun, response)

    def _answers(self, world: World, process: int) -> Iterator[Step]:
        request = self._request(process)
        assert request is not None
        server, response = self._handle(world.server, request)
        who, facts, is_new = str(request), world.facts, server != world.server
        if is_new:
            facts = observe_write(facts, world.server, server, request, who)
        done = replace(world, server=server, facts=facts) if is_new else world
        yield f"{who} -> {response.error or 'ok'}", done, self._told(process, response)
        if not request.is_write:
            return
        faults, lost = world.faults, Response(error="Lost")
        if faults.lost_replies and is_new:
            then = self._told(process, lost)
            yield f"{who} -> done, but the reply is lost", _spent(done, "lost_replies"), then
        for fault, error, code, what in _REFUSALS:
            if getattr(faults, fault) and f"{request.verb} {request.plural}".startswith(what):
                then = self._told(process, Response(error=error))
                yield f"{who} -> {code}", _spent(world, fault), then
        if faults.late_writes:
            in_flight = tuple(sorted((*world.in_flight, request), key=str))
            late = replace(_spent(world, "late_writes"), in_flight=in_flight)
            yield f"{who} -> no answer, and it will land later", late, self._told(process, lost)

    def _request(self, process: int) -> Request | None:
        """Return what a process waits for; None between passes."""
        if process not in self._requests:
            activity = self._processes.values[process].activity
            self._requests[process] = self._outcome(activity).request if activity else None
        return self._requests[process]

    def _told(self, process: int, response: Response) -> int:
        """Return where a process stands once it has its answer."""
        known = self._after.get((process, response))
        if known is None:
            value = self._processes.values[process]
            assert value.activity is not None
            known = self._stands(value.memory, value.activity.told(response))
            self._after[process, response] = known
        return known

    def _stands(self, memory: Memory, activity: Activity) -> int:
        outcome = self._outcome(activity)
        if outcome.request is not None:
            return self._processes.number(Process(memory, activity))
        if activity.kind == "execute":
            return self._processes.number(Process(memory))
        return self._processes.number(Process(outcome.memory or Memory()))

    def _outcome(self, activity: Activity) -> Outcome:
        outcome = self._actors.outcome(activity)
        if outcome.defect:
            raise Violation(f"an unexpected error: {outcome.defect}")
        return outcome

    def _handle(self, server: Server, request: Request) -> tuple[Server, Response]:
        known = self._handled.get((server, request))
        if known is None:
            known = self._handled[server, request] = server.handle(request)
        return known

    # None lost.

    def _settle(self, world: World) -> int:
        """Let one fresh process go on alone, Jobs end: every intent must come to its end."""
        world = World(world.server, world.step, Faults(), (), world.facts)
        if world in self._rested:
            return 0
        self._rested.add(world)
        steps: list[str] = []
        memory = Memory()
        for _ in range(_LIMIT_AT_REST):
            try:
                following = self._next_quiet(world, memory, steps)
                if following is None:
                    whole = not self._is_cut()
                    check_rest(world.server, whole=whole)
                    return 1
            except Violation as violation:
                raise Violation(str(violation), (*steps, *violation.steps)) from violation
            world, memory = following
        raise Violation("it never comes to rest", tuple(steps))

    def _is_cut(self) -> bool:
        faults = self.scenario.faults
        cut = faults.deletions + faults.retraining_deletions + faults.resets + faults.rejections
        return bool(cut or self.scenario.cleans)

    def _next_quiet(
        self, world: World, memory: Memory, steps: list[str]
    ) -> tuple[World, Memory] | None:
        """Make one whole pass that changes something; when there is none, let the world move."""
        for words, after, process in self._beginnings(world, memory):
            trail, here = [words], after
            while self._request(process) is not None:
                words, here, process = next(iter(self._answers(here, process)))
                trail.append(words)
            if here.server != world.server:
                steps += trail
                return here, self._processes.values[process].memory
        for words, after in worlds.at_rest(world):
            steps.append(words)
            return after, memory
        return None


def _uid(body: bytes) -> str:
    return str(orjson.loads(body)["metadata"]["uid"])


def _is_active(body: bytes) -> bool:
    return bool(orjson.loads(body).get("status", {}).get("active"))


def _spent(world: World, fault: str) -> World:
    return replace(world, faults=world.faults.spend(fault))
