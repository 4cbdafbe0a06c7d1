"""What kopf tells us belongs to the event loop; what it does not tell is looked for."""

import asyncio
import inspect
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from drifttrigger.api.errors import NotFoundError
from drifttrigger.api.servers import SourceKind
from drifttrigger.clients.clock import SystemClock
from drifttrigger.clients.kube import DRIFT_TRIGGERS, KubernetesApi, Metadata, Resource
from drifttrigger.clients.transport import Transport
from drifttrigger.runtime.execution import Execution
from drifttrigger.runtime.feed import Feed
from drifttrigger.runtime.settings import Settings
from drifttrigger.runtime.sources import Sources


def test_no_handler_runs_in_a_thread() -> None:
    """kopf runs plain functions in threads, where two would touch one record at once."""
    sources = object.__new__(Sources)
    sources.watched = tuple(SourceKind)
    feed = Feed(
        KubernetesApi(object.__new__(Transport)),
        SystemClock(),
        Settings(),
        detection=None,
        execution=object.__new__(Execution),
        sources=sources,
    )
    handlers = feed._registry()._watching.get_all_handlers()
    assert len(handlers) == 5
    assert all(inspect.iscoroutinefunction(handler.fn) for handler in handlers)


class Listing:
    """An API server that lists triggers, and counts who is read alone."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.read: list[str] = []

    async def list_metadata(
        self, resource: Resource, namespace: str | None, *, labels: str = ""
    ) -> AsyncIterator[list[Metadata]]:
        names = self.names if resource is DRIFT_TRIGGERS else ()
        yield [Metadata(name=n, namespace="ml", uid=n, creation_timestamp="") for n in names]

    async def get(self, resource: Resource, namespace: str, name: str) -> object:
        self.read.append(name)
        raise NotFoundError(name)


def feed_of(kube: Any) -> Feed:
    return Feed(kube, SystemClock(), Settings(), detection=None, execution=None, sources=None)


async def test_at_the_start_it_waits_for_what_the_watch_lists() -> None:
    kube = Listing("a", "b", "c")
    feed = feed_of(kube)

    async def tell() -> None:
        for name in kube.names:
            await asyncio.sleep(0.05)
            feed.triggers["ml", name] = name

    await asyncio.gather(feed.resync(), tell())
    assert kube.read == []
    assert feed.synced.is_set()


async def test_what_the_watch_does_not_tell_of_is_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("drifttrigger.runtime.feed._PATIENCE_SECONDS", 0.5)
    kube = Listing("a", "b")
    feed = feed_of(kube)
    feed.triggers["ml", "a"] = "a"
    await feed.resync()
    assert kube.read == ["b"]
    assert feed.synced.is_set()
    kube.read.clear()
    async with asyncio.timeout(0.2):
        await feed.resync()
    assert kube.read == ["b"], "later it does not wait"


# Jobs.


def job(name: str, *conditions: str) -> dict[str, Any]:
    said = [{"type": kind, "status": "True"} for kind in conditions]
    labels = {"drifttrigger.dev/retraining": name}
    metadata = {"name": name, "namespace": "ml", "labels": labels}
    return {"metadata": metadata, "status": {"conditions": said} if said else {}}


@pytest.mark.parametrize(
    ("conditions", "is_unfinished", "is_looked_at"),
    [
        pytest.param((), False, True, id="one that runs may be a stray"),
        pytest.param(("Complete",), True, True, id="one whose Retraining waits for its end"),
        pytest.param(("SuccessCriteriaMet", "Complete"), False, False, id="history"),
        pytest.param(("FailureTarget", "Failed"), False, False, id="history that failed"),
        pytest.param(("FailureTarget",), False, True, id="one that is about to fail"),
    ],
)
def test_jobs_that_are_history_are_not_looked_at(
    conditions: tuple[str, ...], is_unfinished: bool, is_looked_at: bool
) -> None:
    looked_at: list[tuple[str, str]] = []
    execution = SimpleNamespace(on_job=lambda *key: looked_at.append(key))
    feed = feed_of(Listing())
    feed._execution = execution  # type: ignore[assignment]
    if is_unfinished:
        feed._retrainings["ml", "r1"] = ("uid", "t")
    feed.on_job(job("r1", *conditions), gone=False)
    assert looked_at == [("ml", "r1")] * is_looked_at
