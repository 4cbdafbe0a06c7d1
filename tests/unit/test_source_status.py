"""What the status of a source tells: how it answers, what it is, who uses it; calmly."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from drifttrigger.api.errors import ConflictError
from drifttrigger.api.servers import SourceKind, SourceRef
from drifttrigger.clients.http import HttpClient
from drifttrigger.clients.kube import Resource
from drifttrigger.clients.secrets import Secrets
from drifttrigger.core.observation import Answer
from drifttrigger.runtime.announce import Announcer
from drifttrigger.runtime.budget import WriteBudget
from drifttrigger.runtime.settings import Settings
from drifttrigger.runtime.sources import Sources
from drifttrigger.sources.base import Question
from drifttrigger.sources.prometheus import PrometheusSource
from drifttrigger.sources.references import decode_source
from support.clock import FakeClock
from support.metrics_server import SCORE, Asked, MetricsServer, metrics_server
from support.vault import Vault

KIND = SourceKind.METRICS_SOURCE
KEY = ("models", "platform")
BUILD = b'{"status":"success","data":{"version":"3.16.0"}}'


class Writable(Vault):
    """A vault whose sources take status patches, by compare-and-swap."""

    def __init__(self) -> None:
        super().__init__()
        self.patches: list[dict[str, Any]] = []
        self.version = 1

    async def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        patch: dict[str, Any],
        *,
        subresource: str,
    ) -> dict[str, Any]:
        assert subresource == "status"
        if patch["metadata"]["resourceVersion"] != str(self.version):
            raise ConflictError("changed")
        self.patches.append(patch["status"])
        self.version += 1
        body = self._objects[resource.kind, namespace, name]
        body["metadata"]["resourceVersion"] = str(self.version)
        status = body.setdefault("status", {})
        for field, value in patch["status"].items():
            status.pop(field, None)
            if value is not None:
                status[field] = value
        return body


class Ground:
    """One MetricsSource, and the part of the operator that keeps its status."""

    def __init__(self, http: HttpClient, *, namespaces: tuple[str, ...] = ("models",)) -> None:
        self.kube, self.clock = Writable(), FakeClock()
        kube: Any = self.kube
        self.sources = Sources(
            kube,
            PrometheusSource(http, Secrets(kube, self.clock), self.clock),
            self.clock,
            budget=WriteBudget(self.clock, per_second=100),
            announcer=Announcer(kube, self.clock, instance="one"),
            settings=Settings(namespaces=namespaces),
        )

    def apply(self, *, generation: int = 1, **spec: Any) -> bool:
        self.kube.put("MetricsSource", *KEY, {"spec": spec})
        body = self.kube._objects["MetricsSource", *KEY]
        body["metadata"] |= {"generation": generation, "resourceVersion": str(self.kube.version)}
        return self.sources.on_source(decode_source(KIND, body))

    async def look(self) -> dict[str, Any]:
        """Look at it once more, a minute later; returns its status."""
        self.clock.move(60)
        await self.sources._pass(KEY)
        status: dict[str, Any] = self.kube._objects["MetricsSource", *KEY].get("status", {})
        return status

    def ready(self) -> tuple[str, str]:
        status = self.kube._objects["MetricsSource", *KEY]["status"]
        (condition,) = status["conditions"]
        return condition["status"], condition["reason"]


@pytest.fixture
async def ground() -> AsyncIterator[Ground]:
    http = HttpClient()
    yield Ground(http)
    await http.close()


@pytest.fixture
async def server() -> AsyncIterator[MetricsServer]:
    async with metrics_server() as running:
        yield running


def is_well(server: MetricsServer, *, build: bytes = BUILD, status: int = 200) -> None:
    async def answer(asked: Asked) -> web.Response:
        if asked.path.endswith("/buildinfo"):
            assert asked.method == "GET"
            return web.Response(body=build, status=status)
        return web.Response(body=SCORE)

    server.answer = answer


async def test_a_server_that_answers_is_ready_and_tells_its_version(
    ground: Ground, server: MetricsServer
) -> None:
    is_well(server)
    ground.sources.users = lambda _: 3
    ground.apply(address=server.url)
    status = await ground.look()
    assert ground.ready() == ("True", "Answering")
    assert status["server"] == {"version": "3.16.0"}
    assert (status["triggers"], status["observedGeneration"]) == (3, 1)
    assert "lastError" not in status
    assert server.asked[0].form["query"] == "vector(1)"


@pytest.mark.parametrize(
    ("build", "status"),
    [(b"no", 404), (b"<html>", 200), (b"[]", 200), (b'{"data":{"version":5}}', 200)],
    ids=["not found", "a page", "a list", "a number"],
)
async def test_a_server_that_does_not_tell_its_version_is_ready_too(
    build: bytes, status: int, ground: Ground, server: MetricsServer
) -> None:
    is_well(server, build=build, status=status)
    ground.apply(address=server.url)
    await ground.look()
    assert ground.ready() == ("True", "Answering")


async def test_nothing_new_writes_nothing(ground: Ground, server: MetricsServer) -> None:
    is_well(server)
    ground.apply(address=server.url)
    for _ in range(5):
        await ground.look()
    assert len(ground.kube.patches) == 1


async def test_a_server_that_never_answered_is_not_ready_at_once(
    ground: Ground, server: MetricsServer
) -> None:
    server.says(b"who are you", status=401)
    ground.apply(address=server.url)
    status = await ground.look()
    assert ground.ready() == ("False", "Unauthorized")
    assert "HTTP 401: who are you" in status["lastError"]["message"]


async def test_one_failure_of_a_server_that_answered_changes_nothing(
    ground: Ground, server: MetricsServer
) -> None:
    is_well(server)
    ground.apply(address=server.url)
    await ground.look()
    server.says(b"<html>", status=502)
    assert "lastError" not in await ground.look()
    assert ground.ready() == ("True", "Answering")
    assert "HTTP 502" in (await ground.look())["lastError"]["message"]
    assert ground.ready() == ("False", "Unreachable")


async def test_the_last_error_stays_when_the_server_answers_again(
    ground: Ground, server: MetricsServer
) -> None:
    server.says(b"<html>", status=502)
    ground.apply(address=server.url)
    before = (await ground.look())["lastError"]
    is_well(server)
    assert (await ground.look())["lastError"] == before
    assert ground.ready() == ("True", "Answering")


async def test_a_spec_that_can_not_be_used_is_said_without_asking(
    ground: Ground, server: MetricsServer
) -> None:
    ground.apply(address=server.url, timeout="1h")
    await ground.look()
    assert ground.ready() == ("False", "SpecInvalid")
    assert server.asked == []


async def test_an_edit_is_looked_at_again_and_wakes_its_triggers(
    ground: Ground, server: MetricsServer
) -> None:
    is_well(server)
    assert ground.apply(address=server.url)
    await ground.look()
    assert not ground.apply(address=server.url), "our own status is no edit"
    assert ground.apply(generation=2, address=server.url, timeout="5s")


async def test_a_clusters_source_is_watched_with_the_clusters_rights_only(
    ground: Ground,
) -> None:
    assert ground.sources.watched == (KIND,)
    everywhere = Ground(HttpClient(), namespaces=())
    assert set(everywhere.sources.watched) == set(SourceKind)


async def test_a_clusters_source_has_a_status_of_its_own(server: MetricsServer) -> None:
    is_well(server)
    http = HttpClient()
    ground = Ground(http, namespaces=())
    kind, key = SourceKind.CLUSTER_METRICS_SOURCE, ("", "default")
    ground.kube.put("ClusterMetricsSource", *key, {"spec": {"address": server.url}})
    ground.sources.on_source(decode_source(kind, ground.kube._objects[kind.value, *key]))
    assert key in ground.sources.known(kind)
    await ground.sources._pass(key)
    await http.close()
    [patch] = ground.kube.patches
    assert patch["conditions"][0]["reason"] == "Answering"


async def test_another_replica_keeps_the_status(ground: Ground, server: MetricsServer) -> None:
    ground.sources.owns = lambda _: False
    ground.apply(address=server.url)
    assert await ground.look() == {}
    assert server.asked == []


async def test_a_source_that_changed_meanwhile_is_looked_at_later(
    ground: Ground, server: MetricsServer
) -> None:
    is_well(server)
    ground.apply(address=server.url)
    ground.kube.version += 1
    assert await ground.look() == {}
    ground.apply(address=server.url)
    await ground.look()
    assert ground.ready() == ("True", "Answering")


async def test_a_deleted_source_is_forgotten(ground: Ground, server: MetricsServer) -> None:
    is_well(server)
    ground.apply(address=server.url)
    assert ground.sources.on_source_gone(KEY, "another uid") is None
    assert ground.sources.on_source_gone(KEY, "platform") is not None
    ground.kube.remove("MetricsSource", *KEY)
    question = Question(
        source=SourceRef(kind=KIND, name="platform"),
        namespace="models",
        query="q",
        at=ground.clock.now(),
    )
    answer = await ground.sources.ask(question)
    assert isinstance(answer, Answer)
    assert answer.message == "there is no MetricsSource platform in namespace models"
    assert await ground.sources._pass(KEY) is None
