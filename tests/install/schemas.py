"""JSON schemas for kubeconform, made of what a real API server publishes, our kinds included.

Strict ones: a field that no schema knows is an error. kubeconform would else fetch schemas from the
network, of some version of Kubernetes, and none for our kinds.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Json = dict[str, Any]
_REF = "#/definitions/"
# What kubeconform calls a kind's file; the group up to its first dot.
LOCATION = "{{ .ResourceKind }}{{ .KindSuffix }}.json"


def write_schemas(openapi: Json, folder: Path) -> None:
    """Write one file per kind.

    Args:
        openapi: The document that the API server serves at /openapi/v2.
        folder: Where the files go.
    """
    definitions = {name: _strict(body) for name, body in openapi["definitions"].items()}
    for name, body in openapi["definitions"].items():
        for kind in body.get("x-kubernetes-group-version-kind", []):
            group = kind["group"].partition(".")[0]
            parts = [kind["kind"].lower(), group, kind["version"]]
            used = {other: definitions[other] for other in _reachable(definitions, name)}
            schema = {"$ref": _REF + name, "definitions": used}
            (folder / f"{'-'.join(filter(None, parts))}.json").write_text(json.dumps(schema))


def _strict(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("format") == "int-or-string":
        return {"type": ["string", "integer"]}
    made = {key: _strict(value) for key, value in schema.items()}
    is_closed = isinstance(schema.get("properties"), dict) and not schema.get(
        "x-kubernetes-preserve-unknown-fields"
    )
    return {"additionalProperties": False, **made} if is_closed else made


def _reachable(definitions: Json, start: str) -> set[str]:
    found, waiting = set[str](), [start]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _references(definitions[name])
    return found


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for item in schema:
            yield from _references(item)
    elif isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"].removeprefix(_REF)
        for value in schema.values():
            yield from _references(value)
