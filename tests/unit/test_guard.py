"""No source leads to metadata services, link-local addresses or the operator's own pod."""

import ipaddress
import socket
from typing import Any

import pytest

from drifttrigger.clients import guard
from drifttrigger.clients.guard import GuardedSockets, refusal_of
from drifttrigger.clients.http import HttpClient, HttpFailure, HttpProblem, HttpRequest
from support.metrics_server import metrics_server

NEVER = [
    "169.254.169.254",
    "169.254.0.1",
    "169.254.170.2",
    "fe80::1",
    "fe80::1%eth0",
    "febf::1",
    "fd00:ec2::254",
    "100.100.100.200",
    "168.63.129.16",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "::ffff:100.100.100.200",
    "::ffff:168.63.129.16",
    "64:ff9b::169.254.169.254",
    "64:ff9b::6464:64c8",
    "2002:a9fe:a9fe::1",
    "224.0.0.1",
    "ff02::1",
]
ANY = str(ipaddress.IPv4Address(0))
LOOPBACK = ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1", "::", "64:ff9b::7f00:1", ANY]
ALLOWED = ["10.0.0.1", "192.168.1.1", "8.8.8.8", "100.64.0.1", "fd00:ec2::253", "2001:db8::1"]


@pytest.mark.parametrize("address", NEVER)
def test_an_address_is_refused_wherever_this_runs(address: str) -> None:
    assert refusal_of(address, loopback=True)


@pytest.mark.parametrize("address", LOOPBACK)
def test_loopback_is_refused_in_a_pod_only(address: str) -> None:
    assert refusal_of(address, loopback=False) == "an address of the operator's own pod"
    assert refusal_of(address, loopback=True) == ""


@pytest.mark.parametrize("address", ALLOWED)
def test_any_other_address_is_allowed(address: str) -> None:
    assert refusal_of(address, loopback=False) == ""


@pytest.mark.parametrize("address", [*NEVER, *LOOPBACK])
def test_no_socket_is_made_for_a_refused_address(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    where = (address, 80, 0, 0) if ":" in address else (address, 80)
    with pytest.raises(OSError, match="which sources must not lead to"):
        GuardedSockets(loopback=False)((family, socket.SOCK_STREAM, 6, "", where))


async def failure_of(url: str, *, loopback: bool = True) -> HttpFailure:
    http = HttpClient(loopback=loopback)
    try:
        with pytest.raises(HttpFailure) as caught:
            await http.send(HttpRequest(method="POST", url=url, timeout_seconds=5))
    finally:
        await http.close()
    return caught.value


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("169.254.169.254", "which sources must not lead to"),
        ("[::ffff:169.254.169.254]", "which sources must not lead to"),
        ("[fe80::1]", "which sources must not lead to"),
        ("0xa9fea9fe", "which sources must not lead to"),
        ("2852039166", "no URL"),
        ("0251.0376.0251.0376", "no URL"),
    ],
)
async def test_a_request_to_a_refused_address_is_not_sent_however_it_is_written(
    host: str, words: str
) -> None:
    failure = await failure_of(f"http://{host}/latest/meta-data")
    assert failure.problem is HttpProblem.CONNECT
    assert words in str(failure)


async def test_a_name_is_judged_by_the_address_that_is_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def resolve(_host: object, port: object, *_: object, **__: object) -> list[Any]:
        asked.append(port)
        where = ("169.254.169.254", port)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", where)]

    asked: list[object] = []
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    failure = await failure_of("http://metrics.example/")
    assert asked == [80]
    assert "169.254.169.254 is a link-local or metadata address" in str(failure)


async def test_in_a_pod_a_server_on_loopback_is_not_asked() -> None:
    async with metrics_server() as server:
        for host in ("127.0.0.1", "localhost", ANY, "[::ffff:127.0.0.1]"):
            failure = await failure_of(server.url.replace("127.0.0.1", host), loopback=False)
            assert "which sources must not lead to" in str(failure), host
        assert server.asked == []


def test_a_pod_is_known_by_what_the_kubelet_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert not guard.runs_in_a_pod()
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert guard.runs_in_a_pod()
