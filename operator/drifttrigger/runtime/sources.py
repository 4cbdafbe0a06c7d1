"""The sources that triggers refer to: asked for them, and their status kept.

Every minute each source is asked `vector(1)`, so that its status tells how it is also while no
trigger uses it.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from drifttrigger.api.errors import ConflictError, DriftTriggerError, NotFoundError
from drifttrigger.api.reasons import SENTENCES, ConditionType, Reason
from drifttrigger.api.servers import PrometheusServer, SourceKind
from drifttrigger.api.v1alpha1 import Condition, MetricsSourceStatus, SourceError
from drifttrigger.clients.clock import Clock
from drifttrigger.clients.kube import KubeApi
from drifttrigger.core.conditions import with_conditions
from drifttrigger.core.observation import Answer, clean
from drifttrigger.core.status import merge_patch, to_json
from drifttrigger.core.times import format_instant
from drifttrigger.runtime.announce import Announcer
from drifttrigger.runtime.budget import WriteBudget
from drifttrigger.runtime.settings import Settings
from drifttrigger.runtime.worklist import Worklist
from drifttrigger.sources.base import Question
from drifttrigger.sources.prometheus import PrometheusSource
from drifttrigger.sources.references import SOURCES, Key, References, SourceView, decode_source

_LOG = logging.getLogger(__name__)
_LOOK_SECONDS = 60.0
_CALM_PROBES = 2


class _Probe(msgspec.Struct):
    """How a source has answered its probes."""

    failing: int = 0
    good_generation: int = 0


class Sources:
    """Resolves references and keeps the status of sources.

    Args:
        kube: The API server.
        servers: Asks server blocks.
        clock: The clock.
        budget: API writes.
        announcer: Events and log lines.
        settings: The default source, and the namespace of the Secrets of cluster sources.

    Attributes:
        users: Counts the triggers that use a source.
        owns: Whether this process keeps the status of the source with a UID.
    """

    def __init__(
        self,
        kube: KubeApi,
        servers: PrometheusSource,
        clock: Clock,
        *,
        budget: WriteBudget,
        announcer: Announcer,
        settings: Settings,
    ) -> None:
        self._kube = kube
        self._servers = servers
        self._clock = clock
        self._budget = budget
        self._announcer = announcer
        self.watched = (
            # The cluster's sources can be watched with cluster-wide rights only.
            (SourceKind.METRICS_SOURCE,) if settings.namespaces else tuple(SourceKind)
        )
        self.references = References(
            kube,
            clock,
            namespace=settings.own_namespace,
            default=settings.default_source,
            watched=frozenset(self.watched),
        )
        self._probes: dict[Key, _Probe] = {}
        self.users: Callable[[SourceView], int] = lambda _: 0
        self.owns: Callable[[str], bool] = lambda _: True
        self.work = Worklist(self._pass, clock, concurrency=16)

    # What the feed tells.

    def on_source(self, view: SourceView) -> bool:
        """Take a newer snapshot; returns whether triggers that use it should look again."""
        before = self.references.views.get(view.key)
        self.references.take(view)
        is_same = before is not None and (before.uid, before.generation) == (
            view.uid,
            view.generation,
        )
        if is_same and view.key in self._probes:
            return False
        self._probes[view.key] = _Probe()
        self.work.wake(view.key)
        return True

    def on_source_gone(self, key: Key, uid: str) -> SourceView | None:
        """Forget a deleted source; returns it if it was known."""
        view = self.references.views.get(key)
        if view is None or view.uid != uid:
            return None
        del self.references.views[key]
        self._probes.pop(key, None)
        self.work.drop(key)
        return view

    def known(self, kind: SourceKind) -> dict[Key, str]:
        """Return the UIDs of the known sources of a kind."""
        views = self.references.views
        return {key: view.uid for key, view in views.items() if view.kind is kind}

    async def ask(self, question: Question) -> Answer:
        """Ask, after resolving a reference."""
        resolved = await self.references.resolve(question.source, question.namespace)
        if isinstance(resolved, Answer):
            return resolved
        server, namespace = resolved
        return await self._servers.ask(replace(question, source=server, namespace=namespace))

    async def ask_together(self, questions: Sequence[Question]) -> list[Answer | None]:
        """Ask many, after resolving each reference once."""
        resolved: dict[tuple[int, str], tuple[PrometheusServer, str] | Answer] = {}
        answers: list[Answer | None] = [None] * len(questions)
        asked: list[Question] = []
        places: list[int] = []
        for place, question in enumerate(questions):
            key = (id(question.source), question.namespace)
            found = resolved.get(key)
            if found is None:
                found = await self.references.resolve(question.source, question.namespace)
                resolved[key] = found
            if isinstance(found, Answer):
                answers[place] = found
                continue
            server, namespace = found
            is_inline = server is question.source
            asked.append(
                question if is_inline else replace(question, source=server, namespace=namespace)
            )
            places.append(place)
        for place, answer in zip(places, await self._servers.ask_together(asked), strict=True):
            answers[place] = answer
        return answers

    async def distrust(self, question: Question) -> None:
        """Ask a query alone from now on."""
        resolved = await self.references.resolve(question.source, question.namespace)
        if not isinstance(resolved, Answer):
            server, namespace = resolved
            question = replace(question, source=server, namespace=namespace)
            await self._servers.distrust(question)

    # Status.

    async def _pass(self, key: Key) -> float | None:
        view = self.references.views.get(key)
        if view is None:
            return None
        if self.owns(view.uid):
            try:
                await self._look(view)
            except (ConflictError, NotFoundError):
                _LOG.debug("a source changed while it was looked at: %s", key)
            except DriftTriggerError as error:
                _LOG.warning("the status of source %s was not written: %s", key[1], error)
            except Exception:
                # The edge of one source's work: a defect met here must not stop the others.
                _LOG.exception("the pass over source %s failed", key[1])
        return self._clock.monotonic() + _LOOK_SECONDS * (0.75 + 0.5 * self._clock.jitter())

    async def _look(self, view: SourceView) -> None:
        now = self._clock.now()
        status = await self._probe(view, now)
        users = self.users(view)
        status = replace(status, observed_generation=view.generation, triggers=users)
        is_newest = self.references.views.get(view.key) is view
        if not is_newest or status == view.status or not self._budget.take_now():
            return
        patch: dict[str, Any] = merge_patch(to_json(view.status), to_json(status))
        body = await self._kube.patch(
            SOURCES[view.kind],
            view.namespace,
            view.name,
            {"metadata": {"resourceVersion": view.resource_version}, "status": patch},
            subresource="status",
        )
        written = decode_source(view.kind, body)
        if view.key in self.references.views:
            self.references.take(written)
        self._announcer.source(written, before=view.status.conditions)

    async def _probe(self, view: SourceView, now: datetime) -> MetricsSourceStatus:
        """Ask the server, and say in conditions how it is."""
        if view.server is None:
            condition = _ready(view, "False", Reason.SPEC_INVALID, view.problem)
            conditions = with_conditions(view.status.conditions, (condition,), now=now)
            return replace(view.status, conditions=conditions)
        whose = self.references.whose(view)
        question = Question(
            source=view.server, namespace=whose, query="vector(1)", at=now, alone=True
        )
        answer = await self._servers.ask(question)
        probe = self._probes.setdefault(view.key, _Probe())
        status = view.status
        if answer.failure is None:
            probe.failing, probe.good_generation = 0, view.generation
            told = await self._servers.tells(view.server, whose)
            status = replace(status, server=told if told is not None else status.server)
            condition = _ready(view, "True", Reason.ANSWERING, SENTENCES[Reason.ANSWERING])
        else:
            probe.failing += 1
            if probe.good_generation == view.generation and probe.failing < _CALM_PROBES:
                return status
            error = SourceError(time=format_instant(now), message=clean(answer.message))
            known = status.last_error
            if known is None or known.message != error.message:
                status = replace(status, last_error=error)
            condition = _ready(view, "False", Reason(answer.failure.value), answer.message)
        conditions = with_conditions(status.conditions, (condition,), now=now)
        return replace(status, conditions=conditions)


def _ready(view: SourceView, status: str, reason: Reason, message: str) -> Condition:
    return Condition(
        type=ConditionType.READY,
        status=status,
        reason=reason,
        message=clean(message),
        observed_generation=view.generation,
    )
