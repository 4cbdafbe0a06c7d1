"""The Prometheus client against servers on loopback that answer, lie, hang and hang up."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from drifttrigger.api.reasons import Outcome
from drifttrigger.api.servers import PrometheusServer
from drifttrigger.clients.clock import SystemClock
from drifttrigger.clients.http import MAX_BYTES, HttpClient
from drifttrigger.clients.secrets import Secrets
from drifttrigger.core.observation import Answer, Observation, observe
from drifttrigger.sources.base import Question
from drifttrigger.sources.prometheus import PrometheusSource
from support.answers import Row, answers
from support.builders import rules, tick
from support.metrics_server import (
    SCORE,
    Asked,
    MetricsServer,
    closed_address,
    metrics_server,
    raw_server,
)

AT = datetime(2026, 3, 2, 12, 0, 0, 250_000, tzinfo=UTC)


@pytest.fixture
async def server() -> AsyncIterator[MetricsServer]:
    async with metrics_server() as running:
        yield running


@pytest.fixture
async def source() -> AsyncIterator[PrometheusSource]:
    http = HttpClient()
    clock = SystemClock()
    yield PrometheusSource(http, Secrets(None, clock), clock)
    await http.close()


def question(address: str, *, seconds: int = 5, query: str = "max(drift)") -> Question:
    server = PrometheusServer(address=address, timeout=f"{seconds}s")
    return Question(source=server, namespace="models", query=query, at=AT)


def named(answer: Answer, **spec: Any) -> Observation:
    return observe(rules(**spec), answer, tick(1))


@pytest.mark.parametrize("row", answers())
async def test_an_answer_over_http_has_its_name(
    row: Row, server: MetricsServer, source: PrometheusSource
) -> None:
    server.says(row.body, status=row.status, headers=row.headers)
    row.check(named(await source.ask(question(server.url)), **row.spec))
    assert len(server.asked) == 1


# What is asked.


async def test_a_question_is_a_form_at_its_own_instant(
    server: MetricsServer, source: PrometheusSource
) -> None:
    query = 'max(drift{a="ü&+%;="}) # end\n'
    await source.ask(question(server.url + "/prefix/", query=query, seconds=90))
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("POST", "/prefix/api/v1/query")
    assert asked.form == {"query": query, "time": f"{AT.timestamp():.3f}", "timeout": "1m30s"}
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"


@pytest.mark.parametrize("status", [405, 501])
async def test_a_server_that_takes_no_post_gets_get_from_then_on(
    status: int, server: MetricsServer, source: PrometheusSource
) -> None:
    async def answer(asked: Asked) -> web.Response:
        if asked.method == "POST":
            return web.Response(status=status)
        return web.Response(body=SCORE)

    server.answer = answer
    query = 'max(drift{a="ü&+%;="}) # end\n'
    for _ in range(2):
        reply = await source.ask(question(server.url, query=query))
        assert named(reply).score == 0.3
    assert [asked.method for asked in server.asked] == ["POST", "GET", "GET"]
    assert server.asked[1].form == server.asked[0].form


async def test_get_is_remembered_for_that_server_alone(
    server: MetricsServer, source: PrometheusSource
) -> None:
    server.says(b"", status=405)
    await source.ask(question(server.url))
    async with metrics_server() as other:
        await source.ask(question(other.url))
        assert [asked.method for asked in other.asked] == ["POST"]


async def test_a_server_that_takes_neither_is_unreachable(
    server: MetricsServer, source: PrometheusSource
) -> None:
    server.says(b"no", status=405)
    answer = await source.ask(question(server.url))
    assert answer.failure is Outcome.UNREACHABLE
    assert "HTTP 405" in answer.message


async def test_post_and_get_share_one_timeout(
    server: MetricsServer, source: PrometheusSource
) -> None:
    async def answer(_: Asked) -> web.Response:
        await asyncio.sleep(0.7)
        return web.Response(status=405)

    server.answer = answer
    heard = await source.ask(question(server.url, seconds=1))
    assert heard.message == f"{server.url}: no whole answer within 1 s"
    assert [asked.method for asked in server.asked] == ["POST", "GET"]


async def test_a_redirect_is_not_followed(server: MetricsServer, source: PrometheusSource) -> None:
    async with metrics_server() as target:
        server.says(b"", status=307, headers={"Location": target.url + "/api/v1/query"})
        answer = await source.ask(question(server.url))
        assert answer.failure is Outcome.UNREACHABLE
        assert f"HTTP 307 redirects to {target.url.rpartition(':')[0]}" in answer.message
        assert target.asked == []


@pytest.mark.parametrize(
    ("location", "named"),
    [
        ("https://u:pw-7Qx2@login.example/sso?token=pw-7Qx2#pw-7Qx2", "https://login.example/sso"),
        ("/login?next=pw-7Qx2", "/login"),
        ("//other.example/a;b", "//other.example/a;b"),
        ("http://[::1", "an address that is no URL"),
        ("", "nowhere"),
        ("https://a.example/" + "x" * 4000, "https://a.example/xxx"),
    ],
    ids=["user, query and fragment", "a path", "another host", "no URL", "empty", "endless"],
)
async def test_a_redirect_is_named_without_what_may_be_secret(
    location: str, named: str, server: MetricsServer, source: PrometheusSource
) -> None:
    server.says(b"", status=302, headers={"Location": location})
    answer = await source.ask(question(server.url))
    assert f"HTTP 302 redirects to {named}" in answer.message
    assert "pw-7Qx2" not in answer.message
    assert len(answer.message) < 400


async def test_no_proxy_from_the_environment_is_used(
    server: MetricsServer, source: PrometheusSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closed_address() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy)
        assert named(await source.ask(question(server.url))).score == 0.3


async def test_no_cookie_is_kept(server: MetricsServer, source: PrometheusSource) -> None:
    server.says(SCORE, headers={"Set-Cookie": "session=1; Path=/"})
    for _ in range(2):
        await source.ask(question(server.url))
    assert all("cookie" not in asked.headers for asked in server.asked)


# Time.


async def test_silence_ends_with_the_timeout(
    server: MetricsServer, source: PrometheusSource
) -> None:
    async def answer(_: Asked) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    server.answer = answer
    heard = await source.ask(question(server.url, seconds=1))
    assert heard.failure is Outcome.UNREACHABLE
    assert heard.message == f"{server.url}: no whole answer within 1 s"


async def test_a_body_that_stops_ends_with_the_timeout(
    server: MetricsServer, source: PrometheusSource
) -> None:
    half_is_sent = asyncio.Event()

    async def answer(_: Asked) -> web.StreamResponse:
        raise AssertionError

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + SCORE)
        await writer.drain()
        half_is_sent.set()
        await reader.read()
        writer.close()

    server.answer = answer
    async with await asyncio.start_server(handle, "127.0.0.1", 0) as hanging:
        port = hanging.sockets[0].getsockname()[1]
        heard = await source.ask(question(f"http://127.0.0.1:{port}", seconds=1))
    assert half_is_sent.is_set()
    assert heard.failure is Outcome.UNREACHABLE
    assert "no whole answer" in heard.message


async def test_one_silent_server_delays_no_other(
    server: MetricsServer, source: PrometheusSource
) -> None:
    is_asked = asyncio.Event()

    async def answer(_: Asked) -> web.Response:
        is_asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    server.answer = answer
    silent = asyncio.create_task(source.ask(question(server.url, seconds=30)))
    await is_asked.wait()
    async with metrics_server() as other:
        assert named(await source.ask(question(other.url))).score == 0.3
    assert not silent.done()
    silent.cancel()
    with pytest.raises(asyncio.CancelledError):
        await silent


# Size.


def padded(size: int) -> bytes:
    return SCORE + b" " * (size - len(SCORE))


@pytest.mark.parametrize(
    ("size", "outcome"),
    [
        pytest.param(MAX_BYTES, Outcome.SCORE, id="8 MiB are read"),
        pytest.param(MAX_BYTES + 1, Outcome.TOO_LARGE, id="a byte more is too large"),
    ],
)
@pytest.mark.parametrize("encoding", ["identity", "gzip", "deflate"])
async def test_an_answer_is_capped_after_decompression(
    size: int,
    outcome: Outcome,
    encoding: str,
    server: MetricsServer,
    source: PrometheusSource,
) -> None:
    pack = {"identity": bytes, "gzip": gzip.compress, "deflate": zlib.compress}[encoding]
    server.says(pack(padded(size)), headers={"Content-Encoding": encoding})
    assert named(await source.ask(question(server.url))).outcome is outcome


async def test_a_bomb_is_too_large(server: MetricsServer, source: PrometheusSource) -> None:
    bomb = gzip.compress(b"0" * 128 * 1024 * 1024, compresslevel=1)
    assert len(bomb) < 1024 * 1024
    server.says(bomb, headers={"Content-Encoding": "gzip"})
    answer = await source.ask(question(server.url))
    assert answer.failure is Outcome.TOO_LARGE
    assert named(await _after(server, source)).score == 0.3


async def _after(server: MetricsServer, source: PrometheusSource) -> Answer:
    server.says(SCORE)
    return await source.ask(question(server.url))


# What is no answer.


@pytest.mark.parametrize(
    ("answer", "resets"),
    [
        pytest.param(b"", False, id="hangs up at once"),
        pytest.param(b"", True, id="resets at once"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{", False, id="half a body"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Le", False, id="half a head"),
        pytest.param(b"\x15\x03\x01\x00\x02\x02\x50", False, id="an alert of TLS"),
        pytest.param(b"SSH-2.0-OpenSSH_9.6\r\n", False, id="another protocol"),
        pytest.param(b"HTTP/1.1 abc\r\n\r\n", False, id="a status that is none"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, False, id="a head without end"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}", False, id="a negative length"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n" + SCORE,
            False,
            id="chunks that are none",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
            False,
            id="a chunk that stops",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
            False,
            id="gzip that is none",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n"
            + gzip.compress(SCORE)[:-12],
            False,
            id="gzip that stops",
        ),
    ],
)
async def test_what_is_no_answer_is_no_score(
    answer: bytes, resets: bool, source: PrometheusSource
) -> None:
    async with raw_server(answer, resets=resets) as url:
        heard = await source.ask(question(url))
    assert heard.failure in (Outcome.UNREACHABLE, Outcome.MALFORMED)
    assert heard.message
    assert not heard.samples


async def test_a_server_that_hangs_up_is_said_to(source: PrometheusSource) -> None:
    async with raw_server(b"", resets=True) as url:
        answer = await source.ask(question(url))
    assert answer.message == f"{url}: the server hung up before it answered"


@pytest.mark.parametrize(
    "headers",
    [
        b"Retry-After: \xc2\xb2\r\n",
        b"Retry-After: \xff\xfe\r\n",
        b"Content-Type: \xff\xfe\r\n",
        b"Content-Type: text/html; charset=nonsense\r\n",
    ],
    ids=["a superscript two", "no text", "no type", "a charset that is none"],
)
async def test_odd_headers_do_no_harm(headers: bytes, source: PrometheusSource) -> None:
    head = b"HTTP/1.1 429 Slow\r\nConnection: close\r\n" + headers + b"\r\n"
    async with raw_server(head + b"slow down") as url:
        heard = await source.ask(question(url))
    assert heard.failure is Outcome.UNREACHABLE
    assert heard.retry_after_seconds is None


async def test_tls_to_a_plain_port_is_unreachable_and_says_tls(
    server: MetricsServer, source: PrometheusSource
) -> None:
    answer = await source.ask(question(server.url.replace("http://", "https://")))
    assert answer.failure is Outcome.UNREACHABLE
    assert "TLS" in answer.message


async def test_a_closed_port_is_unreachable(source: PrometheusSource) -> None:
    with closed_address() as url:
        answer = await source.ask(question(url))
    assert answer.failure is Outcome.UNREACHABLE
    assert "can't connect" in answer.message


@pytest.mark.parametrize(
    "address",
    [
        "http://[::1",
        "http://127.0.0.1:99999",
        "http://",
        "no address",
        "ftp://127.0.0.1",
        "http://\x00",
    ],
)
async def test_an_address_that_is_none_is_unreachable(
    address: str, source: PrometheusSource
) -> None:
    answer = await source.ask(question(address))
    assert answer.failure is Outcome.UNREACHABLE


async def test_a_server_that_comes_back_is_asked_again(source: PrometheusSource) -> None:
    async with metrics_server() as first:
        assert named(await source.ask(question(first.url))).score == 0.3
    answer = await source.ask(question(first.url))
    assert answer.failure is Outcome.UNREACHABLE
