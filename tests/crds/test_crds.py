"""The definitions and the Python types say the same, in both directions; no cluster needed.

Python cannot say "absent" for a string or a number that has a default, so "nothing" there ("", 0,
False, empty) is what the schema says by leaving a field out.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import pytest

from drifttrigger.api import servers, v1alpha1
from support.crds import PLURALS, ROOT, load_crd, sample, schema_of

# Bounds that only say "an int32", "exact in a double" or "not empty".
TOLD_IN_WORDS = {None, 2**31 - 1, 2**53 - 1, 1}

TYPES = {
    ("drifttriggers", "spec"): v1alpha1.DriftTriggerSpec,
    ("drifttriggers", "status"): v1alpha1.DriftTriggerStatus,
    ("retrainings", "spec"): v1alpha1.RetrainingSpec,
    ("retrainings", "status"): v1alpha1.RetrainingStatus,
    ("metricssources", "spec"): servers.MetricsSourceSpec,
    ("metricssources", "status"): v1alpha1.MetricsSourceStatus,
    ("clustermetricssources", "spec"): servers.ClusterMetricsSourceSpec,
    ("clustermetricssources", "status"): v1alpha1.MetricsSourceStatus,
}
# Where a user writes, and so defaults belong.
BY_USERS = {key for key in TYPES if key[1] == "spec" and key[0] != "retrainings"}
# Read live when a decision fires, so the type of the spec does not hold it.
NOT_IN_TYPES = {("drifttriggers", "spec"): {"jobTemplate"}}
# metav1 has an enum in its documentation where the type is a plain string.
ENUM_WITHOUT_TYPE = {
    "status.conditions[].status",
    "spec.allowedNamespaces.selector.matchExpressions[].operator",
}

SHORT_NAMES = {"drifttriggers": ["dt"], "retrainings": ["rt"]}
SOURCE_COLUMNS = [
    ("Address", "string", 0, ".spec.address"),
    ("Ready", "string", 0, '.status.conditions[?(@.type=="Ready")].status'),
    ("Reason", "string", 0, '.status.conditions[?(@.type=="Ready")].reason'),
    ("Triggers", "integer", 0, ".status.triggers"),
    ("Age", "date", 0, ".metadata.creationTimestamp"),
    ("Server", "string", 1, ".status.server.kind"),
    ("Version", "string", 1, ".status.server.version"),
]

COLUMNS = {
    "drifttriggers": [
        ("Score", "number", 0, ".status.lastEvaluation.score"),
        ("Threshold", "number", 0, ".spec.threshold"),
        ("Drifted", "string", 0, '.status.conditions[?(@.type=="Drifted")].status'),
        ("Ready", "string", 0, '.status.conditions[?(@.type=="Ready")].status'),
        ("Reason", "string", 0, '.status.conditions[?(@.type=="Drifted")].reason'),
        ("Evaluated", "date", 0, ".status.lastEvaluation.time"),
        ("Last Retraining", "date", 0, ".status.lastRetraining.time"),
        ("Age", "date", 0, ".metadata.creationTimestamp"),
        ("Comparison", "string", 1, ".spec.comparison"),
        ("Retrainings", "integer", 1, ".status.retrainings"),
        ("Query", "string", 1, ".spec.query"),
    ],
    "retrainings": [
        ("Succeeded", "string", 0, '.status.conditions[?(@.type=="Succeeded")].status'),
        ("Reason", "string", 0, '.status.conditions[?(@.type=="Succeeded")].reason'),
        ("Score", "number", 0, ".spec.evidence.score"),
        ("Threshold", "number", 0, ".spec.evidence.threshold"),
        ("Target", "string", 0, ".status.target.name"),
        ("Age", "date", 0, ".metadata.creationTimestamp"),
    ],
    "metricssources": SOURCE_COLUMNS,
    "clustermetricssources": SOURCE_COLUMNS,
}


each_kind = pytest.mark.parametrize("plural", PLURALS)


class Node(NamedTuple):
    """One place of a schema; `text` is its description after that of the list or map it is of."""

    path: str
    name: str
    schema: dict[str, Any]
    text: str
    required: bool = False
    in_list: bool = False


def nodes(plural: str) -> Iterator[Node]:
    """Yield every place of a schema but metadata, of which the API server allows no description."""
    kind = load_crd(plural)["spec"]["names"]["kind"]
    for node in _below(Node("", kind, schema_of(plural), "")):
        if node.path != "metadata":
            yield node


def _below(node: Node) -> Iterator[Node]:
    own = node.schema.get("description", "")
    yield node._replace(text=f"{node.text} {own}".strip())
    for name, child in node.schema.get("properties", {}).items():
        path = f"{node.path}.{name}".lstrip(".")
        required = name in node.schema.get("required", [])
        yield from _below(Node(path, name, child, "", required, node.in_list))
    for keyword, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if keyword in node.schema:
            path = f"{node.path}{mark}"
            yield from _below(Node(path, node.name, node.schema[keyword], own, in_list=True))


@each_kind
def test_every_description_starts_with_the_name_of_its_field(plural: str) -> None:
    assert [
        node.path
        for node in nodes(plural)
        if not node.schema.get("description", "").startswith(f"{node.name} ")
        or not node.schema["description"].endswith(".")
    ] == []


@each_kind
def test_every_value_is_bounded(plural: str) -> None:
    assert [node.path for node in nodes(plural) if not _is_bounded(node.schema)] == []


@each_kind
def test_a_description_names_default_bounds_and_choices_as_the_schema_has_them(plural: str) -> None:
    untold = {
        node.path: missing
        for node in nodes(plural)
        if node.path not in {"", "apiVersion", "kind"} and (missing := list(_untold(node)))
    }
    assert untold == {}


@each_kind
def test_no_default_stands_inside_a_list(plural: str) -> None:
    assert [n.path for n in nodes(plural) if n.in_list and "default" in n.schema] == []


@each_kind
def test_what_the_operator_writes_has_no_defaults(plural: str) -> None:
    for node in nodes(plural):
        if plural == "retrainings" or node.path.startswith("status"):
            assert "default" not in node.schema, node.path


@each_kind
def test_every_rule_says_what_to_do_and_is_marked_with_a_reason(plural: str) -> None:
    rules = [r for n in nodes(plural) for r in n.schema.get("x-kubernetes-validations", [])]
    assert rules
    for rule in rules:
        assert len(rule["message"]) > 30
        assert "\n" not in rule["message"]
        assert rule["reason"] in {"FieldValueInvalid", "FieldValueForbidden"}


@each_kind
def test_a_definition_stays_small_enough_for_client_side_apply(plural: str) -> None:
    assert (ROOT / "crds" / f"{plural}.yaml").stat().st_size < 100_000


@each_kind
def test_columns_are_those_of_the_design(plural: str) -> None:
    (version,) = load_crd(plural)["spec"]["versions"]
    assert version["subresources"] == {"status": {}}
    found = [
        (column["name"], column["type"], column.get("priority", 0), column["jsonPath"])
        for column in version["additionalPrinterColumns"]
    ]
    assert found == COLUMNS[plural]


@each_kind
def test_a_category_is_not_the_name_of_a_kind(plural: str) -> None:
    # kubectl expands categories first: `kubectl delete <singular> --all` would reach every kind.
    names = load_crd(plural)["spec"]["names"]
    taken = {name for p in PLURALS for name in (p, load_crd(p)["spec"]["names"]["singular"])}
    assert names.get("shortNames", []) == SHORT_NAMES.get(plural, [])
    assert names["categories"] == ["drift"]
    assert not taken & set(names["categories"])


def test_kustomization_lists_every_definition() -> None:
    text = (ROOT / "crds" / "kustomization.yaml").read_text()
    files = {f"{path.name}" for path in (ROOT / "crds").glob("*.yaml")} - {"kustomization.yaml"}
    assert files == {f"{plural}.yaml" for plural in PLURALS}
    assert all(f"- {name}\n" in text for name in files)


@pytest.mark.parametrize(("plural", "part"), TYPES, ids=lambda value: value)
def test_types_and_schema_have_the_same_fields_and_choices(plural: str, part: str) -> None:
    schema = schema_of(plural)["properties"][part]
    known = NOT_IN_TYPES.get((plural, part), set())
    kind = _info(TYPES[plural, part])
    assert list(differences(kind, schema, part, known=known)) == []


@pytest.mark.parametrize(("plural", "part"), sorted(BY_USERS), ids=lambda value: value)
def test_what_a_user_leaves_out_means_the_same_to_types_and_schema(plural: str, part: str) -> None:
    found = {n.path: n.schema["default"] for n in nodes(plural) if "default" in n.schema}
    assert found == {
        path: default
        for path, default in type_defaults(_info(TYPES[plural, part]), part)
        if default not in (None, "")
    }


@pytest.mark.parametrize("root", {TYPES[key]: None for key in TYPES if key not in BY_USERS})
def test_what_the_operator_leaves_out_is_nothing(root: type) -> None:
    defaults = dict(type_defaults(_info(root), root.__name__))
    assert {path: value for path, value in defaults.items() if value} == {}


def test_a_type_looks_the_same_wherever_it_stands() -> None:
    places: dict[type, list[dict[str, Any]]] = {}
    for (plural, part), root in TYPES.items():
        schema = schema_of(plural)["properties"][part]
        for struct, found in structs(_info(root), schema):
            places.setdefault(struct, []).append(_without_text(found))
    assert len(places[v1alpha1.Evidence]) == 2
    assert len(places[v1alpha1.Condition]) == 4
    assert len(places[servers.Tls]) == 3
    assert len(places[v1alpha1.SeriesSummary]) == 3
    for struct, schemas in places.items():
        assert all(found == schemas[0] for found in schemas), struct.__name__


def test_the_server_block_is_the_same_word_for_word_wherever_it_stands() -> None:
    inline = schema_of("drifttriggers")["properties"]["spec"]["properties"]["prometheus"]
    alone = schema_of("metricssources")["properties"]["spec"]
    shared = schema_of("clustermetricssources")["properties"]["spec"]
    own = shared["properties"].pop("allowedNamespaces")
    assert own["type"] == "object"
    assert alone == shared
    # Only what the block as a whole is called depends on where it stands.
    assert {**inline, "description": ""} == {**alone, "description": ""}


@pytest.mark.parametrize("part", [key for key in TYPES if key != ("drifttriggers", "spec")])
def test_a_value_with_every_field_survives_the_way_through_the_types(part: tuple[str, str]) -> None:
    value = sample(schema_of(part[0])["properties"][part[1]])
    decoded = msgspec.json.decode(msgspec.json.encode(value), type=TYPES[part])
    assert msgspec.json.decode(msgspec.json.encode(decoded)) == value


def differences(
    kind: Any, schema: dict[str, Any], path: str, *, known: set[str] = frozenset()
) -> Iterator[str]:
    """Yield each way in which a type and a schema disagree."""
    match kind:
        case msgspec.inspect.StructType():
            yield from _expect(path, "object", schema.get("type"))
            yield from _struct_differences(kind, schema, path, known=known)
        case msgspec.inspect.VarTupleType():
            yield from _expect(path, "array", schema.get("type"))
            yield from differences(kind.item_type, schema["items"], f"{path}[]")
        case msgspec.inspect.DictType(value_type=msgspec.inspect.AnyType()):
            yield from _expect(path, "object", schema.get("type"))
        case msgspec.inspect.DictType():
            yield from _expect(path, "object", schema.get("type"))
            yield from differences(kind.value_type, schema["additionalProperties"], f"{path}{{}}")
        case msgspec.inspect.EnumType():
            yield from _expect(path, "string", schema.get("type"))
            yield from _expect(path, [str(item) for item in kind.cls], schema.get("enum"))
        case _:
            names = {"StrType": "string", "IntType": "integer", "FloatType": "number"}
            name = names.get(type(kind).__name__, "boolean")
            yield from _expect(path, name, schema.get("type"))
            if path not in ENUM_WITHOUT_TYPE:
                yield from _expect(f"{path} enum", None, schema.get("enum"))


def _struct_differences(
    kind: msgspec.inspect.StructType, schema: dict[str, Any], path: str, *, known: set[str]
) -> Iterator[str]:
    fields = {field.encode_name: field for field in kind.fields}
    required = {name for name, field in fields.items() if field.required} | known
    yield from _expect(f"{path} fields", sorted({*fields, *known}), sorted(schema["properties"]))
    yield from _expect(f"{path} required", sorted(required), sorted(schema.get("required", [])))
    for name in fields.keys() & schema["properties"].keys():
        child = schema["properties"][name]
        yield from differences(_not_none(fields[name].type), child, f"{path}.{name}")


def type_defaults(kind: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield the default of every scalar field below a type that has one."""
    if isinstance(kind, msgspec.inspect.VarTupleType):
        yield from type_defaults(kind.item_type, f"{path}[]")
    if isinstance(kind, msgspec.inspect.StructType):
        for field in kind.fields:
            below = f"{path}.{field.encode_name}"
            if not field.required:
                default = msgspec.to_builtins(_default(field))
                if default not in ({}, [], ()):
                    yield below, default
            yield from type_defaults(_not_none(field.type), below)


def structs(kind: Any, schema: dict[str, Any]) -> Iterator[tuple[type, dict[str, Any]]]:
    """Yield every struct type below a type, with the schema that stands for it."""
    if isinstance(kind, msgspec.inspect.VarTupleType):
        yield from structs(kind.item_type, schema["items"])
    if isinstance(kind, msgspec.inspect.StructType):
        yield kind.cls, schema
        for field in kind.fields:
            yield from structs(_not_none(field.type), schema["properties"][field.encode_name])


def _info(kind: type) -> msgspec.inspect.Type:
    return msgspec.inspect.type_info(kind)


def _default(field: msgspec.inspect.Field) -> Any:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default


def _not_none(kind: Any) -> Any:
    if not isinstance(kind, msgspec.inspect.UnionType):
        return kind
    (only,) = (t for t in kind.types if not isinstance(t, msgspec.inspect.NoneType))
    return only


def _expect(where: str, in_types: Any, in_schema: Any) -> Iterator[str]:
    if in_types != in_schema or isinstance(in_types, bool) != isinstance(in_schema, bool):
        yield f"{where}: {in_types!r} in the types, {in_schema!r} in the schema"


def _without_text(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {
            key: _without_text(value)
            for key, value in schema.items()
            if key != "description" or isinstance(value, dict)
        }
    return schema


def _is_bounded(schema: dict[str, Any]) -> bool:
    match schema.get("type"):
        case "string":
            return "maxLength" in schema or "enum" in schema
        case "array":
            kinds = {"atomic", "map", "set"}
            return "maxItems" in schema and schema["x-kubernetes-list-type"] in kinds
        case "integer":
            return {"minimum", "maximum"} <= schema.keys()
        case "number":  # finite by JSON; see the head of crds/drifttriggers.yaml
            return not {"minimum", "maximum"} & schema.keys()
        case "object" if "additionalProperties" in schema:
            return "maxProperties" in schema
        case "object":
            return "properties" in schema
        case "boolean":
            return True
    return bool(schema["x-kubernetes-preserve-unknown-fields"])


def _untold(node: Node) -> Iterator[str]:
    schema = node.schema
    if ("Required" in schema["description"]) != node.required:
        yield "Required"
    if "default" in schema and f"Default {_plain(schema['default'])}." not in node.text:
        yield f"Default {_plain(schema['default'])}."
    yield from (choice for choice in schema.get("enum", []) if choice not in node.text)
    if _is_duration(schema):
        (rule,) = schema["x-kubernetes-validations"]
        bounds = re.search(r"\d+\w to \d+\w", rule["message"])
        yield from () if bounds and f"Duration, {bounds[0]}." in node.text else ("bounds",)
        return
    if schema.get("format") == "date-time":
        return
    for keyword in ("minLength", "maxLength", "maxItems", "maxProperties", "minimum", "maximum"):
        bound = schema.get(keyword)
        if bound not in TOLD_IN_WORDS and not re.search(rf"\b{bound}\b", node.text):
            yield f"{keyword} {bound}"


def _is_duration(schema: dict[str, Any]) -> bool:
    return schema.get("pattern", "").startswith("^([0-9]{1,8}w)?")


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
