"""Tokens by client credentials: kept until they expire, one refresh at a time, no secret told."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from aiohttp import web

from drifttrigger.api.errors import CredentialError
from drifttrigger.api.servers import OAuth2, PrometheusServer
from drifttrigger.clients.http import HttpClient
from drifttrigger.clients.secrets import Secrets
from drifttrigger.sources.credentials import Credentials
from drifttrigger.sources.oauth2 import TokenSource
from support.clock import FakeClock
from support.metrics_server import Asked, MetricsServer, closed_address, metrics_server, raw_server
from support.vault import Vault

SECRET = "planted/4Vb8 ä"
CODED = base64.b64encode(b"me%3A1:planted%2F4Vb8%20%C3%A4").decode()


@pytest.fixture
async def server() -> AsyncIterator[MetricsServer]:
    async with metrics_server() as running:
        gives(running)
        yield running


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    client = HttpClient()
    yield client
    await client.close()


def gives(server: MetricsServer, **more: Any) -> None:
    """Give a new token to every request."""

    async def answer(_: Asked) -> web.Response:
        token = f"token-{len(server.asked)}"
        return web.json_response({"access_token": token, "token_type": "Bearer", **more})

    server.answer = answer


def tokens(url: str, http: HttpClient, clock: FakeClock, **more: Any) -> TokenSource:
    fields = {"tokenURL": url, "clientID": "me:1", **more}
    ref = {"secretKeyRef": {"name": "client", "key": "secret"}}
    oauth2 = msgspec.convert({"clientSecretFrom": ref, **fields}, OAuth2)
    return TokenSource(oauth2, http, clock)


async def test_a_client_shows_itself_in_a_header_first(
    server: MetricsServer, http: HttpClient
) -> None:
    source = tokens(server.url + "/t?a=b", http, FakeClock(), scopes=["read", "write"])
    assert await source.token(SECRET, tls=None, renew=False) == "token-1"
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("POST", "/t")
    assert asked.form == {"grant_type": "client_credentials", "scope": "read write"}
    assert asked.headers["authorization"] == f"Basic {CODED}"


async def test_a_server_that_wants_it_in_the_body_gets_it_there_from_then_on(
    server: MetricsServer, http: HttpClient
) -> None:
    async def answer(asked: Asked) -> web.Response:
        if "client_secret" not in asked.form:
            return web.json_response({"error": "invalid_client"}, status=401)
        return web.json_response({"access_token": "t"})

    server.answer = answer
    source = tokens(server.url, http, FakeClock())
    for _ in range(2):
        assert await source.token(SECRET, tls=None, renew=True) == "t"
    assert ["client_secret" in asked.form for asked in server.asked] == [False, True, True]
    assert server.asked[1].form["client_secret"] == SECRET
    assert server.asked[1].form["client_id"] == "me:1"
    assert "authorization" not in server.asked[1].headers


@pytest.mark.parametrize(
    ("expires_in", "kept", "renewed"),
    [
        (3600, 3569, 3571),
        (100, 89, 91),
        (1, 0.5, 1.5),
        (None, 269, 271),
        (-5, 269, 271),
        (True, 269, 271),
        ("3600", 269, 271),
        (10**9, 86_300, 86_401),
    ],
    ids=str,
)
async def test_a_token_is_kept_until_shortly_before_it_expires(
    expires_in: object, kept: float, renewed: float, server: MetricsServer, http: HttpClient
) -> None:
    clock = FakeClock()
    gives(server, **({} if expires_in is None else {"expires_in": expires_in}))
    source = tokens(server.url, http, clock)
    await source.token(SECRET, tls=None, renew=False)
    clock.move(kept)
    assert await source.token(SECRET, tls=None, renew=False) == "token-1"
    clock.move(renewed - kept)
    assert await source.token(SECRET, tls=None, renew=False) == "token-2"


async def test_a_rotated_client_secret_fetches_a_new_token(
    server: MetricsServer, http: HttpClient
) -> None:
    source = tokens(server.url, http, FakeClock())
    await source.token(SECRET, tls=None, renew=False)
    assert await source.token("another", tls=None, renew=False) == "token-2"


def echoed(**answer: str) -> bytes:
    return json.dumps(answer).encode()


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        pytest.param(
            400,
            echoed(error="invalid_scope", error_description="no scope x"),
            "gave no token: invalid_scope no scope x",
            id="an error",
        ),
        pytest.param(
            401,
            echoed(error="invalid_client", error_description=f"{SECRET} {CODED} planted%2F4Vb8"),
            "gave no token: invalid_client [hidden] [hidden]",
            id="an echo",
        ),
        pytest.param(200, b"{}", "gave no token: HTTP 200", id="no token"),
        pytest.param(200, b"[1]", "gave no token: HTTP 200", id="no object"),
        pytest.param(200, b"<html>", "gave no token: HTTP 200", id="a page"),
        pytest.param(200, b'{"access_token": 5}', "gave no token", id="a number"),
        pytest.param(200, b'{"access_token": "a\\nb"}', "gave no token", id="a line break"),
        pytest.param(302, b"", "gave no token: HTTP 302", id="a redirect"),
        pytest.param(503, b"down", "gave no token: HTTP 503", id="down"),
    ],
)
async def test_no_token_is_said_without_the_secret(
    status: int, body: bytes, words: str, server: MetricsServer, http: HttpClient
) -> None:
    server.says(body, status=status)
    with pytest.raises(CredentialError) as caught:
        await tokens(server.url, http, FakeClock()).token(SECRET, tls=None, renew=False)
    assert f"auth.oauth2.tokenURL {words}" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert CODED not in str(caught.value)
    assert len(str(caught.value)) < 300


async def test_an_endpoint_that_is_not_there_is_named(http: HttpClient) -> None:
    with closed_address() as url, pytest.raises(CredentialError) as caught:
        await tokens(url, http, FakeClock()).token(SECRET, tls=None, renew=False)
    assert str(caught.value).startswith("auth.oauth2.tokenURL: can't connect")


async def test_an_endpoint_that_speaks_no_http_repeats_no_secret(http: HttpClient) -> None:
    async with raw_server(f"Basic {CODED} {SECRET}\r\n\r\n".encode()) as url:
        with pytest.raises(CredentialError) as caught:
            await tokens(url, http, FakeClock()).token(SECRET, tls=None, renew=False)
    assert "auth.oauth2.tokenURL" in str(caught.value)
    assert CODED not in str(caught.value)
    assert caught.value.__cause__ is None


def credentials(url: str, http: HttpClient, clock: FakeClock) -> tuple[Credentials, Vault]:
    vault = Vault()
    vault.secret("client", secret=SECRET)
    ref = {"secretKeyRef": {"name": "client", "key": "secret"}}
    oauth2 = {"tokenURL": url, "clientID": "me:1", "clientSecretFrom": ref}
    block = {"address": "http://p", "auth": {"oauth2": oauth2}}
    server = msgspec.convert(block, PrometheusServer)
    secrets = Secrets(vault, clock)  # type: ignore[arg-type] # only reads
    return Credentials(server, "models", secrets=secrets, http=http, clock=clock), vault


async def test_many_who_ask_at_once_share_one_token(
    server: MetricsServer, http: HttpClient
) -> None:
    held, _ = credentials(server.url, http, FakeClock())
    found = await asyncio.gather(*(held.material() for _ in range(20)))
    assert {m.headers for m in found} == {(("Authorization", "Bearer token-1"),)}
    assert len(server.asked) == 1


async def test_many_who_are_refused_at_once_share_one_refresh(
    server: MetricsServer, http: HttpClient
) -> None:
    held, _ = credentials(server.url, http, FakeClock())
    first = await held.material()
    found = await asyncio.gather(*(held.material(refused=first) for _ in range(20)))
    assert {m.headers for m in found} == {(("Authorization", "Bearer token-2"),)}
    assert len(server.asked) == 2


async def test_token_and_client_secret_are_both_hidden(
    server: MetricsServer, http: HttpClient
) -> None:
    held, _ = credentials(server.url, http, FakeClock())
    material = await held.material()
    assert material.redact(f"token-1 {SECRET}") == "[hidden] [hidden]"


async def test_a_token_that_expired_is_fetched_anew(
    server: MetricsServer, http: HttpClient
) -> None:
    clock = FakeClock()
    gives(server, expires_in=10)
    held, _ = credentials(server.url, http, clock)
    await held.material()
    clock.move(8)
    assert (await held.material()).headers[0][1] == "Bearer token-1"
    clock.move(2)
    assert (await held.material()).headers[0][1] == "Bearer token-2"
