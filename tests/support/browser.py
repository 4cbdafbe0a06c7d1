"""A real browser that tests and tools steer over the Chrome DevTools protocol.

A Chromium on PATH is taken first; else the one that PyQt6-WebEngine ships. Where neither starts,
the error says what to install: nothing is skipped.
"""

import asyncio
import base64
import importlib.util
import itertools
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp

from drifttrigger.local.ports import free_ports

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # it is refused to root, and only our own pages are opened
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)
_LISTENING = re.compile(r"DevTools listening on ws://([^/]+)/")
_START_SECONDS, _ANSWER_SECONDS = 60.0, 60.0
_INSTALL = "install the package chromium, or `pip install PyQt6-WebEngine` and what it needs"


class BrowserMissingError(Exception):
    """No browser starts; says what to install."""


class Tab:
    """One page of a browser.

    Attributes:
        requests: URLs of everything the page asked for since it was opened, itself included.
        complaints: Uncaught errors, dialogs, and what the page's policy refused.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._socket = socket
        self._numbers = itertools.count(1)
        self._loaded = asyncio.Event()
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reader = asyncio.create_task(self._read())

    async def open(self, url: str, *, width: int, height: int, mobile: bool = False) -> None:
        """Open a page in a window of this size, and wait until it is loaded."""
        for domain in ("Page", "Runtime", "Network", "Log"):
            await self.command(f"{domain}.enable")
        # A page without a window has no focus of its own, and its styles of :focus would not apply.
        await self.command("Emulation.setFocusEmulationEnabled", enabled=True)
        await self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=mobile,
        )
        self.requests.clear()
        self.complaints.clear()
        self._loaded.clear()
        await self.command("Page.navigate", url=url)
        await asyncio.wait_for(self._loaded.wait(), _ANSWER_SECONDS)

    async def prefer(self, scheme: str) -> None:
        """Ask pages for a colour scheme: `light` or `dark`."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        await self.command("Emulation.setEmulatedMedia", features=[feature])

    async def evaluate(self, script: str) -> Any:
        """Return the value of an expression, or what its promise comes to."""
        answer = await self.command(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"])
        return answer["result"].get("value")

    async def press(self, key: str) -> None:
        """Press a key on what has the focus."""
        for kind in ("keyDown", "keyUp"):
            await self.command("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    async def screenshot(self) -> bytes:
        """Return what the window shows, as a PNG."""
        found = await self.command("Page.captureScreenshot", format="png")
        return base64.b64decode(found["data"])

    async def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command of the protocol and return its result."""
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        return await asyncio.wait_for(answer, _ANSWER_SECONDS)

    async def close(self) -> None:
        """Let go of the page."""
        await self._socket.close()
        await self._reader

    async def _read(self) -> None:
        async for message in self._socket:
            found = message.json()
            waiting = self._waiting.pop(found.get("id", 0), None)
            if waiting is None:
                self._happened(found.get("method", ""), found.get("params", {}))
            elif "error" in found:
                waiting.set_exception(AssertionError(found["error"]))
            else:
                waiting.set_result(found["result"])

    def _happened(self, method: str, told: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self._loaded.set()
        elif method == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(told["exceptionDetails"]["text"])
        elif method == "Page.javascriptDialogOpening":
            self.complaints.append(f"dialog: {told['message']}")
        elif method == "Log.entryAdded":
            self.complaints.append(told["entry"]["text"])


@asynccontextmanager
async def browser(*, engine: str = "") -> AsyncIterator[Tab]:
    """Start a browser for the block and yield its page.

    Args:
        engine: `chromium` or `webengine`; empty for the first of them that is there.

    Raises:
        BrowserMissingError: None is there, or it does not start.
    """
    with _running(engine) as port:
        async with aiohttp.ClientSession() as session:
            tab = Tab(await session.ws_connect(await _page(session, port), max_msg_size=0))
            yield tab
            await tab.close()


@contextmanager
def _running(engine: str) -> Iterator[str]:
    """Run a browser for the block; yield host and port that it listens at."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        log = Path(folder, "log")
        with log.open("wb") as output:
            process = subprocess.Popen(
                _command(engine, folder), stderr=output, stdout=output, env=_environment()
            )
        try:
            yield _port_of(process, log)
        finally:
            process.terminate()
            process.wait(30)


def _environment() -> dict[str, str]:
    """Let a new Python find this package."""
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _command(engine: str, folder: str) -> list[str]:
    program = next((found for name in _PROGRAMS if (found := shutil.which(name))), None)
    if program is not None and engine in ("", "chromium"):
        return [program, *_FLAGS, f"--user-data-dir={folder}", "about:blank"]
    if engine != "chromium" and importlib.util.find_spec("PyQt6") is not None:
        [port] = free_ports(1)  # Qt knows no port 0
        return [sys.executable, "-m", "support.webengine", str(port)]
    raise BrowserMissingError(f"there is no browser; {_INSTALL}")


def _port_of(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if match := _LISTENING.search(log.read_text(errors="replace")):
            return match[1]
        time.sleep(0.05)
    said = "".join(log.read_text(errors="replace").splitlines(keepends=True)[-10:])
    raise BrowserMissingError(f"the browser does not start; {_INSTALL}\n{said}")


async def _page(session: aiohttp.ClientSession, port: str) -> str:
    async with asyncio.timeout(_START_SECONDS):
        while True:
            async with session.get(f"http://{port}/json/list") as answer:
                pages = [page for page in await answer.json() if page["type"] == "page"]
            if pages:
                return str(pages[0]["webSocketDebuggerUrl"])
            await asyncio.sleep(0.05)
