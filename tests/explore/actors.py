"""The real controllers as step machines: run until the next request, hand over its response.

A pass is a coroutine that awaits nothing but the API server, so what it has been told so far
determines where it stands: (what began it, the responses). That pair is its state. Equal local
histories are remembered, so the real code runs once for each of them however many interleavings
share it; a history that forks is run again from its beginning.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import orjson

from drifttrigger.clients.kube import Resource
from drifttrigger.core.observation import Answer, Sample
from drifttrigger.runtime import intents, realisation
from drifttrigger.runtime.detection import Detection
from drifttrigger.runtime.execution import Execution
from drifttrigger.runtime.records import Record, first_record
from drifttrigger.runtime.views import decode_retraining, decode_trigger
from drifttrigger.sources.base import Question
from drifttrigger.targets.job import JobLauncher
from explore.server import Request, Response

KEY = ("ns", "t")
EPOCH = datetime(2026, 1, 1, 12, tzinfo=UTC)
INTERVAL = timedelta(seconds=10)
_SUSPENDED = 20_000
Json = dict[str, Any]
V = TypeVar("V")


def instant(step: int) -> datetime:
    """The present in a step: just before its interval ends, whatever the phase."""
    return EPOCH + step * INTERVAL + timedelta(seconds=9.5)


def step_of(tick: datetime) -> int:
    """The step that a tick belongs to."""
    return int((tick - EPOCH) // INTERVAL)


@dataclass(frozen=True, slots=True)
class Memory:
    """What a replica remembers of the trigger between passes; lost in a crash."""

    view: bytes = b""
    last_tick: str = ""
    is_adopted: bool = False


def first_memory(view: bytes) -> Memory:
    """Return what a process knows that sees a trigger for the first time."""
    record = first_record(intents.decode_trigger(orjson.loads(view)), EPOCH)
    return Memory(view, is_adopted=record.is_adopted)


@dataclass(frozen=True, slots=True)
class Activity:
    """A pass under way: what began it, and what it has been told.

    Attributes:
        kind: `execute`; `detect`, woken by an event; or `tick`, a detection woken by the clock
            alone, which takes `active` as its snapshot has it.
        name: The object that it looks at.
        step: The step in which it began.
        memory: What its process remembered.
        responses: What it has been told so far.
    """

    kind: str
    name: str
    step: int
    memory: Memory
    responses: tuple[Response, ...] = ()

    def told(self, response: Response) -> Activity:
        """Go on with one response more."""
        return Activity(self.kind, self.name, self.step, self.memory, (*self.responses, response))


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where a pass stands: at its next request, or at its end with a new memory."""

    request: Request | None = None
    memory: Memory | None = None
    defect: str = ""


class _Call:
    """An awaitable that hands one request to the driver and returns its response."""

    def __init__(self, request: Request) -> None:
        self._request = request

    def __await__(self) -> Generator[Request, Response, Any]:
        response = yield self._request
        return response.unwrap()


class StepKube:
    """KubeApi whose every call stops the coroutine until the driver answers."""

    async def get(self, resource: Resource, namespace: str, name: str) -> Json:
        del namespace
        return await _Call(Request("get", resource.plural, name))

    async def list_all(
        self, resource: Resource, namespace: str | None, *, labels: str = ""
    ) -> list[Json]:
        del namespace
        return await _Call(Request("list", resource.plural, "", labels=labels))

    async def create(
        self, resource: Resource, namespace: str | None, body: Json, *, dry_run: bool = False
    ) -> Json:
        del namespace, dry_run
        return await _Call(
            Request("create", resource.plural, body["metadata"]["name"], orjson.dumps(body))
        )

    async def patch(
        self, resource: Resource, namespace: str, name: str, patch: Json, *, subresource: str = ""
    ) -> Json:
        del namespace
        verb = "patch-status" if subresource else "patch"
        return await _Call(Request(verb, resource.plural, name, orjson.dumps(patch)))

    async def delete(
        self, resource: Resource, namespace: str, name: str, *, preconditions: Json
    ) -> None:
        del namespace
        await _Call(Request("delete", resource.plural, name, orjson.dumps(preconditions)))


class _Clock:
    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return 0.0

    def jitter(self) -> float:
        return 0.5


class _Source:
    """Scores by step; None is an empty answer."""

    def __init__(self, scores: tuple[float | None, ...]) -> None:
        self._scores = scores

    async def ask(self, question: Question) -> Answer:
        step = step_of(question.at)
        score = self._scores[step] if 0 <= step < len(self._scores) else None
        return Answer(samples=(Sample({}, repr(score)),) if score is not None else ())


class _Quiet:
    """Announcer, metrics, budget and start gate that say and refuse nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_args, **_kwargs: None

    async def take(self, _priority: object) -> None:
        return None

    def take_now(self) -> bool:
        return True

    def take_early(self) -> bool:
        return True

    def take_heartbeat(self) -> bool:
        return False

    def wait_seconds(self, _key: object) -> float:
        return 0.0

    def started(self, _key: object) -> None:
        return None


def _remembered(decode: Callable[[Json], V]) -> Callable[[Json], V]:
    """Decode equal bodies once: decoding is pure, and views never change."""
    known: dict[bytes, V] = {}

    def decoded(body: Json, *, before: object = None) -> V:
        del before  # the whole body is decoded, whatever is known of an older one
        key = orjson.dumps(body)
        view = known.get(key)
        if view is None:
            view = known[key] = decode(body)
        return view

    return decoded


def _quiet() -> Any:
    return _Quiet()


class _Defects(logging.Handler):
    """Collects what the controllers log as unexpected."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found = ""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self.found = f"{record.getMessage()}: {error!r}"


class Actors:
    """Runs passes of the real controllers, remembering where each local history leads.

    Takes over the process: its log, and where the controllers decode what they are told.

    Args:
        scores: The score of each step.
        cleans: Whether every detection pass also applies the history limits.
    """

    def __init__(self, scores: tuple[float | None, ...], *, cleans: bool = False) -> None:
        self._source = _Source(scores)
        self._cleans = cleans
        intents.decode_trigger = _remembered(decode_trigger)
        decode = _remembered(decode_retraining)
        realisation.decode_retraining = intents.decode_retraining = decode
        self._known: dict[Activity, Outcome] = {}
        self._suspended: dict[Activity, tuple[Any, Detection | None]] = {}
        self._defects = _Defects()
        logger = logging.getLogger("drifttrigger")
        logger.handlers[:] = [self._defects]
        logger.propagate = False

    def outcome(self, activity: Activity) -> Outcome:
        """Tell where a pass stands."""
        known = self._known.get(activity)
        if known is None:
            known = self._known[activity] = self._run(activity)
        return known

    def _run(self, activity: Activity) -> Outcome:
        """Go on where the pass stands, or run it again from its beginning."""
        self._defects.found = ""
        before = replace(activity, responses=activity.responses[:-1])
        suspended = self._suspended.pop(before, None) if activity.responses else None
        if suspended is not None:
            coroutine, detection = suspended
            responses = activity.responses[-1:]
        else:
            coroutine, detection = self._started(activity)
            responses = (None, *activity.responses)
        request = None
        try:
            for response in responses:
                request = coroutine.send(response)
        except StopIteration:
            request = None
        if self._defects.found:
            return Outcome(defect=self._defects.found)
        if request is not None:
            self._suspended[activity] = coroutine, detection
            if len(self._suspended) > _SUSPENDED:
                self._suspended.pop(next(iter(self._suspended)))[0].close()
            return Outcome(request=request)
        if detection is None:
            return Outcome(memory=activity.memory)
        return Outcome(memory=_memory_of(detection.records.get(KEY), activity))

    def _started(self, activity: Activity) -> tuple[Any, Detection | None]:
        if activity.kind == "execute":
            return self._execution(activity)._pass(("ns", activity.name)), None
        detection = self._detection(activity)
        return detection._pass(KEY), detection

    def _detection(self, activity: Activity) -> Detection:
        quiet = _quiet()
        detection = Detection(
            StepKube(),
            self._source,
            _Clock(instant(activity.step)),
            budget=quiet,
            announcer=quiet,
            metrics=quiet,
        )
        view = intents.decode_trigger(orjson.loads(activity.memory.view))
        detection.records[KEY] = Record(
            view=view,
            not_before=EPOCH - INTERVAL,
            last_tick=activity.memory.last_tick,
            is_adopted=activity.memory.is_adopted,
            probed=view.generation,
            must_release=activity.kind == "detect",
            must_clean=self._cleans,
        )
        return detection

    def _execution(self, activity: Activity) -> Execution:
        kube, clock, quiet = StepKube(), _Clock(instant(activity.step)), _quiet()
        return Execution(kube, JobLauncher(kube), clock, gate=quiet, budget=quiet, announcer=quiet)


def _memory_of(record: Record | None, activity: Activity) -> Memory:
    """Remember the very body that the record's view was decoded from."""
    if record is None:
        return Memory()
    wanted = (record.view.uid, record.view.resource_version)
    bodies = [activity.memory.view, *(r.body for r in reversed(activity.responses))]
    for text in bodies:
        body = orjson.loads(text) if text else None
        if isinstance(body, dict) and body.get("kind") == "DriftTrigger":
            metadata = body["metadata"]
            if (metadata["uid"], metadata["resourceVersion"]) == wanted:
                return Memory(text, record.last_tick, record.is_adopted)
    raise AssertionError(f"no body of {wanted}")
