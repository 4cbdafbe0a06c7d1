"""The two listeners: metrics for Prometheus, health for the kubelet. Nothing else listens.

/healthz says whether the loop makes progress; /readyz whether the caches are synced and the watches
have been heard lately.
"""

import asyncio
from collections.abc import Callable, Iterable

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from drifttrigger.api.errors import UsageError

Probe = Callable[[], str]
"""Returns what is wrong; empty when nothing is."""
Series = Callable[[], Iterable[str]]
"""Returns pieces of a page of metrics, in Prometheus' text format."""


async def start_listener(address: tuple[str, int], app: web.Application) -> web.AppRunner:
    """Listen.

    Raises:
        UsageError: The address can't be had.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    host, port = address
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        raise UsageError(f"can't listen on {host}:{port}: {error.strerror}") from error
    return runner


def health_app(*, live: Probe, ready: Probe) -> web.Application:
    """Serve /healthz and /readyz."""

    def answer(probe: Probe) -> Callable[[web.Request], object]:
        async def handle(_request: web.Request) -> web.Response:
            problem = probe()
            return web.Response(text=problem or "ok", status=503 if problem else 200)

        return handle

    app = web.Application()
    app.router.add_get("/healthz", answer(live))  # type: ignore[arg-type] # aiohttp's handler type
    app.router.add_get("/readyz", answer(ready))  # type: ignore[arg-type] # aiohttp's handler type
    return app


def metrics_app(registry: CollectorRegistry, series: Series = lambda: ()) -> web.Application:
    """Serve /metrics.

    Args:
        registry: What is few, rendered at once.
        series: What is many, in pieces; the loop does other things between two of them.
    """

    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": CONTENT_TYPE_LATEST})
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        await response.write(generate_latest(registry))
        for piece in series():
            await response.write(piece.encode())
            await asyncio.sleep(0)
        await response.write_eof()
        return response

    app = web.Application()
    app.router.add_get("/metrics", handle)
    return app
