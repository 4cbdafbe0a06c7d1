"""A small API server as an immutable value: every request maps one state to the next.

Objects are canonical JSON bytes, so that states can be compared and hashed. A resourceVersion counts
the changes of its own object and a UID the creations of its name: two histories that differ only in
the order of independent writes end in the same state.
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
}
OBJECTS = ("drifttriggers", "retrainings", "jobs")


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
            merged["metadata"]["resourceVersion"] = str(int(body["metadata"]["resourceVersion"]) + 1)
        return self.put(request.plural, merged), _found(merged)

    def _delete(self, request: Request) -> tuple[Server, Response]:
        body = self.read(request.plural, request.name)
        if body is None:
            return self, Response(error="NotFound")
        conditions = orjson.loads(request.body)
        if conditions.get("uid") not in (None, body["metadata"]["uid"]):
            return self, Response(error="Conflict")
        return self.drop(request.plural, request.name), Response(b"{}")

    def put(self, plural: str, body: Json) -> Server:
        """Store an object as it is."""
        name = body["metadata"]["name"]
        kept = {o for o in self.objects if (o[0], o[1]) != (plural, name)}
        kept.add((plural, name, orjson.dumps(body, option=orjson.OPT_SORT_KEYS)))
        return replace(self, objects=frozenset(kept))

    def drop(self, plural: str, name: str) -> Server:
        """Remove an object, and what it owned."""
        gone = self.read(plural, name)
        kept = frozenset(o for o in self.objects if (o[0], o[1]) != (plural, name))
        server = replace(self, objects=kept)
        uid = gone["metadata"]["uid"] if gone else ""
        for kind in OBJECTS:
            for body in server.all(kind):
                owners = body["metadata"].get("ownerReferences") or []
                if any(owner["uid"] == uid for owner in owners):
                    server = server.drop(kind, body["metadata"]["name"])
        return server


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
