"""A metrics server on loopback that says what it is told, and remembers what it was asked."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from aiohttp import web

SCORE = (
    b'{"status":"success","data":{"resultType":"vector",'
    b'"result":[{"metric":{},"value":[1700000000,"0.3"]}]}}'
)


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    form: Mapping[str, str]
    headers: Mapping[str, str]


Answerer = Callable[[Asked], Awaitable[web.StreamResponse]]


@dataclass
class MetricsServer:
    """A server that runs.

    Args:
        url: Its base URL.
        answer: Makes the answer to one request; a score of 0.3 unless a test sets another.
        asked: The requests so far.
    """

    url: str
    answer: Answerer
    asked: list[Asked] = field(default_factory=list)

    def says(self, body: bytes, *, status: int = 200, headers: Mapping[str, str] = {}) -> None:
        """Give this answer from now on."""

        async def answer(_: Asked) -> web.Response:
            return web.Response(body=body, status=status, headers=dict(headers))

        self.answer = answer


@asynccontextmanager
async def metrics_server() -> AsyncIterator[MetricsServer]:
    """Run a server that speaks HTTP properly."""

    async def handle(request: web.Request) -> web.StreamResponse:
        form = await request.post() if request.method == "POST" else request.query
        asked = Asked(
            request.method,
            request.path,
            {key: str(value) for key, value in form.items()},
            {key.lower(): value for key, value in request.headers.items()},
        )
        server.asked.append(asked)
        return await server.answer(asked)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    server = MetricsServer(f"http://{host}:{port}", lambda _: asyncio.sleep(0, web.Response()))
    server.says(SCORE)
    try:
        yield server
    finally:
        await runner.cleanup()


@asynccontextmanager
async def raw_server(answer: bytes, *, resets: bool = False) -> AsyncIterator[str]:
    """Run a server that writes these bytes to whoever asks and hangs up.

    Args:
        answer: The bytes, HTTP or not.
        resets: Hang up by a reset instead of an end.
    """

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(answer)
        if resets:
            writer.transport.abort()
            return
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    async with server:
        yield f"http://{host}:{port}"


@contextmanager
def closed_address() -> Iterator[str]:
    """Hold a port on which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"
