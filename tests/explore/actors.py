"""The real controllers as step machines: run until the next request, hand over its response.

A pass is a coroutine that awaits nothing but the API server, so what it has been told so far
determines where it stands: (what began it, the responses). That pair is its state; to go one step
further it is run again from its beginning with one response more. Equal local histories are
remembered, so the real code runs once for each of them however many interleavings share it.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from explore.server import Request, Response

from drifttrigger.api.errors import DriftTriggerError
from drifttrigger.clients.kube import Resource
from drifttrigger.core.observation import Answer, Sample
from drifttrigger.runtime.detection import Detection
from drifttrigger.runtime.realisation import Realisation
from drifttrigger.runtime.records import Record
from drifttrigger.runtime.views import decode_trigger
from drifttrigger.sources.base import Question
from drifttrigger.targets.job import JobLauncher

KEY = ("ns", "t")
EPOCH = datetime(2026, 1, 1, 12, tzinfo=UTC)
INTERVAL = timedelta(seconds=10)
Json = dict[str, Any]


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


@dataclass(frozen=True, slots=True)
class Activity:
    """A pass under way: what began it, and what it has been told."""

    kind: str
    name: str
    step: int
    memory: Memory
    responses: tuple[Response, ...] = ()

    def told(self, response: Response) -> Activity:
        """Go on with one response more."""
        return Activity(
            self.kind, self.name, self.step, self.memory, (*self.responses, response)
        )


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

    def take_heartbeat(self) -> bool:
        return False

    def wait_seconds(self, _namespace: str) -> float:
        return 0.0


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

    Args:
        scores: The score of each step.
    """

    def __init__(self, scores: tuple[float | None, ...]) -> None:
        self._source = _Source(scores)
        self._known: dict[Activity, Outcome] = {}
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
        self._defects.found = ""
        memory: Memory | None = None
        if activity.kind == "detect":
            detection = self._detection(activity)
            coroutine: Any = detection._pass(KEY)
        else:
            coroutine = self._realise(activity)
            detection = None
        request, responses = None, iter(activity.responses)
        try:
            request = coroutine.send(None)
            for response in responses:
                request = coroutine.send(response)
        except StopIteration:
            request = None
        coroutine.close()
        if self._defects.found:
            return Outcome(defect=self._defects.found)
        if request is not None:
            return Outcome(request=request)
        if detection is not None:
            memory = _memory_of(detection.records.get(KEY), activity)
        return Outcome(memory=memory if memory is not None else activity.memory)

    def _detection(self, activity: Activity) -> Detection:
        quiet: Any = _Quiet()
        detection = Detection(
            StepKube(),
            self._source,
            _Clock(instant(activity.step)),
            budget=quiet,
            announcer=quiet,
            metrics=quiet,
        )
        view = decode_trigger(orjson.loads(activity.memory.view))
        detection.records[KEY] = Record(
            view=view,
            not_before=EPOCH - INTERVAL,
            last_tick=activity.memory.last_tick,
            is_adopted=activity.memory.is_adopted,
            probed=view.generation,
            must_clean=False,
        )
        return detection

    async def _realise(self, activity: Activity) -> None:
        kube, clock = StepKube(), _Clock(instant(activity.step))
        quiet: Any = _Quiet()
        realisation = Realisation(kube, JobLauncher(kube), clock, quiet)
        with contextlib.suppress(DriftTriggerError):  # the controller looks again, as we do
            await realisation.run(("ns", activity.name))


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
