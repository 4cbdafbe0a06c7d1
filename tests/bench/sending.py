"""Thousands of requests to the API server, several at a time, quickly.

The benchmark's own load: an asyncio client takes an eighth of the CPU that threads take for it, and
what it takes would be missing for the servers.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import orjson

from bench.errors import BenchError

AT_ONCE = 16
_PATCH = "application/merge-patch+json"
_TRIES = 5
_GOOD = frozenset({200, 201})
_TRANSIENT = frozenset({409, 429, 500, 503, 504})
Body = dict[str, Any]
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        method: GET, POST, PATCH (a merge patch) or DELETE.
        path: As the API server knows it.
        body: What is sent; None for nothing.
    """

    method: str
    path: str
    body: Body | None = None


class Sender:
    """A client within one asyncio loop; see `sender`."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def send(self, request: Request) -> Body:
        """Send one request; busy servers are asked again.

        Raises:
            BenchError: It is refused.
        """
        headers = {"Content-Type": _PATCH if request.method == "PATCH" else "application/json"}
        data = None if request.body is None else orjson.dumps(request.body)
        said = b""
        for attempt in range(_TRIES):
            async with self._session.request(
                request.method, self._url + request.path, data=data, headers=headers
            ) as response:
                said = await response.read()
                if response.status in _GOOD:
                    answer: Body = orjson.loads(said)
                    return answer
                # A repeated create whose first reply was lost is done; so is a repeated delete.
                if attempt and _is_done(request.method, response.status):
                    return {}
                if response.status not in _TRANSIENT:
                    break
            await asyncio.sleep(0.2 * 2**attempt)
        raise BenchError(f"{request.method} {request.path}: {said.decode()[:500]}")


def _is_done(method: str, status: int) -> bool:
    return (method, status) in {("POST", 409), ("DELETE", 404)}


def send_all(url: str, requests: Sequence[Request], *, ca_file: Path, token: str) -> list[Body]:
    """Send requests in any order; returns the answers in the order of the requests.

    Raises:
        BenchError: One is refused.
    """

    async def work(sender: Sender) -> list[Body]:
        return await in_parallel(requests, sender.send)

    return run_with_sender(work, url=url, ca_file=ca_file, token=token)


def run_with_sender(
    work: Callable[[Sender], Awaitable[Item]], *, url: str, ca_file: Path, token: str
) -> Item:
    """Run a coroutine that has a client, in a loop of its own."""

    async def run() -> Item:
        context = ssl.create_default_context(cafile=ca_file)
        connector = aiohttp.TCPConnector(limit=AT_ONCE, ssl=context)
        headers = {"Authorization": f"Bearer {token}"}
        async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
            return await work(Sender(session, url))

    return asyncio.run(run())


async def in_parallel(
    items: Sequence[Item], work: Callable[[Item], Awaitable[Body]], *, at_once: int = AT_ONCE
) -> list[Body]:
    """Do something with every item, several at a time; the first failure ends it."""
    answers: list[Body] = [{} for _ in items]
    todo = iter(enumerate(items))

    async def worker(numbered: Iterable[tuple[int, Item]]) -> None:
        for number, item in numbered:
            answers[number] = await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(at_once, len(items))):
                group.create_task(worker(todo))
    except ExceptionGroup as several:
        raise several.exceptions[0] from several
    return answers
