"""One server with one set of credentials: who waits for whom, and whose trouble a failure is."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
import pytest
from aiohttp import web

from drifttrigger.api.errors import CredentialError
from drifttrigger.api.reasons import Outcome
from drifttrigger.api.servers import PrometheusServer
from drifttrigger.clients.http import HttpClient, HttpFailure
from drifttrigger.clients.secrets import Secrets
from drifttrigger.core.observation import Answer
from drifttrigger.sources.base import Question
from drifttrigger.sources.connection import Connection
from drifttrigger.sources.health import Refusal
from drifttrigger.sources.prometheus import PrometheusSource
from support.clock import FakeClock
from support.metrics_server import SCORE, Asked, MetricsServer, metrics_server, raw_server
from support.vault import Vault

AT = datetime(2026, 3, 2, 12, tzinfo=UTC)
PASSWORD = {"secretKeyRef": {"name": "login", "key": "password"}}
BASIC = {"basic": {"username": "u", "passwordFrom": PASSWORD}}
PLANTED = "planted-4Vb8"
PATH = "/api/v1/query"


def basic(password: str) -> str:
    return f"Basic {base64.b64encode(f'u:{password}'.encode()).decode()}"


class Ground:
    """A source on a fake clock, with Secrets in memory."""

    def __init__(self) -> None:
        self.clock, self.vault, self.http = FakeClock(), Vault(), HttpClient()
        self.vault.secret("login", password=PLANTED)
        secrets = Secrets(self.vault, self.clock)  # type: ignore[arg-type] # only reads
        self.source = PrometheusSource(self.http, secrets, self.clock, max_in_flight=2)

    def connection(self, address: str, **block: Any) -> Connection:
        return self.source.connection(server_block(address, **block), "models")

    async def ask(self, address: str, *, query: str = "q", **block: Any) -> Answer:
        question = Question(
            source=server_block(address, **block), namespace="models", query=query, at=AT
        )
        return await self.source.ask(question)


def server_block(address: str, **block: Any) -> PrometheusServer:
    return msgspec.convert({"address": address, "timeout": "1s", **block}, PrometheusServer)


@pytest.fixture
async def ground() -> AsyncIterator[Ground]:
    made = Ground()
    yield made
    await made.http.close()


@pytest.fixture
async def server() -> AsyncIterator[MetricsServer]:
    async with metrics_server() as running:
        yield running


def wants(server: MetricsServer, password: str) -> None:
    """Answer only to whoever shows this password; say to the others what they sent."""

    async def answer(asked: Asked) -> web.Response:
        shown = asked.headers.get("authorization", "")
        if shown == basic(password):
            return web.Response(body=SCORE)
        return web.Response(status=401, text=f"{'.' * 280} no: {shown}")

    server.answer = answer


class Hanging(NamedTuple):
    url: str
    is_asked: asyncio.Event


@asynccontextmanager
async def hanging() -> AsyncIterator[Hanging]:
    is_asked = asyncio.Event()

    async def answer(_: Asked) -> web.Response:
        is_asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with metrics_server() as server:
        server.answer = answer
        yield Hanging(server.url, is_asked)


# Rotation.


async def test_a_refused_password_is_read_again_and_sent_once_more(
    ground: Ground, server: MetricsServer
) -> None:
    wants(server, PLANTED)
    assert (await ground.ask(server.url, auth=BASIC)).failure is None
    wants(server, "second")
    ground.vault.secret("login", password="second")
    assert (await ground.ask(server.url, auth=BASIC)).failure is None
    shown = [asked.headers["authorization"] for asked in server.asked]
    assert shown == [basic(PLANTED), basic(PLANTED), basic("second")]


async def test_a_refused_password_that_has_not_changed_is_sent_once(
    ground: Ground, server: MetricsServer
) -> None:
    wants(server, "another")
    answer = await ground.ask(server.url, auth=BASIC)
    assert answer.failure is Outcome.UNAUTHORIZED
    assert len(server.asked) == 1
    assert len(ground.vault.reads) == 2


async def test_half_a_secret_is_not_told_either(ground: Ground, server: MetricsServer) -> None:
    wants(server, "another")
    first = await ground.ask(server.url, auth=BASIC)
    held = await ground.ask(server.url, auth=BASIC)
    for answer in (first, held):
        assert basic(PLANTED).removeprefix("Basic ")[:8] not in answer.message
        assert "no: Basic [hidden]" in answer.message


async def test_what_is_no_http_repeats_no_secret(ground: Ground) -> None:
    async with raw_server(f"you sent {basic(PLANTED)} {PLANTED}\r\n\r\n".encode()) as url:
        answer = await ground.ask(url, auth=BASIC)
    assert answer.failure is Outcome.UNREACHABLE
    assert "[hidden] [hidden]" in answer.message
    assert PLANTED not in answer.message


# Whose trouble is it?


async def test_a_closed_port_backs_off_for_all_who_ask_there(ground: Ground) -> None:
    async with metrics_server() as gone:
        url = gone.url
    first = await ground.ask(url)
    second = await ground.ask(url, query="other", auth=BASIC)
    assert (first.failure, first.is_held) == (Outcome.UNREACHABLE, False)
    assert (second.failure, second.is_held) == (Outcome.UNREACHABLE, True)
    assert "can't connect" in second.message


@pytest.mark.parametrize("status", [401, 403])
async def test_refused_credentials_back_off_for_those_who_show_them(
    status: int, ground: Ground, server: MetricsServer
) -> None:
    server.says(b"no", status=status)
    assert not (await ground.ask(server.url, auth=BASIC)).is_held
    again = await ground.ask(server.url, query="other", auth=BASIC)
    assert (again.failure, again.is_held) == (Outcome.UNAUTHORIZED, True)
    assert f"HTTP {status}: no" in again.message
    server.says(SCORE)
    assert (await ground.ask(server.url)).failure is None


async def test_a_server_that_is_asked_too_much_is_left_as_long_as_it_wishes(
    ground: Ground, server: MetricsServer
) -> None:
    server.says(b"slow down", status=429, headers={"Retry-After": "30"})
    await ground.ask(server.url, auth=BASIC)
    held = await ground.ask(server.url, auth=BASIC)
    assert (held.failure, held.is_held) == (Outcome.UNREACHABLE, True)
    assert held.retry_after_seconds == 30
    server.says(SCORE)
    assert (await ground.ask(server.url)).failure is None
    ground.clock.move(30)
    assert (await ground.ask(server.url, auth=BASIC)).failure is None


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, b'{"status":"error","errorType":"bad_data","error":"x"}'),
        (503, b'{"status":"error","errorType":"timeout","error":"x"}'),
        (404, b"no such page"),
        (302, b""),
        (200, b"<html>"),
        (200, b" " * (9 * 1024 * 1024)),
    ],
    ids=["bad PromQL", "PromQL too slow", "404", "a redirect", "a page", "too large"],
)
async def test_what_concerns_one_query_delays_no_other(
    status: int, body: bytes, ground: Ground, server: MetricsServer
) -> None:
    server.says(body, status=status)
    for query in ("a", "b", "c", "d"):
        answer = await ground.ask(server.url, query=query)
        assert answer.failure is not None
        assert not answer.is_held


async def test_three_different_queries_that_time_out_are_the_servers_trouble(
    ground: Ground,
) -> None:
    async with hanging() as server:
        found = [await ground.ask(server.url, query=query) for query in ("a", "a", "b", "c", "d")]
    assert [answer.is_held for answer in found] == [False] * 4 + [True]
    assert all("no whole answer within 1 s" in answer.message for answer in found)


async def test_pages_of_a_proxy_for_three_queries_are_the_servers_trouble(
    ground: Ground, server: MetricsServer
) -> None:
    server.says(b"<html>bad gateway", status=502)
    found = [await ground.ask(server.url, query=query) for query in ("a", "b", "c", "d")]
    assert [answer.is_held for answer in found] == [False] * 3 + [True]


async def test_a_server_that_answers_again_is_asked_by_all(
    ground: Ground, server: MetricsServer
) -> None:
    server.says(b"<html>", status=502)
    for query in ("a", "b", "c"):
        await ground.ask(server.url, query=query)
    server.says(SCORE)
    ground.clock.move(2)
    found = await asyncio.gather(*(ground.ask(server.url, query=q) for q in "defgh"))
    assert sum(answer.is_held for answer in found) == 4
    assert (await ground.ask(server.url, query="i")).failure is None


# What a credential can't do to others.


async def test_a_missing_secret_is_nobody_elses_trouble(
    ground: Ground, server: MetricsServer
) -> None:
    ground.vault.remove("Secret", "models", "login")
    for _ in range(4):
        answer = await ground.ask(server.url, auth=BASIC)
        assert answer.failure is Outcome.UNAUTHORIZED
        assert "there is no Secret models/login" in answer.message
    assert server.asked == []
    assert (await ground.ask(server.url)).failure is None


def oauth2(url: str) -> dict[str, Any]:
    return {"oauth2": {"tokenURL": url, "clientID": "me", "clientSecretFrom": PASSWORD}}


async def test_a_token_endpoint_that_is_down_is_nobody_elses_trouble(
    ground: Ground, server: MetricsServer
) -> None:
    async with metrics_server() as gone:
        tokens = oauth2(gone.url)
    answer = await ground.ask(server.url, auth=tokens)
    assert answer.failure is Outcome.UNAUTHORIZED
    assert "auth.oauth2.tokenURL: can't connect" in answer.message
    assert (await ground.ask(server.url, auth=tokens)).is_held
    other = await ground.ask(server.url)
    assert other.failure is None


async def test_a_token_endpoint_that_hangs_takes_no_slot_of_the_server(
    ground: Ground, server: MetricsServer
) -> None:
    async with hanging() as tokens:
        waiting = [
            asyncio.create_task(ground.ask(server.url, query=q, auth=oauth2(tokens.url)))
            for q in "abcd"
        ]
        await tokens.is_asked.wait()
        for query in "efgh":
            assert (await ground.ask(server.url, query=query)).failure is None
        found = await asyncio.gather(*waiting)
    assert {answer.failure for answer in found} == {Outcome.UNAUTHORIZED}
    assert "the credentials could not be had within 1 s" in found[0].message
    assert not (await ground.ask(server.url, query="z")).is_held


# Slots.


async def test_no_more_requests_are_under_way_than_there_are_slots(
    ground: Ground, server: MetricsServer
) -> None:
    under_way: list[int] = [0]
    most = 0

    async def answer(_: Asked) -> web.Response:
        nonlocal most
        under_way[0] += 1
        most = max(most, under_way[0])
        await asyncio.sleep(0.02)
        under_way[0] -= 1
        return web.Response(body=SCORE)

    server.answer = answer
    found = await asyncio.gather(*(ground.ask(server.url, query=q) for q in "abcdefghij"))
    assert all(answer.failure is None for answer in found)
    assert most == 2


async def test_who_waited_for_a_slot_hears_what_was_learned_meanwhile(
    ground: Ground, server: MetricsServer
) -> None:
    wants(server, "another")
    found = await asyncio.gather(*(ground.ask(server.url, query=q, auth=BASIC) for q in "abcdefgh"))
    assert all(answer.failure is Outcome.UNAUTHORIZED for answer in found)
    assert len(server.asked) == 2, "those in the two slots"


async def test_the_same_address_with_other_credentials_shares_its_slots(ground: Ground) -> None:
    one, other = ground.connection("http://p"), ground.connection("http://p", auth=BASIC)
    assert one is not other
    assert one.endpoint is other.endpoint
    assert ground.connection("http://p") is one
    elsewhere = ground.connection("http://q")
    assert elsewhere.endpoint is not one.endpoint


async def test_tls_of_another_namespace_is_another_server(ground: Ground) -> None:
    authority = {"configMapKeyRef": {"name": "ca", "key": "ca.crt"}}
    block = server_block("https://p", tls={"caFrom": authority})
    one, other = (ground.source.connection(block, namespace) for namespace in ("a", "b"))
    assert one.endpoint is not other.endpoint


async def test_a_connection_that_nobody_uses_is_forgotten(
    ground: Ground, server: MetricsServer
) -> None:
    await ground.ask(server.url)
    assert ground.source.health() == {server.url: True}
    ground.clock.move(24 * 3600)
    assert ground.source.health() == {}


async def test_health_tells_the_address_that_fails(ground: Ground, server: MetricsServer) -> None:
    async with metrics_server() as gone:
        url = gone.url
    await ground.ask(url)
    await ground.ask(server.url)
    assert ground.source.health() == {url: False, server.url: True}


# What each request carries.


async def test_parameters_and_headers_go_with_each_request(
    ground: Ground, server: MetricsServer
) -> None:
    seen: list[str] = []

    async def answer(asked: Asked) -> web.Response:
        seen.append(asked.headers["x-scope-orgid"])
        return web.Response(body=SCORE)

    server.answer = answer
    block = {
        "headers": [{"name": "X-Scope-OrgID", "value": "team-a"}],
        "queryParameters": [
            {"name": "partial_response", "value": "false"},
            {"name": "dedup", "value": "a&b=c d"},
        ],
    }
    connection = ground.connection(server.url + "/prefix/", **block)
    await connection.exchange(PATH, {"query": "q"})
    await connection.exchange(PATH, {"query": "q"}, method="GET")
    assert seen == ["team-a"] * 2
    assert {asked.path for asked in server.asked} == {"/prefix" + PATH}
    assert server.asked[0].form == {"query": "q", "timeout": "1s"}
    assert server.asked[1].form == {
        "partial_response": "false",
        "dedup": "a&b=c d",
        "query": "q",
        "timeout": "1s",
    }


@pytest.mark.parametrize("kind", [Refusal, HttpFailure, CredentialError])
async def test_a_trial_that_ends_in_any_way_lets_the_next_one_try(
    kind: type[Exception], ground: Ground, server: MetricsServer
) -> None:
    server.says(b"no", status=401)
    connection = ground.connection(server.url, auth=BASIC)
    await connection.exchange(PATH, {"query": "q"})
    ground.clock.move(200)
    if kind is CredentialError:
        ground.vault.remove("Secret", "models", "login")
    elif kind is HttpFailure:
        async with metrics_server() as gone:
            connection = ground.connection(gone.url, auth=BASIC)
    else:
        connection.endpoint.backoff.failed("down")
    with pytest.raises(kind):
        await connection.exchange(PATH, {"query": "q"})
    ground.clock.move(200)
    assert connection.backoff.admit() is connection.backoff.is_open
    connection.endpoint.backoff.admit()
