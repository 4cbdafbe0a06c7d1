"""The proxy of the chaos tests does to requests what its plan says, and nothing else."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from support.faults import Fault, FaultPlan, Injection
from support.proxy import Proxy, kind_of_kubernetes

JOBS = "/apis/batch/v1/namespaces/ml/jobs"
OURS = "/apis/drifttrigger.dev/v1alpha1"


class Scripted(FaultPlan):
    """A plan that deals exactly what a test says."""

    def __init__(self, *injections: Injection | None) -> None:
        super().__init__("test")
        self.script = list(injections)

    def draw(self, kind: str) -> Injection | None:
        return self.script.pop(0) if self.script else None


class Upstream:
    """A server that remembers what it was asked."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, bytes, str]] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        token = request.headers.get("Authorization", "")
        self.seen.append((request.method, str(request.rel_url), body, token))
        if "watch" in request.query:
            stream = web.StreamResponse(headers={"Content-Type": "application/json"})
            await stream.prepare(request)
            for number in range(3):
                await stream.write(json.dumps({"type": "ADDED", "n": number}).encode() + b"\n")
                await asyncio.sleep(0.05)
            return stream
        packed = gzip.compress(b'{"done": true}')
        headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        return web.Response(status=201, body=packed, headers=headers)


@asynccontextmanager
async def through(plan: FaultPlan) -> AsyncIterator[tuple[aiohttp.ClientSession, Upstream]]:
    upstream = Upstream()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", upstream.handle)
    async with TestServer(app) as server:
        with proxying(str(server.make_url("")), plan) as url:
            async with aiohttp.ClientSession(url) as session:
                yield session, upstream


@contextmanager
def proxying(server: str, plan: FaultPlan) -> Iterator[str]:
    with Proxy(server, plan, kind_of=kind_of_kubernetes) as proxy:
        yield proxy.url


async def post(session: aiohttp.ClientSession) -> tuple[int, object]:
    async with asyncio.timeout(5):
        async with session.post(f"{JOBS}?a=b%26c", data=b'{"x": 1}') as reply:
            return reply.status, await reply.json()


async def test_without_a_fault_request_and_reply_pass_as_they_are() -> None:
    async with through(Scripted()) as (session, upstream):
        session.headers["Authorization"] = "Bearer secret"
        assert await post(session) == (201, {"done": True})
    assert upstream.seen == [("POST", f"{JOBS}?a=b%26c", b'{"x": 1}', "Bearer secret")]


@pytest.mark.parametrize(
    ("fault", "arrives"),
    [
        (Fault.RESET_BEFORE, False),
        (Fault.HANG_BEFORE, False),
        (Fault.RESET_AFTER, True),
        (Fault.HANG_AFTER, True),
        (Fault.LATE, True),
    ],
)
async def test_a_reply_that_is_lost_says_nothing_of_the_write(
    fault: Fault, *, arrives: bool
) -> None:
    plan = Scripted(Injection(fault, 0.05))
    async with through(plan) as (session, upstream):
        with pytest.raises(aiohttp.ClientError):
            await post(session)
        assert len(upstream.seen) == int(arrives)
    assert plan.injected == {("create jobs", fault): 1}


async def test_a_late_write_lands_after_its_client_has_gone() -> None:
    async with through(Scripted(Injection(Fault.LATE, 0.3))) as (session, upstream):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await post(session)
        assert upstream.seen == []
        await asyncio.sleep(0.6)
        assert len(upstream.seen) == 1


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        (Fault.CONFLICT, 409, "Conflict"),
        (Fault.GONE, 410, "Expired"),
        (Fault.TOO_MANY, 429, "TooManyRequests"),
        (Fault.INTERNAL, 500, "InternalError"),
        (Fault.UNAVAILABLE, 503, "ServiceUnavailable"),
    ],
)
async def test_a_refusal_never_reaches_the_server(fault: Fault, status: int, reason: str) -> None:
    async with through(Scripted(Injection(fault))) as (session, upstream):
        code, body = await post(session)
        assert (code, body["reason"], body["code"]) == (status, reason, status)
        assert upstream.seen == []


async def test_a_429_says_when_to_come_back() -> None:
    plan = Scripted(Injection(Fault.TOO_MANY))
    async with through(plan) as (session, _), session.post(JOBS) as reply:
        assert reply.headers["Retry-After"] == "1"


async def test_a_500_after_commit_hides_that_the_write_happened() -> None:
    async with through(Scripted(Injection(Fault.INTERNAL_AFTER))) as (session, upstream):
        assert (await post(session))[0] == 500
        assert len(upstream.seen) == 1


async def test_a_watch_is_streamed_event_by_event() -> None:
    async with through(Scripted()) as (session, _), session.get(f"{JOBS}?watch=true") as reply:
        lines = [json.loads(line) async for line in reply.content]
    assert [line["n"] for line in lines] == [0, 1, 2]


async def test_a_watch_can_end_with_410_in_the_stream() -> None:
    plan = Scripted(Injection(Fault.GONE_IN_STREAM, 0.07))
    async with through(plan) as (session, _), session.get(f"{JOBS}?watch=true") as reply:
        *events, last = [json.loads(line) async for line in reply.content]
    assert 1 <= len(events) <= 2
    assert (last["type"], last["object"]["code"]) == ("ERROR", 410)


async def test_a_watch_can_be_reset_in_the_stream() -> None:
    async with through(Scripted(Injection(Fault.RESET_AFTER, 0.07))) as (session, _):
        with pytest.raises(aiohttp.ClientError):
            async with session.get(f"{JOBS}?watch=true") as reply:
                [line async for line in reply.content]


@pytest.mark.parametrize(
    ("fault", "start"),
    [
        (Fault.PAGE, b"<html>"),
        (Fault.TRUNCATED, b'{"status":"success"'),
        (Fault.NOT_A_NUMBER, b'{"status": "success"'),
    ],
)
async def test_a_metrics_server_can_lie(fault: Fault, start: bytes) -> None:
    async with through(Scripted(Injection(fault))) as (session, upstream):
        async with session.post("/api/v1/query", data={"query": "up"}) as reply:
            assert reply.status == 200
            assert (await reply.read()).startswith(start)
        assert upstream.seen == []


async def test_a_server_that_is_down_looks_like_a_reset() -> None:
    with proxying("http://127.0.0.1:1", Scripted()) as url:
        async with aiohttp.ClientSession(url) as session:
            with pytest.raises(aiohttp.ClientError):
                await post(session)


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        (
            "GET",
            "/apis/drifttrigger.dev/v1alpha1/namespaces/a/drifttriggers/t",
            "get drifttriggers",
        ),
        ("GET", f"{OURS}/retrainings?limit=5", "list retrainings"),
        ("GET", f"{JOBS}?watch=true&x=1", "watch jobs"),
        ("POST", JOBS, "create jobs"),
        ("PATCH", f"{JOBS}/j", "patch jobs"),
        ("PATCH", f"{OURS}/namespaces/a/drifttriggers/t/status", "patch drifttriggers/status"),
        ("DELETE", f"{JOBS}/j", "delete jobs"),
        ("POST", "/api/v1/namespaces/a/events", "create events"),
        ("GET", "/apis/batch/v1", "get discovery"),
        ("GET", "/api", "get discovery"),
    ],
)
def test_requests_have_names(method: str, path: str, kind: str) -> None:
    assert kind_of_kubernetes(method, URL(path)) == kind


def test_a_seed_repeats_the_faults_of_each_kind_whatever_comes_between() -> None:
    first, second = FaultPlan("7"), FaultPlan("7")
    alone = [first.draw("create jobs") for _ in range(200)]
    mixed = []
    for _ in range(200):
        second.draw("query")
        mixed.append(second.draw("create jobs"))
    assert alone == mixed
    assert alone != [FaultPlan("8").draw("create jobs") for _ in range(200)]


def test_a_kind_meets_every_fault_before_it_meets_one_again() -> None:
    plan = FaultPlan("7", rates={"watch": 1.0})
    met = [injection.fault for _ in range(9) if (injection := plan.draw("watch jobs"))]
    assert len(set(met)) == 9
    assert Fault.GONE_IN_STREAM in met


def test_a_plan_that_is_off_injects_nothing() -> None:
    plan = FaultPlan("7", rates={"get": 1.0}, is_on=False)
    assert plan.draw("get jobs") is None
