"""Writes reference pages from what is the truth: `python tools/reference.py api`, and others.

Pages are committed under docs/reference/ and a test holds each against its source, so that a page
can be read without any tool and never lags behind.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from reference_process import cli_page, events_page, metrics_page

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("drifttriggers", "retrainings", "metricssources", "clustermetricssources")
DURATION_PATTERN = "^([0-9]{1,8}w)?"
LONGEST_CHOICE = 6
_VALIDATIONS = "x-kubernetes-validations"

API_HEAD = """\
# API reference

Generated from `crds/*.yaml` by `python tools/reference.py api`; edit those files, not this one.

Group `drifttrigger.dev`, version `v1alpha1`. A **bold** field is required. Durations are written
as in Prometheus: whole numbers with the units `w`, `d`, `h`, `m` and `s`, largest first, such as
`90s`, `1h30m`, `1d` or `2w`. Times are RFC 3339. Unknown fields are refused under strict
validation, which is what kubectl asks for.
"""


class Level(NamedTuple):
    """One object of a schema: where it stands, and its schema."""

    path: str
    schema: dict[str, Any]


def api_page() -> str:
    """Write the reference of every kind."""
    kinds = [yaml.safe_load((ROOT / "crds" / f"{name}.yaml").read_text()) for name in KINDS]
    parts = [API_HEAD, _contents(kinds)]
    for crd in kinds:
        parts.extend(_kind(crd["spec"]))
    return "\n".join(parts)


def _contents(kinds: list[dict[str, Any]]) -> str:
    lines = []
    for crd in kinds:
        kind = crd["spec"]["names"]["kind"]
        parts = (_link(part, f"{kind}.{part}") for part in ("spec", "status"))
        lines.append(f"- {_link(kind, kind)}: {', '.join(parts)}")
    return "\n".join([*lines, ""])


def _kind(spec: dict[str, Any]) -> Iterator[str]:
    names = spec["names"]
    version, schema = _version(spec)
    columns = version["additionalPrinterColumns"]
    short = "".join(f", short `{name}`" for name in names.get("shortNames", []))
    yield f"## {names['kind']}\n"
    yield f"{schema['description']}\n"
    yield (
        f"{spec['scope']}. `kubectl get {names['plural']}`{short}; with every kind of the group:"
        f" `kubectl get {names['categories'][0]}`. Columns:"
        f" {_columns(columns, 0)}{_wide(columns)}.\n"
    )
    yield from _rules(schema)
    for level in _levels(Level(names["kind"], schema)):
        yield f"### {level.path}\n"
        yield f"{_prose(level.schema)}\n"
        yield from _table(level)
        yield from _rules(level.schema)


def _version(spec: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    (version,) = spec["versions"]
    return version, version["schema"]["openAPIV3Schema"]


def _levels(level: Level) -> Iterator[Level]:
    """Yield every object below a level that has fields of its own, in the order of the file."""
    for name, child in level.schema.get("properties", {}).items():
        if "description" not in child:
            continue  # metadata: the API server's own
        below, mark = (child["items"], "[]") if "items" in child else (child, "")
        if "properties" in below:
            found = Level(f"{level.path}.{name}{mark}", below)
            yield found
            yield from _levels(found)


def _table(level: Level) -> Iterator[str]:
    rows = ["| field | type | default | meaning |", "|---|---|---|---|"]
    required = level.schema.get("required", [])
    for name, child in level.schema["properties"].items():
        shown = f"**`{name}`**" if name in required else f"`{name}`"
        default = f"`{_plain(child['default'])}`" if "default" in child else ""
        kind = _type(child, f"{level.path}.{name}")
        rows.append(f"| {shown} | {kind} | {default} | {_meaning(child)} |")
    yield "\n".join([*rows, ""])
    if level.schema.get("x-kubernetes-preserve-unknown-fields"):
        yield "Any other field is kept as it is written.\n"


def _rules(schema: dict[str, Any]) -> Iterator[str]:
    """Yield what the rules of an object, and of its scalar and map fields, say."""
    fields = [f for f in schema.get("properties", {}).values() if "properties" not in f]
    messages = [
        rule["message"] for node in (schema, *fields) for rule in node.get(_VALIDATIONS, [])
    ]
    if messages:
        yield "\n".join(["Rules, in the words of the API server:\n", *_bullets(messages), ""])


def _bullets(messages: list[str]) -> Iterator[str]:
    yield from (f"- {_escaped(message)}" for message in messages)


def _type(schema: dict[str, Any], path: str) -> str:
    """Name the type of a field, with its bounds."""
    if "items" in schema:
        items = schema["items"]
        kind = _link("object", f"{path}[]") if "properties" in items else _type(items, path)
        return f"list, ≤ {schema['maxItems']}: {kind}"
    if "properties" in schema:
        return _link("object", path)
    if "additionalProperties" in schema:
        values = _type(schema["additionalProperties"], path)
        return f"map, ≤ {schema['maxProperties']}: {values}"
    if "enum" in schema and len(schema["enum"]) > LONGEST_CHOICE:
        return "one of the words at the right"
    if "enum" in schema:
        return " or ".join(f"`{choice}`" for choice in schema["enum"])
    if "type" not in schema:
        return "object, any fields"
    return _scalar(schema)


def _scalar(schema: dict[str, Any]) -> str:
    match schema["type"]:
        case "string" if schema.get("pattern", "").startswith(DURATION_PATTERN):
            return f"duration, {_duration_bounds(schema)}"
        case "string" if schema.get("format") == "date-time":
            return "time"
        case "string":
            low = f"{schema['minLength']}–" if "minLength" in schema else "≤ "
            return f"string, {low}{schema['maxLength']} characters"
        case "integer" if schema["maximum"] < 2**31 - 1:
            return f"integer, {schema['minimum']}–{schema['maximum']}"
        case "integer":
            return f"integer, ≥ {schema['minimum']}"
        case "number":
            return "number, finite"
    return str(schema["type"])


def _duration_bounds(schema: dict[str, Any]) -> str:
    (rule,) = schema[_VALIDATIONS]
    low, high = re.findall(r"\d+[wdhms]", rule["message"])[:2]
    return f"{low}–{high}"


def _meaning(schema: dict[str, Any]) -> str:
    """Return a description without what the other columns of the table say."""
    text = re.sub(r" (Required|Default [^ ]+|Duration, \w+ to \w+)\.(?= |$)", "", _prose(schema))
    return _escaped(text)


def _prose(schema: dict[str, Any]) -> str:
    """Return a description without the name of the field, which stands before it on the page."""
    _, _, text = schema["description"].partition(" ")
    text = re.sub(r"^(is|are) ", "", text)
    return text[0].upper() + text[1:]


def _columns(columns: list[dict[str, Any]], priority: int) -> str:
    return ", ".join(c["name"] for c in columns if c.get("priority", 0) == priority)


def _wide(columns: list[dict[str, Any]]) -> str:
    wide = _columns(columns, 1)
    return f"; with `-o wide` also {wide}" if wide else ""


def _link(text: str, path: str) -> str:
    return f"[{text}](#{re.sub(r'[^a-z0-9]', '', path.lower())})"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


PAGES: dict[str, Callable[[], str]] = {
    "api": api_page,
    "cli": cli_page,
    "events": events_page,
    "metrics": metrics_page,
}


def main() -> None:
    """Write one page to standard output."""
    parser = argparse.ArgumentParser(description="Write a page of docs/reference.")
    parser.add_argument("page", choices=PAGES)
    sys.stdout.write(PAGES[parser.parse_args().page]())


if __name__ == "__main__":
    main()
