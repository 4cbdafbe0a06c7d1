"""The API server behind one narrow Protocol; raw dicts in and out.

Every call has a timeout; every refusal becomes one class of `api.errors`, with the server's own
words.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any, Protocol, TypeVar

import aiohttp
import msgspec
import orjson
from kubernetes.aio import config

from drifttrigger.api.errors import (
    AlreadyExists,
    ConflictError,
    DriftTriggerError,
    ForbiddenError,
    MissingRight,
    NamespaceGone,
    NotFoundError,
    PermanentError,
    QuotaExceeded,
    TransientError,
    UnknownOutcome,
)
from drifttrigger.api.v1alpha1 import API_VERSION
from drifttrigger.clients.transport import JSON, Query, Transport

Json = dict[str, Any]
REQUEST_SECONDS = 8.0
_NO_RIGHT = re.compile(r'User "(.*?)" cannot ')
PAGE_SIZE = 500
MERGE_PATCH = "application/merge-patch+json"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


class Resource(msgspec.Struct, frozen=True):
    """A kind of object, as the API server serves it."""

    api_version: str
    plural: str
    kind: str
    namespaced: bool = True

    def path(self, namespace: str | None, name: str | None = None, subresource: str = "") -> str:
        """Return the path of a collection, of an object or of its subresource."""
        root = "/api/" if "/" not in self.api_version else "/apis/"
        parts = [f"{root}{self.api_version}"]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts += [self.plural, *filter(None, (name, subresource))]
        return "/".join(parts)


DRIFT_TRIGGERS = Resource(API_VERSION, "drifttriggers", "DriftTrigger")
RETRAININGS = Resource(API_VERSION, "retrainings", "Retraining")
JOBS = Resource("batch/v1", "jobs", "Job")
EVENTS = Resource("v1", "events", "Event")
NAMESPACES = Resource("v1", "namespaces", "Namespace", namespaced=False)
LEASES = Resource("coordination.k8s.io/v1", "leases", "Lease")
SECRETS = Resource("v1", "secrets", "Secret")
CONFIG_MAPS = Resource("v1", "configmaps", "ConfigMap")
METRICS_SOURCES = Resource(API_VERSION, "metricssources", "MetricsSource")
CLUSTER_METRICS_SOURCES = Resource(
    API_VERSION, "clustermetricssources", "ClusterMetricsSource", namespaced=False
)
ACCESS_REVIEWS = Resource(
    "authorization.k8s.io/v1",
    "selfsubjectaccessreviews",
    "SelfSubjectAccessReview",
    namespaced=False,
)


class Metadata(msgspec.Struct, rename="camel"):
    """What tells an object from others; all else of it is never decoded."""

    name: str
    uid: str
    creation_timestamp: str
    namespace: str = ""
    labels: dict[str, str] | None = None


class _PartialObject(msgspec.Struct):
    metadata: Metadata


class _ListMeta(msgspec.Struct):
    token: str = msgspec.field(name="continue", default="")


class _Metadatas(msgspec.Struct):
    """A page of objects without their specs."""

    metadata: _ListMeta
    items: list[_PartialObject] | None = None


class _Objects(msgspec.Struct):
    """A page of whole objects."""

    metadata: _ListMeta
    items: list[Json] | None = None


PageT = TypeVar("PageT", _Metadatas, _Objects)


class KubeApi(Protocol):
    """What the controllers ask of an API server; each call is a quorum read or one write.

    All methods raise classes of `api.errors`. A write that got no answer raises UnknownOutcome.
    """

    async def get(self, resource: Resource, namespace: str, name: str) -> Json:
        """Read one object."""

    async def list_all(
        self, resource: Resource, namespace: str | None, *, labels: str = ""
    ) -> list[Json]:
        """Read all objects that carry the labels, page by page."""

    async def create(
        self, resource: Resource, namespace: str | None, body: Json, *, dry_run: bool = False
    ) -> Json:
        """Create an object under strict field validation."""

    async def patch(
        self, resource: Resource, namespace: str, name: str, patch: Json, *, subresource: str = ""
    ) -> Json:
        """Apply a JSON merge patch; it carries resourceVersion when it is a compare-and-swap."""

    async def delete(
        self, resource: Resource, namespace: str, name: str, *, preconditions: Json
    ) -> None:
        """Delete an object, in the background, if uid and resourceVersion are as stated."""


class KubernetesApi:
    """KubeApi on an API server.

    Args:
        transport: The way there.

    Attributes:
        requests: How many were sent, by verb, resource and status code.
    """

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.requests: dict[tuple[str, str, str], int] = {}

    @classmethod
    async def connect(
        cls, *, kubeconfig: str | None = None, context: str | None = None
    ) -> "KubernetesApi":
        """Log in: the kubeconfig named, else KUBECONFIG, else in-cluster, else ~/.kube/config.

        Raises:
            UsageError: There is none of them, or it can't be used.
        """
        return cls(await Transport.log_in(kubeconfig=kubeconfig, context=context))

    async def close(self) -> None:
        """Close all connections."""
        await self.transport.close()

    async def get(self, resource: Resource, namespace: str, name: str) -> Json:
        """Read one object."""
        return await self._send("GET", resource, resource.path(namespace, name))

    async def list_all(
        self, resource: Resource, namespace: str | None, *, labels: str = ""
    ) -> list[Json]:
        """Read all objects that carry the labels, page by page."""
        pages = self._pages(_Objects, resource, namespace, labels=labels, accept=JSON)
        return [item async for page in pages for item in page.items or ()]

    async def list_metadata(
        self, resource: Resource, namespace: str | None, *, labels: str = ""
    ) -> AsyncIterator[list[Metadata]]:
        """Yield the metadata alone of all objects that carry the labels, a page at a time."""
        pages = self._pages(_Metadatas, resource, namespace, labels=labels, accept=METADATA_LIST)
        async for page in pages:
            yield [item.metadata for item in page.items or ()]

    async def _pages(
        self,
        kind: type[PageT],
        resource: Resource,
        namespace: str | None,
        *,
        labels: str,
        accept: str,
    ) -> AsyncIterator[PageT]:
        query: list[tuple[str, str]] = [("limit", str(PAGE_SIZE))]
        query += [("labelSelector", labels)] if labels else []
        path, token = resource.path(namespace), ""
        while True:
            page_query = [*query, ("continue", token)] if token else query
            payload = await self._exchange("GET", resource, path, query=page_query, accept=accept)
            try:
                page = msgspec.json.decode(payload, type=kind)
            except msgspec.DecodeError as error:
                raise _lost("GET", path, error) from error
            yield page
            token = page.metadata.token
            if not token:
                return

    async def create(
        self, resource: Resource, namespace: str | None, body: Json, *, dry_run: bool = False
    ) -> Json:
        """Create an object under strict field validation."""
        query = [("fieldValidation", "Strict")] + ([("dryRun", "All")] if dry_run else [])
        return await self._send("POST", resource, resource.path(namespace), query=query, body=body)

    async def patch(
        self, resource: Resource, namespace: str, name: str, patch: Json, *, subresource: str = ""
    ) -> Json:
        """Apply a JSON merge patch."""
        path = resource.path(namespace, name, subresource)
        return await self._send("PATCH", resource, path, body=patch, content_type=MERGE_PATCH)

    async def delete(
        self, resource: Resource, namespace: str, name: str, *, preconditions: Json
    ) -> None:
        """Delete an object, in the background, if the preconditions hold."""
        body = {"propagationPolicy": "Background", "preconditions": preconditions}
        await self._send("DELETE", resource, resource.path(namespace, name), body=body)

    async def _send(
        self,
        method: str,
        resource: Resource,
        path: str,
        *,
        query: Query = (),
        body: Json | None = None,
        content_type: str = JSON,
    ) -> Json:
        payload = await self._exchange(
            method, resource, path, query=query, body=body, content_type=content_type
        )
        return _object_of(method, path, payload)

    async def _exchange(
        self,
        method: str,
        resource: Resource,
        path: str,
        *,
        query: Query = (),
        body: Json | None = None,
        content_type: str = JSON,
        accept: str = JSON,
    ) -> bytes:
        """Send one request; returns the body of a success."""
        headers = {"Accept": accept}
        if body is not None:
            headers["Content-Type"] = content_type
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                response = await self.transport.send(
                    method, path, query=query, body=body, headers=headers
                )
                payload = await response.read()
        except (TimeoutError, aiohttp.ClientError, config.ConfigException, OSError) as error:
            self._count(method, resource, "none")
            raise _lost(method, path, error) from error
        self._count(method, resource, str(response.status))
        if response.status < 300:
            return payload
        raise error_of(response.status, payload, response.headers.get("Retry-After"))

    def _count(self, method: str, resource: Resource, code: str) -> None:
        key = (method, resource.plural, code)
        self.requests[key] = self.requests.get(key, 0) + 1


def _object_of(method: str, path: str, payload: bytes) -> Json:
    """Read the object that an accepted request was answered with."""
    try:
        result = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise _lost(method, path, error) from error
    if not isinstance(result, dict):
        raise _lost(method, path, TypeError("the answer is no object"))
    return result


def _lost(method: str, path: str, error: Exception) -> TransientError:
    """Tell a write that may have happened from a request that was never sent."""
    text = f"{method} {path}: {type(error).__name__} {error}".rstrip()
    never_sent = isinstance(error, aiohttp.ClientConnectorError | config.ConfigException)
    if method == "GET" or never_sent:
        return TransientError(text)
    return UnknownOutcome(text)


def error_of(status: int, payload: bytes, retry_after: str | None = None) -> DriftTriggerError:
    """Turn a refusal of the API server into one class of our tree, in the server's words."""
    try:
        answer = orjson.loads(payload)
    except orjson.JSONDecodeError:
        answer = {}
    answer = answer if isinstance(answer, dict) else {}
    reason = str(answer.get("reason") or "")
    message = str(answer.get("message") or payload[:200].decode(errors="replace") or reason)
    if status == 429 or status >= 500:
        seconds = float(retry_after) if retry_after and retry_after.isdigit() else None
        return TransientError(f"{status} {message}", retry_after_seconds=seconds)
    details = answer.get("details")
    details = details if isinstance(details, dict) else {}
    if "NamespaceTerminating" in str(details.get("causes")):
        return NamespaceGone(message)
    if status == 401:  # a token that expired is re-read; nothing is said about the request
        return TransientError(f"401 {message}")
    if status == 409:
        return AlreadyExists(message) if reason == "AlreadyExists" else ConflictError(message)
    if status == 403 and (lacking := _NO_RIGHT.search(message)):
        return MissingRight(f"403 {message}", user=lacking[1])
    if status == 403:
        return QuotaExceeded(message) if "exceeded quota" in message else ForbiddenError(message)
    if status == 404:
        gone = details.get("kind") == "namespaces"
        return NamespaceGone(message) if gone else NotFoundError(message)
    if status == 410:
        return ConflictError(message)
    return PermanentError(message)
