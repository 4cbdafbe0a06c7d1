"""A small API server as an immutable value: every request maps one state to the next.

Objects are canonical JSON bytes, so that states can be compared and hashed. A resourceVersion
counts the changes of its own object and a UID the creations of its name: two histories that differ
only in the order of independent writes end in the same state. A resourceVersion never comes back,
not even when an object is deleted and made again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import orjson

from drifttrigger.api.errors import (
    AlreadyExists,
    ConflictError,
    DriftTriggerError,
    NotFoundError,
    PermanentError,
    QuotaExceeded,
    TransientError,
    UnknownOutcome,
)
from drifttrigger.api.v1alpha1 import LABEL_ACTIVE

Json = dict[str, Any]
CREATED_AT = "2026-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Request:
    """One call of KubeApi, as data."""

    verb: str
    plural: str
    name: str
    body: bytes = b""
    labels: str = ""

    @property
    def is_write(self) -> bool:
        """Whether it changes something."""
        return self.verb not in ("get", "list")

    def __str__(self) -> str:
        return f"{self.verb} {self.plural} {self.name}".rstrip()


@dataclass(frozen=True, slots=True)
class Response:
    """What came back: a body, or the class and words of an error."""

    body: bytes = b""
    error: str = ""

    def unwrap(self) -> Any:
        """Return the body, or raise."""
        if self.error:
            raise _ERRORS[self.error](self.error)
        return orjson.loads(self.body) if self.body else None


_ERRORS: dict[str, type[DriftTriggerError]] = {
    "NotFound": NotFoundError,
    "AlreadyExists": AlreadyExists,
    "Conflict": ConflictError,
    "Unavailable": TransientError,
    "Lost": UnknownOutcome,
    "Invalid": PermanentError,
    "Quota": QuotaExceeded,
}
OBJECTS = ("drifttriggers", "retrainings", "jobs")
MARK = "deletionTimestamp"


@dataclass(frozen=True, slots=True)
class Server:
    """All objects, and what has been counted of names."""

    objects: frozenset[tuple[str, str, bytes]] = frozenset()
    created: frozenset[tuple[str, str, int]] = frozenset()
    checks_version: bool = True

    def read(self, plural: str, name: str) -> Json | None:
        """Return an object, None when there is none."""
        for kind, found, body in self.objects:
            if (kind, found) == (plural, name):
                result: Json = orjson.loads(body)
                return result
        return None

    def all(self, plural: str) -> list[Json]:
        """Return all objects of a kind, by name."""
        found = sorted((name, body) for kind, name, body in self.objects if kind == plural)
        return [orjson.loads(body) for _, body in found]

    def handle(self, request: Request) -> tuple[Server, Response]:
        """Carry out one request."""
        match request.verb:
            case "get":
                body = self.read(request.plural, request.name)
                return self, _found(body) if body else Response(error="NotFound")
            case "list":
                key, _, value = request.labels.partition("=")
                bodies = [
                    b
                    for b in self.all(request.plural)
                    if b["metadata"].get("labels", {}).get(key) == value
                ]
                return self, Response(orjson.dumps(bodies))
            case "create":
                return self._create(request)
            case "patch" | "patch-status":
                return self._patch(request)
            case "delete":
                return self._delete(request)
        raise AssertionError(request)

    def is_doomed(self, request: Request) -> bool:
        """Whether a write was decided on a version that is over, and so can never succeed."""
        if not self.checks_version or not request.verb.startswith("patch"):
            return False
        version = orjson.loads(request.body).get("metadata", {}).get("resourceVersion")
        if version is None:
            return False
        body = self.read(request.plural, request.name)
        return body is None or body["metadata"]["resourceVersion"] != version

    def _create(self, request: Request) -> tuple[Server, Response]:
        if self.read(request.plural, request.name) is not None:
            return self, Response(error="AlreadyExists")
        body = orjson.loads(request.body)
        key = (request.plural, request.name)
        counts = {(kind, name): number for kind, name, number in self.created}
        number = counts[key] = counts.get(key, 0) + 1
        body["metadata"] |= {
            "uid": f"{request.plural}/{request.name}/{number}",
            "resourceVersion": f"{number}000",
            "creationTimestamp": CREATED_AT,
            "generation": 1,
            "namespace": "ns",
        }
        created = frozenset((kind, name, n) for (kind, name), n in counts.items())
        return replace(self.put(request.plural, body), created=created), _found(body)

    def _patch(self, request: Request) -> tuple[Server, Response]:
        body = self.read(request.plural, request.name)
        if body is None:
            return self, Response(error="NotFound")
        patch = orjson.loads(request.body)
        version = patch.get("metadata", {}).pop("resourceVersion", None)
        patch.get("metadata", {}).pop("uid", None)  # a wrong uid in a patch is not refused
        if self.checks_version and version not in (None, body["metadata"]["resourceVersion"]):
            return self, Response(error="Conflict")
        if request.verb == "patch-status":
            patch = {"status": patch.get("status", {})}
        before = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
        merged = merge(body, patch)
        if orjson.dumps(merged, option=orjson.OPT_SORT_KEYS) != before:
            merged = changed(merged)
        return self.put(request.plural, merged), _found(merged)

    def _delete(self, request: Request) -> tuple[Server, Response]:
        body = self.read(request.plural, request.name)
        if body is None:
            return self, Response(error="NotFound")
        conditions = orjson.loads(request.body)
        for key in ("uid", "resourceVersion"):
            if conditions.get(key) not in (None, body["metadata"][key]):
                return self, Response(error="Conflict")
        return self.drop(request.plural, request.name), Response(b"{}")

    def put(self, plural: str, body: Json) -> Server:
        """Store an object as it is."""
        name = body["metadata"]["name"]
        kept = {o for o in self.objects if (o[0], o[1]) != (plural, name)}
        kept.add((plural, name, orjson.dumps(body, option=orjson.OPT_SORT_KEYS)))
        return replace(self, objects=frozenset(kept))

    def drop(self, plural: str, name: str) -> Server:
        """Remove an object; what it owned is left to the garbage collector."""
        kept = frozenset(o for o in self.objects if (o[0], o[1]) != (plural, name))
        return replace(self, objects=kept)

    def mark(self, plural: str, name: str) -> Server:
        """Begin a foreground deletion: the object stays for a while, being deleted."""
        body = self.read(plural, name)
        if body is None:
            return self
        body["metadata"] |= {MARK: CREATED_AT}
        return self.put(plural, changed(body))

    def marked(self) -> list[tuple[str, str]]:
        """Return kind and name of all that is being deleted."""
        return [
            (kind, body["metadata"]["name"])
            for kind in OBJECTS
            for body in self.all(kind)
            if MARK in body["metadata"]
        ]

    def orphans(self) -> list[tuple[str, str]]:
        """Return kind and name of all whose owner is gone or goes in the foreground."""
        bodies = [(kind, body) for kind in OBJECTS for body in self.all(kind)]
        alive = {b["metadata"]["uid"] for _, b in bodies if MARK not in b["metadata"]}
        return [
            (kind, body["metadata"]["name"])
            for kind, body in bodies
            if any(o["uid"] not in alive for o in body["metadata"].get("ownerReferences") or [])
        ]


def changed(body: Json) -> Json:
    """Count one more change of an object."""
    metadata = body["metadata"]
    version = str(int(metadata["resourceVersion"]) + 1)
    return {**body, "metadata": {**metadata, "resourceVersion": version}}


def merge(target: Any, patch: Any) -> Any:
    """Apply a JSON merge patch (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def is_unfinished(retraining: Json) -> bool:
    """Whether a Retraining still carries the label of the unfinished."""
    return retraining["metadata"].get("labels", {}).get(LABEL_ACTIVE) == "true"


def _found(body: Json) -> Response:
    return Response(orjson.dumps(body, option=orjson.OPT_SORT_KEYS))
