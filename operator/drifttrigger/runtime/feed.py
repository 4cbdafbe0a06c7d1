"""kopf's part: watching. Events become views, and views wake the controllers.

Only `on.event` handlers: no finalizers, no annotations, no requests of kopf's own. A handler
decodes, compares and pushes a due time; it never awaits I/O, never raises and returns None. kopf
never reports deletions that were missed across a re-list, so a paged resync of metadata every few
minutes drops what is gone and picks up what was missed.
"""

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import aiohttp
import kopf
import msgspec
from kopf._core.reactor.inventory import ResourceMemories  # what spawn_tasks takes

from drifttrigger.api.errors import DriftTriggerError, NotFoundError
from drifttrigger.api.servers import SourceKind
from drifttrigger.api.v1alpha1 import GROUP, LABEL_ACTIVE, LABEL_RETRAINING, VERSION
from drifttrigger.clients.clock import Clock
from drifttrigger.clients.kube import DRIFT_TRIGGERS, RETRAININGS, KubernetesApi, Resource
from drifttrigger.clients.transport import Transport
from drifttrigger.runtime.detection import Detection
from drifttrigger.runtime.execution import Execution
from drifttrigger.runtime.settings import Settings
from drifttrigger.runtime.sources import Sources
from drifttrigger.runtime.views import Key, TriggerView, decode_retraining, decode_trigger
from drifttrigger.sources.references import SOURCES, SourceView, decode_source
from drifttrigger.targets.job import has_ended

Json = dict[str, Any]
_LOG = logging.getLogger(__name__)
_TELLING_SECONDS = 0.25
_PATIENCE_SECONDS = 5.0
"""How long nothing new may be told before what is missing is looked for."""


class NoDiffBase(kopf.DiffBaseStorage):
    """kopf keeps no last-handled state of ours: nothing is diffed, nothing is written."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        """Return an empty essence."""
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> None:
        """Return that nothing was stored."""

    def store(self, **_: Any) -> None:
        """Store nothing."""


class NoMemories(ResourceMemories):
    """kopf keeps nothing of an object: only event handlers look at it, and they need nothing.

    Some kilobytes each, which at 10,000 triggers is more than all that we keep ourselves.
    """

    async def recall(self, raw_body: Any, **given: Any) -> Any:
        """Make a memory that is forgotten at once."""
        return await super().recall(raw_body, **{**given, "ephemeral": True})


class Feed:
    """Carries what the API server says to the controllers.

    Args:
        kube: The logged-in API client.
        clock: The clock.
        settings: Namespaces and resync.
        detection: None when this process does not run it.
        execution: None when this process does not run it.
        sources: None where detection is.

    Attributes:
        triggers: UID of each trigger that is known.
        synced: Set once everything that the API server listed is known.
    """

    def __init__(
        self,
        kube: KubernetesApi,
        clock: Clock,
        settings: Settings,
        *,
        detection: Detection | None,
        execution: Execution | None,
        sources: Sources | None,
    ) -> None:
        self._kube = kube
        self._clock = clock
        self._settings = settings
        self._detection = detection
        self._execution = execution
        self._sources = sources
        self.triggers: dict[Key, str] = {}
        self._retrainings: dict[Key, tuple[str, str]] = {}
        self.heard_at = clock.monotonic()
        self.synced = asyncio.Event()

    # Events.

    def on_trigger(self, body: Json, *, gone: bool) -> None:
        """Take an event of a DriftTrigger."""
        self.heard_at = self._clock.monotonic()
        metadata = body["metadata"]
        key = (metadata["namespace"], metadata["name"])
        if gone:
            self._trigger_gone(key, metadata["uid"])
            return
        view = decode_trigger(body, before=self._known_view(key))
        self.triggers[key] = view.uid
        if self._detection is not None:
            self._detection.on_trigger(view)
        if self._execution is not None:
            self._execution.on_trigger(view)

    def _known_view(self, key: Key) -> TriggerView | None:
        record = self._detection.records.get(key) if self._detection is not None else None
        return record.view if record is not None else None

    def on_retraining(self, body: Json, *, gone: bool) -> None:
        """Take an event of an unfinished Retraining; gone also means that it lost the label."""
        self.heard_at = self._clock.monotonic()
        try:
            view = decode_retraining(body)
        except msgspec.ValidationError as error:
            _LOG.warning("a Retraining can't be read: %s", error)
            return
        if gone:
            self._retrainings.pop(view.key, None)
        else:
            self._retrainings[view.key] = (view.uid, view.trigger)
        if self._detection is not None:
            ended = gone or view.is_final
            self._detection.on_retraining(
                (view.namespace, view.trigger),
                is_ended=ended,
                is_deferred=not ended and view.reason.value == "Deferred",
            )
        if self._execution is not None and not gone:
            self._execution.on_retraining(view)

    def on_source(self, kind: SourceKind, body: Json, *, gone: bool) -> None:
        """Take an event of a source; the triggers that use it are asked at once."""
        self.heard_at = self._clock.monotonic()
        if self._sources is None:
            return
        view = decode_source(kind, body)
        if gone:
            self._source_gone(view.key, view.uid)
        elif self._sources.on_source(view):
            self._wake_users(view)

    def _source_gone(self, key: Key, uid: str) -> None:
        view = self._sources.on_source_gone(key, uid) if self._sources is not None else None
        if view is not None:
            self._wake_users(view)

    def _wake_users(self, view: SourceView) -> None:
        """Let the triggers that use a source be asked at once."""
        if self._sources is not None and self._detection is not None:
            uses = self._sources.references.uses
            self._detection.on_source(lambda rules, where: uses(rules.source, where, view))

    def on_job(self, body: Json, *, gone: bool) -> None:
        """Take an event of one of our Jobs, its end included.

        The ended Job of a Retraining that has ended too is history: thousands of them are listed
        at a start. Where the Retraining is told of later, it looks at its Job then.
        """
        del gone
        self.heard_at = self._clock.monotonic()
        metadata = body["metadata"]
        name = (metadata.get("labels") or {}).get(LABEL_RETRAINING)
        if not name or self._execution is None:
            return
        key = (metadata["namespace"], name)
        if key in self._retrainings or not has_ended(body):
            self._execution.on_job(*key)

    def _trigger_gone(self, key: Key, uid: str) -> None:
        if self.triggers.get(key) == uid:
            del self.triggers[key]
        if self._detection is not None:
            self._detection.on_trigger_gone(key, uid)
        if self._execution is not None:
            self._execution.on_trigger_gone(key, uid)
            for retraining, (_, trigger) in self._retrainings.items():
                if (retraining[0], trigger) == key:
                    self._execution.work.wake(retraining)

    def on_shards(self) -> None:
        """Look at everything again that may have become this replica's."""
        if self._detection is not None:
            self._detection.on_shards()
        if self._execution is not None:
            for key in self._retrainings:
                self._execution.work.wake(key)
            for key in self.triggers:
                self._execution.templates.wake(key)
        if self._sources is not None:
            for key in self._sources.references.views:
                self._sources.work.wake(key)

    # kopf.

    async def watch(self, stop: asyncio.Event, *, started: Callable[[], None]) -> None:
        """Run kopf's operator until told to stop; returns or raises when it ends by itself.

        Args:
            stop: Ends it. kopf then cancels every task that began after it: drain others before.
            started: Called when kopf's tasks exist and it has put its own signal handlers in place.
        """
        namespaces = list(self._settings.namespaces)
        others = asyncio.all_tasks()
        tasks = await kopf.spawn_tasks(
            registry=self._registry(),
            settings=_kopf_settings(),
            memories=NoMemories(),
            standalone=True,
            clusterwide=not namespaces,
            namespaces=namespaces,
            stop_flag=stop,
        )
        started()
        running = asyncio.create_task(kopf.run_tasks(tasks, ignored=others), name="kopf")
        try:
            await asyncio.wait([running, *tasks], return_when=asyncio.FIRST_COMPLETED)
            if not stop.is_set():
                # kopf would first wait for whatever hangs on the part that broke, maybe for ever,
                # and a process without watches must not look alive.
                raise DriftTriggerError(f"watching ended: {_why(tasks)}")
            await running
        finally:
            running.cancel()

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()

        @kopf.on.login(registry=registry)
        async def login(**_: Any) -> kopf.AiohttpSession:
            return session_of(self._kube.transport)

        def handle(function: Callable[..., None]) -> Callable[..., Awaitable[None]]:
            # A coroutine, though it awaits nothing: kopf runs plain functions in threads, and all
            # that is told here belongs to the loop.
            async def handler(event: Any, **_: Any) -> None:
                self.take(function, event["object"], gone=event["type"] == "DELETED")

            return handler

        triggers, retrainings = handle(self.on_trigger), handle(self.on_retraining)
        kopf.on.event(GROUP, VERSION, DRIFT_TRIGGERS.plural, registry=registry, id="trigger")(
            triggers
        )
        kopf.on.event(GROUP, VERSION, RETRAININGS.plural, registry=registry, id="retraining")(
            retrainings
        )
        if self._sources is not None:
            for kind in self._sources.watched:
                take = handle(functools.partial(self.on_source, kind))
                plural = SOURCES[kind].plural
                kopf.on.event(GROUP, VERSION, plural, registry=registry, id=plural)(take)
        if self._execution is not None:
            jobs = handle(self.on_job)
            kopf.on.event("batch", "v1", "jobs", registry=registry, id="job")(jobs)
        return registry

    # Resync.

    async def resync(self) -> None:
        """Compare what is known with what the API server lists."""
        known = dict(self.triggers)
        triggers = await self._listed(DRIFT_TRIGGERS)
        await self._until_told(triggers, self.triggers)
        for key, uid in known.items():
            if triggers.get(key) != uid and self.triggers.get(key) == uid:
                await self._look_for_trigger(key, uid)
        for key, uid in triggers.items():
            if self.triggers.get(key) != uid:
                await self._look_for_trigger(key, "")
        active = dict(self._retrainings)
        retrainings = await self._listed(RETRAININGS, labels=f"{LABEL_ACTIVE}=true")
        await self._until_told(retrainings, self._retrainings)
        for key, (uid, trigger) in active.items():
            if retrainings.get(key) != uid and self._retrainings.get(key) == (uid, trigger):
                del self._retrainings[key]
                if self._detection is not None:
                    owner = (key[0], trigger)
                    self._detection.on_retraining(owner, is_ended=True, is_deferred=False)
        for key, uid in retrainings.items():
            if self._retrainings.get(key, ("", ""))[0] != uid:
                await self._look_for_retraining(key)
            elif self._execution is not None:
                self._execution.work.wake(key)  # the end of its Job may have been missed
        await self._resync_sources()
        self.synced.set()
        self.heard_at = self._clock.monotonic()

    async def _until_told(self, listed: Mapping[Key, str], told: Mapping[Key, object]) -> None:
        """At the start, let the watch tell of what it has listed: reading each alone is dear."""
        missing, patience = len(listed), _PATIENCE_SECONDS
        while not self.synced.is_set() and missing and patience > 0:
            before, missing = missing, len(listed.keys() - told.keys())
            patience = _PATIENCE_SECONDS if missing < before else patience - _TELLING_SECONDS
            await asyncio.sleep(_TELLING_SECONDS if missing else 0)

    async def _resync_sources(self) -> None:
        if self._sources is None:
            return
        for kind in self._sources.watched:
            known = self._sources.known(kind)
            listed = await self._listed(SOURCES[kind])
            for key in known.keys() | listed.keys():
                if known.get(key) == listed.get(key):
                    continue
                try:
                    body = await self._kube.get(SOURCES[kind], *key)
                except NotFoundError:
                    self._source_gone(key, known.get(key, ""))
                else:
                    self.take(functools.partial(self.on_source, kind), body, gone=False)

    async def _look_for_trigger(self, key: Key, uid: str) -> None:
        """Read a trigger that one of us does not know of; only a live read says that it is gone."""
        try:
            self.take(self.on_trigger, await self._kube.get(DRIFT_TRIGGERS, *key), gone=False)
        except NotFoundError:
            if uid:
                self._trigger_gone(key, uid)

    async def _look_for_retraining(self, key: Key) -> None:
        try:
            self.take(self.on_retraining, await self._kube.get(RETRAININGS, *key), gone=False)
        except NotFoundError:
            return  # it ended between the list and now, and the watch told

    def take(self, function: Callable[..., None], body: Json, *, gone: bool) -> None:
        """Take one object; what is wrong with it stays its own trouble."""
        try:
            function(body, gone=gone)
        except Exception:
            # The edge of one object's event: a defect here must not end the watching.
            _LOG.exception("an event could not be taken")

    async def _listed(self, resource: Resource, *, labels: str = "") -> dict[Key, str]:
        found: dict[Key, str] = {}
        for namespace in self._settings.namespaces or (None,):
            async for page in self._kube.list_metadata(resource, namespace, labels=labels):
                found.update({(m.namespace, m.name): m.uid for m in page})
        return found


def _why(tasks: Iterable[asyncio.Task[Any]]) -> str:
    """Say why one of kopf's tasks ended."""
    ended = [task for task in tasks if task.done() and not task.cancelled()]
    return str(next((e for e in (task.exception() for task in ended) if e), "without an error"))


def session_of(transport: Transport) -> kopf.AiohttpSession:
    """Make a session for kopf whose token is had anew as that of our own requests is."""

    async def authorize(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        token = await transport.authorization()
        if token is not None:
            request.headers["Authorization"] = token
        response = await handler(request)
        if response.status == 410 and request.url.query.get("watch") != "true":
            # Pages of a list that outlived etcd's compaction: kopf would end over it, yet lists
            # anew after a reply that broke off.
            raise aiohttp.ClientPayloadError("the list is too old to go on: 410")
        return response

    return kopf.AiohttpSession(
        server=transport.host,
        aiohttp_session=transport.session(middlewares=(authorize,)),
        default_namespace=None,
    )


def _kopf_settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    # Each object that was told of keeps a task and its whole JSON for so long, and pages of a list
    # are as large: at 10,000 triggers 0.2 s and pages of 500 leave 9 MB more behind.
    settings.queueing.idle_timeout = 0.05
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.persistence.diffbase_storage = NoDiffBase()
    settings.watching.chunk_size = 100
    settings.watching.label_selectors["batch", "v1", "jobs"] = LABEL_RETRAINING
    settings.watching.label_selectors[GROUP, VERSION, RETRAININGS.plural] = f"{LABEL_ACTIVE}=true"
    return settings
