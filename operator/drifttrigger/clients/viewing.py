"""What a person's commands ask of the API server beyond `KubeApi`: Tables, watches, acting as.

A Table is the API server's own view of objects, with the columns that kubectl shows, so that the
definition of a kind stays the only place where columns are named.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace

import aiohttp
import orjson

from drifttrigger.api.errors import PermanentError, TransientError
from drifttrigger.clients.kube import JSON, REQUEST_SECONDS, Json, KubernetesApi, error_of

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
_WATCH_SECONDS = 290
_Query = Sequence[tuple[str, str]]


def act_as(kube: KubernetesApi, *, user: str, groups: Sequence[str] = ()) -> None:
    """Send every later request as somebody else; the API server checks that we may.

    Args:
        kube: A client that has not sent anything yet.
        user: User name, as in `system:serviceaccount:NAMESPACE:NAME`.
        groups: Groups; each is a header of its own, so they can't go through a plain dict.
    """

    async def add(
        _session: aiohttp.ClientSession,
        _context: SimpleNamespace,
        request: aiohttp.TraceRequestStartParams,
    ) -> None:
        request.headers["Impersonate-User"] = user
        for group in groups:
            request.headers.add("Impersonate-Group", group)

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(add)
    kube.api_client.configuration.trace_configs = [trace]


async def read(kube: KubernetesApi, path: str, *, query: _Query = (), accept: str = JSON) -> Json:
    """Read one answer.

    Raises:
        TransientError: No answer came, or it can't be read.
        DriftTriggerError: The API server refuses; see `clients.kube.error_of`.
    """
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            response = await _send(kube, path, query=query, accept=accept)
            payload = await response.read()
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        raise TransientError(f"GET {path}: {type(error).__name__} {error}".rstrip()) from error
    if response.status >= 300:
        raise error_of(response.status, payload)
    return _object(payload)


async def watch(
    kube: KubernetesApi, path: str, *, since: str, query: _Query = (), accept: str = JSON
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
        response = await _send(kube, path, query=asked, accept=accept, is_endless=True)
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


async def _send(
    kube: KubernetesApi, path: str, *, query: _Query, accept: str, is_endless: bool = False
) -> aiohttp.ClientResponse:
    client = kube.api_client
    serialized = await client.param_serialize(
        method="GET",
        resource_path=path,
        query_params=list(query),
        header_params={"Accept": accept},
        auth_settings=["BearerToken"],
    )
    _, url, headers, _, _ = serialized
    timeout = aiohttp.ClientTimeout(
        total=None if is_endless else REQUEST_SECONDS, sock_connect=REQUEST_SECONDS
    )
    sent = await client.call_api("GET", url, headers, None, _request_timeout=timeout)
    response: aiohttp.ClientResponse = sent.response
    return response


def _object(payload: bytes) -> Json:
    try:
        result = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise TransientError(f"the API server's answer is no JSON: {error}") from error
    if not isinstance(result, dict):
        raise TransientError("the API server's answer is no object")
    return result
