"""Reading manifests as kubectl reads them.

kubectl turns YAML into JSON with a Go library whose numbers are those of YAML 1.2 (`2e-1` is one)
and whose booleans are those of YAML 1.1 (`yes` is one); PyYAML differs in the first. Duplicate keys
are errors, as they are in strict decoding.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from drifttrigger.api.errors import UsageError
from drifttrigger.api.v1alpha1 import API_VERSION

Json = dict[str, Any]
_MAX_BYTES = 4 * 1024 * 1024
_DIGITS = "0123456789"
_INTEGER = re.compile(r"[-+]?(?:0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)$")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$")


class _Loader(yaml.SafeLoader):
    """SafeLoader with Go's numbers, no dates and no duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's own signature
        """Build a mapping, refusing a key that comes twice."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1 and key != "<<":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} comes twice", node.start_mark
                )
        return super().construct_mapping(node, deep=deep)


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if not tag.endswith((":int", ":float", ":timestamp"))
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", _INTEGER, list("-+" + _DIGITS))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+." + _DIGITS))


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("[yYnN]$"), list("yYnN"))
_Loader.bool_values = {**yaml.SafeLoader.bool_values, "y": True, "n": False}


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node)).replace("_", "")
    sign, digits = (-1, text[1:]) if text[0] == "-" else (1, text.lstrip("+"))
    if re.fullmatch(r"0[0-7]+", digits):
        return sign * int(digits, 8)
    return sign * int(digits, 0)


def _number(loader: _Loader, node: yaml.ScalarNode) -> float:
    return float(str(loader.construct_scalar(node)))


_Loader.add_constructor("tag:yaml.org,2002:int", _integer)
_Loader.add_constructor("tag:yaml.org,2002:float", _number)


def parse(text: str) -> list[Any]:
    """Read all documents of a YAML or JSON text.

    Raises:
        yaml.YAMLError: It is none.
    """
    return [document for document in yaml.load_all(text, Loader=_Loader) if document is not None]


def read_trigger(path: str, *, name: str | None = None) -> Json:
    """Read the one DriftTrigger of a file.

    Args:
        path: The file, `-` for standard input.
        name: Which one, where the file holds several.

    Raises:
        UsageError: The file can't be read, or does not hold exactly one.
    """
    try:
        source = Path("/dev/stdin" if path == "-" else path)
        with source.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise UsageError(f"{path}: larger than {_MAX_BYTES // 1024 // 1024} MiB")
        documents = parse(data.decode())
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        words = " ".join(str(error).split())
        raise UsageError(f"{path}: no YAML: {words}") from error
    flat = [item for document in documents for item in _items(document)]
    found = [d for d in flat if isinstance(d, dict) and d.get("kind") == "DriftTrigger"]
    if name is not None:
        found = [d for d in found if (d.get("metadata") or {}).get("name") == name]
    if len(found) != 1:
        names = ", ".join(str((d.get("metadata") or {}).get("name")) for d in found)
        hint = f" ({names}); name one" if found else ""
        raise UsageError(f"{path}: holds {len(found)} DriftTriggers{hint}")
    if found[0].get("apiVersion") != API_VERSION:
        raise UsageError(f"{path}: apiVersion is {found[0].get('apiVersion')}, not {API_VERSION}")
    return found[0]


def _items(document: Any) -> list[Any]:
    if isinstance(document, dict) and str(document.get("kind", "")).endswith("List"):
        items = document.get("items")
        return items if isinstance(items, list) else []
    return [document]
