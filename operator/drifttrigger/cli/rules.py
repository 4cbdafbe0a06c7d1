"""From a manifest to rules: what the operator would make of it, for commands that read files.

Misspelt fields are refused with a hint, as the API server does under strict validation: a field
that is silently ignored would make the answer of a command one about another trigger.
"""

import difflib
from typing import Any

import msgspec

from drifttrigger.api.errors import SpecError
from drifttrigger.api.v1alpha1 import DriftTriggerSpec
from drifttrigger.core.rules import Rules, digest, rules_of

Json = dict[str, Any]


def rules_of_body(body: Json) -> Rules:
    """Make the rules of a DriftTrigger, from a file or from the API server.

    Raises:
        SpecError: A field can't be used, or is none; names the field.
    """
    metadata, spec = body.get("metadata") or {}, body.get("spec") or {}
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(name, str) or not name:
        raise SpecError("metadata.name", "is missing")
    if not isinstance(spec, dict):
        raise SpecError("spec", "is no object")
    refuse_unknown(spec, DriftTriggerSpec, known={"jobTemplate"}, path="spec")
    try:
        decoded = msgspec.convert(spec, DriftTriggerSpec)
        template = digest(spec.get("jobTemplate"))
    except (msgspec.ValidationError, TypeError, RecursionError) as error:
        raise SpecError("spec", str(error).replace("`$.", "`")) from error
    generation = metadata.get("generation")
    return rules_of(
        decoded,
        name=name,
        namespace=str(metadata.get("namespace") or "default"),
        uid=uid_of(body),
        generation=generation if isinstance(generation, int) else 0,
        template=template,
    )


def uid_of(body: Json) -> str:
    """Return the UID that the API server gave, empty for a trigger from a file."""
    return str((body.get("metadata") or {}).get("uid") or "")


def refuse_unknown(value: Json, kind: type[msgspec.Struct], *, known: set[str], path: str) -> None:
    """Refuse misspelt fields, as the API server does under strict validation.

    Raises:
        SpecError: Names the field, and the nearest one that exists.
    """
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
    for name, inner in value.items():
        if name not in fields and name not in known:
            close = difflib.get_close_matches(name, [*fields, *known], n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise SpecError(f"{path}.{name}", f"is no field{hint}")
        nested = fields.get(name)
        if (
            isinstance(inner, dict)
            and isinstance(nested, type)
            and issubclass(nested, msgspec.Struct)
        ):
            refuse_unknown(inner, nested, known=set(), path=f"{path}.{name}")
