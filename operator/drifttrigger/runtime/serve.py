"""The two listeners: metrics for Prometheus, health for the kubelet. Nothing else listens.

/healthz says whether the loop makes progress; /readyz whether the caches are synced and the watches
have been heard lately.
"""

import asyncio
from collections.abc import Callable

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from drifttrigger.api.errors import UsageError

Probe = Callable[[], str]
"""Returns what is wrong; empty when nothing is."""


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


def metrics_app(registry: CollectorRegistry) -> web.Application:
    """Serve /metrics, rendered off the loop."""

    async def handle(_request: web.Request) -> web.Response:
        body = await asyncio.to_thread(generate_latest, registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/metrics", handle)
    return app
