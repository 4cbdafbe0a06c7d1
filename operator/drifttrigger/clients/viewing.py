"""What a person's commands ask of the API server beyond `KubeApi`: Tables, watches, acting as.

A Table is the API server's own view of objects, with the columns that kubectl shows, so that the
definition of a kind stays the only place where columns are named.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence

import aiohttp
import orjson

from drifttrigger.api.errors import PermanentError, TransientError
from drifttrigger.clients.kube import REQUEST_SECONDS, Json, KubernetesApi, error_of
from drifttrigger.clients.transport import JSON, Query

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
_WATCH_SECONDS = 290


def act_as(kube: KubernetesApi, *, user: str, groups: Sequence[str] = ()) -> None:
    """Send every later request as somebody else; the API server checks that we may.

    Args:
        kube: The client.
        user: User name, as in `system:serviceaccount:NAMESPACE:NAME`.
        groups: Groups; each is a header of its own.
    """
    headers = kube.transport.headers
    headers["Impersonate-User"] = user
    for group in groups:
        headers.add("Impersonate-Group", group)


async def read(kube: KubernetesApi, path: str, *, query: Query = (), accept: str = JSON) -> Json:
    """Read one answer.

    Raises:
        TransientError: No answer came, or it can't be read.
        DriftTriggerError: The API server refuses; see `clients.kube.error_of`.
    """
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            headers = {"Accept": accept}
            response = await kube.transport.send("GET", path, query=query, headers=headers)
            payload = await response.read()
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        raise TransientError(f"GET {path}: {type(error).__name__} {error}".rstrip()) from error
    if response.status >= 300:
        raise error_of(response.status, payload)
    return _object(payload)


async def watch(
    kube: KubernetesApi, path: str, *, since: str, query: Query = (), accept: str = JSON
) -> AsyncIterator[tuple[str, Json]]:
    """Yield changes from a resourceVersion on, until the server ends the watch.

    Yields:
        What happened (ADDED, MODIFIED, DELETED, BOOKMARK) and the object, or its Table.

    Raises:
        ConflictError: The resourceVersion is too old: list again.
        TransientError: The connection broke.
    """
    asked = [("watch", "true"), ("resourceVersion", since), ("allowWatchBookmarks", "true")]
    asked += [("timeoutSeconds", str(_WATCH_SECONDS)), *query]
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            headers = {"Accept": accept}
            response = await kube.transport.send("GET", path, query=asked, headers=headers)
        if response.status >= 300:
            raise error_of(response.status, await response.read())
        async for line in response.content:
            yield _change(line)
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        raise TransientError(f"WATCH {path}: {type(error).__name__} {error}".rstrip()) from error


def _change(line: bytes) -> tuple[str, Json]:
    event = _object(line)
    kind, body = str(event.get("type")), event.get("object")
    if not isinstance(body, dict):
        raise PermanentError("the API server sent a watch event without an object")
    if kind == "ERROR":
        raise error_of(int(body.get("code") or 500), orjson.dumps(body))
    return kind, body


def _object(payload: bytes) -> Json:
    try:
        result = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise TransientError(f"the API server's answer is no JSON: {error}") from error
    if not isinstance(result, dict):
        raise TransientError("the API server's answer is no object")
    return result
