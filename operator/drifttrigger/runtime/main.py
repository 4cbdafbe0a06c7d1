"""The process: puts the parts together, runs until told to stop, and stops gracefully.

Graceful: no new passes, writes under way are finished, connections closed. Ungraceful (kill -9) at
any point loses nothing either; the next process goes on from what the API server holds.
"""

import asyncio
import gc
import logging
import os
import signal
import threading
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack

from drifttrigger import __version__
from drifttrigger.api.errors import DriftTriggerError
from drifttrigger.clients.clock import SystemClock
from drifttrigger.clients.http import HttpClient
from drifttrigger.clients.kube import KubernetesApi
from drifttrigger.clients.secrets import Secrets
from drifttrigger.core.status import to_json
from drifttrigger.runtime import logs, serve
from drifttrigger.runtime.announce import Announcer
from drifttrigger.runtime.budget import StartRate, WriteBudget
from drifttrigger.runtime.detection import Detection
from drifttrigger.runtime.execution import Execution
from drifttrigger.runtime.feed import Feed
from drifttrigger.runtime.history import clean_orphans
from drifttrigger.runtime.metrics import (
    Metrics,
    ProcessCollector,
    SourceCollector,
    TriggerSeries,
)
from drifttrigger.runtime.preflight import preflight_until
from drifttrigger.runtime.settings import Controller, Settings, split_address
from drifttrigger.runtime.shards import Shards
from drifttrigger.runtime.sources import Sources
from drifttrigger.runtime.worklist import Worklist
from drifttrigger.sources.prometheus import PrometheusSource
from drifttrigger.sources.references import SourceView
from drifttrigger.targets.job import JobLauncher

_LOG = logging.getLogger(__name__)
_STUCK_SECONDS = 120.0
_BEAT_SECONDS = 5.0
_JUMP_SECONDS = 1.0
_WATCH_SECONDS = 10.0
_END_SECONDS = 15.0
_GC_ALLOCATIONS = 20_000
_ORPHANS_SECONDS = 6 * 3600.0


class Operator:
    """All parts of one process.

    Args:
        settings: What it was told.
        kube: The logged-in API client.
        http: Connections to metrics servers.
    """

    def __init__(self, settings: Settings, kube: KubernetesApi, http: HttpClient) -> None:
        self.settings = settings
        self.kube = kube
        self.clock = SystemClock()
        self.metrics = Metrics()
        self.announcer = Announcer(kube, self.clock, instance=settings.name)
        budget = WriteBudget(self.clock, per_second=settings.api_write_budget)
        self.detection: Detection | None = None
        self.execution: Execution | None = None
        self.sources: Sources | None = None
        if Controller.DETECTION in settings.controllers:
            self.sources = self._make_sources(http, budget)
            self.detection = Detection(
                kube,
                self.sources,
                self.clock,
                budget=budget,
                announcer=self.announcer,
                metrics=self.metrics,
            )
        if Controller.EXECUTION in settings.controllers:
            self.execution = Execution(
                kube,
                JobLauncher(kube),
                self.clock,
                gate=StartRate(self.clock, per_minute=settings.max_starts_per_minute),
                budget=budget,
                announcer=self.announcer,
            )
        self.feed = Feed(
            kube,
            self.clock,
            settings,
            detection=self.detection,
            execution=self.execution,
            sources=self.sources,
        )
        self.shards = Shards(
            kube,
            self.clock,
            settings,
            synced=self.feed.synced,
            on_change=self.feed.on_shards,
        )
        if self.detection is not None:
            self.detection.owns = self.shards.owns
        if self.sources is not None:
            self.sources.owns = self.shards.owns
        if self.execution is not None:
            self.execution.owns = self.shards.owns
        self._beat_at = self.clock.monotonic()
        self.series: serve.Series = lambda: ()
        self._register_metrics()

    def _make_sources(self, http: HttpClient, budget: WriteBudget) -> Sources:
        servers = PrometheusSource(
            http,
            Secrets(self.kube, self.clock),
            self.clock,
            max_in_flight=self.settings.max_in_flight_per_source,
            on_request=self.metrics.asked,
            on_batch=self.metrics.batched,
        )
        self.metrics.registry.register(SourceCollector(servers.health))
        sources = Sources(
            self.kube,
            servers,
            self.clock,
            budget=budget,
            announcer=self.announcer,
            settings=self.settings,
        )
        sources.users = self._users_of
        return sources

    def _register_metrics(self) -> None:
        detection = self.detection
        gauges: dict[str, tuple[str, Callable[[], float]]] = {
            "watch_age_seconds": (
                "Seconds since a watch or a resync was last heard.",
                lambda: self.clock.monotonic() - self.feed.heard_at,
            ),
            "work_lateness_seconds": ("How long the most overdue work has waited.", self.late),
            "shard_members": (
                "Replicas that share the work, this one included.",
                lambda: float(self.shards.members),
            ),
            "events_dropped": (
                "Events that were not recorded because too many came at once.",
                lambda: float(self.announcer.events_dropped),
            ),
        }
        if detection is not None:
            self.series = TriggerSeries(detection.records.items).pieces
            gauges["status_writes_waiting"] = (
                "Status writes that wait for the write budget.",
                lambda: float(len(detection.deferred)),
            )
            gauges["triggers_owned"] = (
                "Triggers that this process evaluates.",
                lambda: float(sum(r.is_owned for r in detection.records.values())),
            )
        self.metrics.registry.register(ProcessCollector(lambda: self.kube.requests, gauges))

    def _users_of(self, view: SourceView) -> int:
        """Count the triggers that use a source."""
        if self.detection is None or self.sources is None:
            return 0
        uses = self.sources.references.uses
        records = self.detection.records.values()
        return sum(
            r.view.rules is not None and uses(r.view.rules.source, r.view.namespace, view)
            for r in records
        )

    def stuck(self) -> str:
        """Say whether the loop has stopped turning; a backlog is no reason to be restarted."""
        age = self.clock.monotonic() - self._beat_at
        return f"the loop has not turned for {age:.0f} s" if age > _STUCK_SECONDS else ""

    def late(self) -> float:
        """Return how long the most overdue work has waited, seconds."""
        return max((work.lateness_seconds() for work in self._worklists()), default=0.0)

    async def _watch_clock(self) -> None:
        """Prove that the loop turns, and look at every trigger anew when the clock was set."""
        offset = self._offset()
        while True:
            await asyncio.sleep(_BEAT_SECONDS)
            self._beat_at = self.clock.monotonic()
            if abs(self._offset() - offset) > _JUMP_SECONDS and self.detection is not None:
                _LOG.warning("the clock jumped by %.1f s", self._offset() - offset)
                for key in list(self.detection.records):
                    self.detection.work.wake(key)
            offset = self._offset()

    def _offset(self) -> float:
        return self.clock.now().timestamp() - self.clock.monotonic()

    def unready(self) -> str:
        """Say why this process is not ready."""
        if not self.feed.synced.is_set():
            return "the first lists have not been read"
        age = self.clock.monotonic() - self.feed.heard_at
        if age > 3 * self.settings.resync_seconds:
            return f"the API server has not been heard for {age:.0f} s"
        return ""

    def _worklists(self) -> list[Worklist]:
        lists = [self.detection.work] if self.detection is not None else []
        if self.sources is not None:
            lists.append(self.sources.work)
        if self.execution is not None:
            lists += [self.execution.work, self.execution.templates]
        return lists

    async def run(self, stop: asyncio.Event) -> None:
        """Run until SIGTERM, SIGINT or stop, or until a part fails.

        Raises:
            DriftTriggerError: A part ended by itself.
        """
        stop_watching = asyncio.Event()
        parts: dict[str, Coroutine[None, None, None]] = {
            "watch": self.feed.watch(stop_watching, started=lambda: _stop_on_signals(stop)),
            "resync": self._resync(),
            "events": self.announcer.run(),
            "clock": self._watch_clock(),
            "shards": self.shards.run(),
        }
        if self.detection is not None:
            parts["deferred writes"] = self.detection.deferred.run()
            parts["orphans"] = self._clean_orphans()
        for number, work in enumerate(self._worklists()):
            parts[f"work {number}"] = work.run()
        tasks = [asyncio.create_task(part, name=name) for name, part in parts.items()]
        stopped = asyncio.create_task(_until(stop))
        done, _ = await asyncio.wait([*tasks, stopped], return_when=asyncio.FIRST_COMPLETED)
        await _wind_down(*tasks, stopped, stop_watching=stop_watching)
        await self.shards.release()
        for task in done - {stopped}:
            error = task.exception() if not task.cancelled() else None
            why = error or "without an error"
            raise DriftTriggerError(f"{task.get_name()} ended: {why}") from error

    async def _clean_orphans(self) -> None:
        """Look for Retrainings without a trigger, about every six hours."""
        while True:
            await asyncio.sleep(_ORPHANS_SECONDS * (0.5 + self.clock.jitter()))
            try:
                removed = await clean_orphans(
                    self.kube, self.settings.namespaces, self.feed.triggers, now=self.clock.now()
                )
            except Exception as error:
                # A chore: whatever is wrong, it is tried again in some hours.
                _LOG.warning("Retrainings without a trigger were not looked for: %s", error)
                continue
            if removed:
                _LOG.info("%d Retrainings without a trigger were removed", removed)

    async def _resync(self) -> None:
        while True:
            try:
                await self.feed.resync()
            except DriftTriggerError as error:
                _LOG.warning("the resync will be tried again: %s", error)
                await asyncio.sleep(1)
                continue
            except Exception:
                # Nothing rests on a resync alone: better late than the end of everything.
                _LOG.exception("the resync failed")
            await asyncio.sleep(self.settings.resync_seconds * (0.75 + 0.5 * self.clock.jitter()))


def _end_for_sure() -> None:
    """End the process soon, whatever hangs: it is started anew, and then watches again."""
    timer = threading.Timer(_END_SECONDS, os._exit, args=(1,))
    timer.daemon = True
    timer.start()


def _stop_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)


async def _until(stop: asyncio.Event) -> None:
    await stop.wait()


async def _wind_down(
    watch: asyncio.Task[None], *others: asyncio.Task[None], stop_watching: asyncio.Event
) -> None:
    """Let passes under way finish, then end the watching."""
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    stop_watching.set()
    await asyncio.wait([watch], timeout=_WATCH_SECONDS)
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)


async def run(settings: Settings) -> None:
    """Run one operator process until SIGTERM or SIGINT.

    Raises:
        UsageError: It can't start; says what to do.
        DriftTriggerError: A part of it ended by itself.
    """
    logs.configure(settings.log_format, settings.log_level)
    # What is imported by now stays until the end: the garbage collector need not walk it. What an
    # evaluation makes is no part of a cycle, so that looking for cycles seldom is soon enough.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_ALLOCATIONS, 20, 20)
    _LOG.info("drifttrigger %s starts", __version__, extra={"settings": to_json(settings)})
    stop = asyncio.Event()
    _stop_on_signals(stop)
    async with AsyncExitStack() as stack:
        kube = await KubernetesApi.connect(
            kubeconfig=settings.kubeconfig or None, context=settings.context or None
        )
        stack.push_async_callback(kube.close)
        http = HttpClient(trust_env=settings.proxy_from_env)
        stack.push_async_callback(http.close)
        await preflight_until(kube, settings, stop)
        operator = Operator(settings, kube, http)
        if settings.health_address:
            app = serve.health_app(live=operator.stuck, ready=operator.unready)
            address = split_address(settings.health_address, flag="--health-address")
            stack.push_async_callback((await serve.start_listener(address, app)).cleanup)
        if settings.metrics_address:
            app = serve.metrics_app(operator.metrics.registry, operator.series)
            address = split_address(settings.metrics_address, flag="--metrics-address")
            stack.push_async_callback((await serve.start_listener(address, app)).cleanup)
        try:
            await operator.run(stop)
        except DriftTriggerError:
            _end_for_sure()
            raise
    _LOG.info("drifttrigger has stopped")
