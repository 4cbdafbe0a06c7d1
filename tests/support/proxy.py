"""A proxy that stands between a client and its server, and lets requests meet faults.

It speaks HTTP on loopback, and HTTPS with verification to a server that has a certificate. What a
client sends goes on as it is, its bearer token included; watches are streamed. Every request asks
the plan what is to happen to it.
"""

import asyncio
import contextlib
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import web
from yarl import URL

from support.faults import Fault, FaultPlan, Injection

_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "te", "upgrade"}
)
_VERBS = {"POST": "create", "PATCH": "patch", "PUT": "update", "DELETE": "delete"}
_LARGEST_BODY = 64 * 1024 * 1024

KindOf = Callable[[str, URL], str]
"""Names the kind of a request from method and URL."""


def kind_of_kubernetes(method: str, url: URL) -> str:
    """Name a request to an API server, as in `patch drifttriggers/status`."""
    parts = [part for part in url.path.split("/") if part]
    parts = parts[2:] if parts[:1] == ["api"] else parts[3:]
    if len(parts) > 2 and parts[0] == "namespaces":
        parts = parts[2:]
    if not parts:
        return "get discovery"
    resource = f"{parts[0]}/{parts[2]}" if len(parts) > 2 else parts[0]
    if method == "GET":
        is_watch = url.query.get("watch") in ("1", "true")
        return f"{'watch' if is_watch else 'get' if len(parts) > 1 else 'list'} {resource}"
    return f"{_VERBS.get(method, method.lower())} {resource}"


def kind_of_prometheus(_method: str, _url: URL) -> str:
    """Name a request to a metrics server."""
    return "query"


class Proxy:
    """A proxy in a thread of its own; a context manager.

    Args:
        server: URL of the server.
        plan: What happens to requests.
        kind_of: Names a request for the plan.
        ca_file: What an https server is verified with.
    """

    def __init__(
        self, server: str, plan: FaultPlan, *, kind_of: KindOf, ca_file: Path | None = None
    ) -> None:
        self.plan = plan
        self._server = server.rstrip("/")
        self._kind_of = kind_of
        self._tls = ssl.create_default_context(cafile=ca_file) if ca_file is not None else None
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._is_ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="proxy")

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._is_ready.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        app = web.Application(client_max_size=_LARGEST_BODY)
        app.router.add_route("*", "/{path:.*}", self._handle)
        listener = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        connector = aiohttp.TCPConnector(limit=0, ssl=self._tls or True)
        async with aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None),
            skip_auto_headers=("User-Agent", "Accept-Encoding", "Content-Type"),
        ) as self._session:
            await listener.setup()
            await web.SockSite(listener, self._socket).start()
            self._is_ready.set()
            await self._stop.wait()
            await listener.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        url = URL(f"{self._server}{request.raw_path}", encoded=True)
        kind = self._kind_of(request.method, url)
        body = await request.read()
        injection = self.plan.draw(kind)
        try:
            if kind.startswith("watch "):
                return await self._watch(request, url, kind, injection)
            if injection is None:
                return await self._send(request, url, body)
            return await self._disturb(request, url, body, kind, injection)
        except (aiohttp.ClientError, OSError):
            return _reset(request)

    async def _disturb(
        self, request: web.Request, url: URL, body: bytes, kind: str, injection: Injection
    ) -> web.StreamResponse:
        """Let one request meet its fault; one that the server never saw counts all the same."""
        fault = injection.fault
        self.plan.count(kind, fault)
        match fault:
            case Fault.DELAY:
                await asyncio.sleep(injection.seconds)
                return await self._send(request, url, body)
            case Fault.RESET_AFTER:
                await self._send(request, url, body)
            case Fault.HANG_BEFORE:
                await asyncio.sleep(injection.seconds)
            case Fault.HANG_AFTER:
                await self._send(request, url, body)
                await asyncio.sleep(injection.seconds)
            case Fault.LATE:
                await asyncio.sleep(injection.seconds)
                await self._send(request, url, body)
            case Fault.INTERNAL_AFTER:
                await self._send(request, url, body)
                return _answer(Fault.INTERNAL)
            case Fault.RESET_BEFORE:
                pass
            case _:
                return _answer(fault)
        return _reset(request)

    async def _send(self, request: web.Request, url: URL, body: bytes) -> web.Response:
        async with self._session.request(
            request.method,
            url,
            headers=_passed_on(request.headers),
            data=body or None,
            allow_redirects=False,
        ) as reply:
            content = await reply.read()
            return web.Response(
                status=reply.status, headers=_passed_on(reply.headers), body=content
            )

    async def _watch(
        self, request: web.Request, url: URL, kind: str, injection: Injection | None
    ) -> web.StreamResponse:
        fault = injection.fault if injection is not None else None
        if injection is not None and fault is not None:
            self.plan.count(kind, fault)
            if fault not in (Fault.DELAY, Fault.RESET_AFTER, Fault.GONE_IN_STREAM):
                await asyncio.sleep(injection.seconds if fault is Fault.HANG_BEFORE else 0)
                hard = fault in (Fault.HANG_BEFORE, Fault.RESET_BEFORE)
                return _reset(request) if hard else _answer(fault)
        async with self._session.get(url, headers=_passed_on(request.headers)) as reply:
            stream = web.StreamResponse(status=reply.status, headers=_passed_on(reply.headers))
            await stream.prepare(request)
            ends_early = fault in (Fault.RESET_AFTER, Fault.GONE_IN_STREAM)
            seconds = injection.seconds if injection is not None else 0.0
            if fault is Fault.DELAY:
                await asyncio.sleep(seconds)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds if ends_early else None):
                    async for chunk in reply.content.iter_any():
                        await stream.write(chunk)
            if fault is Fault.RESET_AFTER:
                return _reset(request)
            if fault is Fault.GONE_IN_STREAM:
                event = {"type": "ERROR", "object": _status(Fault.GONE)}
                await stream.write(json.dumps(event).encode() + b"\n")
            await stream.write_eof()
            return stream


_REFUSALS = {
    Fault.CONFLICT: (409, "Conflict", "Operation cannot be fulfilled: injected conflict"),
    Fault.GONE: (410, "Expired", "too old resource version: injected"),
    Fault.TOO_MANY: (429, "TooManyRequests", "injected: please try again later"),
    Fault.INTERNAL: (500, "InternalError", "injected internal error"),
    Fault.UNAVAILABLE: (503, "ServiceUnavailable", "injected: the server is currently unable"),
}


def _status(fault: Fault) -> dict[str, object]:
    code, reason, message = _REFUSALS[fault]
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }


def _answer(fault: Fault) -> web.Response:
    """Answer in place of the server."""
    if fault is Fault.PAGE:
        return web.Response(text="<html><body>Bad gateway</body></html>", content_type="text/html")
    if fault is Fault.TRUNCATED:
        body = '{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"va'
        return web.Response(text=body, content_type="application/json")
    if fault is Fault.NOT_A_NUMBER:
        sample = {"metric": {}, "value": [0, "NaN"]}
        data = {"resultType": "vector", "result": [sample]}
        return web.json_response({"status": "success", "data": data})
    headers = {"Retry-After": "1"} if fault is Fault.TOO_MANY else None
    return web.json_response(_status(fault), status=_REFUSALS[fault][0], headers=headers)


def _reset(request: web.Request) -> web.Response:
    """Break the connection off, so that the client sees a reset rather than an end."""
    transport = request.transport
    if transport is not None:
        raw = transport.get_extra_info("socket")
        if raw is not None and raw.fileno() >= 0:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response(status=500)  # never seen: its connection is gone


def _passed_on(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers.items() if name.lower() not in _HOP_BY_HOP]
