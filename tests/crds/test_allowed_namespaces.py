"""Whom a ClusterMetricsSource may allow, on a real API server.

What the API server can't see, which namespaces there are and their labels, is the operator's to
hold against these fields.
"""

from typing import Any

import pytest

from support.crds import (
    SMALLEST_CLUSTER_SOURCE,
    Edit,
    Rule,
    Server,
    cases,
    edited,
    messages_of,
    refusal_of,
    schema_of,
)

SELECTOR = "spec.allowedNamespaces.selector"


def expression(operator: str, *values: str) -> Edit:
    """Edit the selector of namespaces to one expression; no values are none at all."""
    one = {"key": "team", "operator": operator, **({"values": [*values]} if values else {})}
    return {f"{SELECTOR}.matchExpressions": [one]}


RULES = [
    Rule(
        "a key of matchLabels must be a label's name",
        {
            "a name": {f"{SELECTOR}.matchLabels": {"team": "a", "Tier_1.x": ""}},
            "one with a prefix": {f"{SELECTOR}.matchLabels": {"kubernetes.io/metadata.name": "a"}},
            "the longest": {f"{SELECTOR}.matchLabels": {"a" * 253 + "/" + "b" * 63: "a"}},
        },
        {
            repr(key)[:60]: {f"{SELECTOR}.matchLabels": {key: "a"}}
            for key in (
                "",
                "a b",
                "/a",
                "a/",
                "a/b/c",
                "-a",
                "A/b",
                "a" * 64,
                "a" * 254 + "/" + "b" * 63,
            )
        },
    ),
    Rule(
        "values must be given with In and NotIn",
        {
            "In": expression("In", "a", "b"),
            "NotIn": expression("NotIn", ""),
            "Exists": expression("Exists"),
            "DoesNotExist": expression("DoesNotExist"),
        },
        {
            "In with none": expression("In"),
            "NotIn with none": expression("NotIn"),
            "Exists with one": expression("Exists", "a"),
            "DoesNotExist with one": expression("DoesNotExist", "a"),
        },
    ),
]

SCHEMA_REFUSES = {
    "257 names": (
        {"spec.allowedNamespaces.names": [f"a{n}" for n in range(257)]},
        "must have at most 256 items",
    ),
    "a name twice": ({"spec.allowedNamespaces.names": ["a", "a"]}, "Duplicate value"),
    "a name with a dot": ({"spec.allowedNamespaces.names": ["a.b"]}, "should match"),
    "a star for all": ({"spec.allowedNamespaces.names": ["*"]}, "should match"),
    "a name of 64": ({"spec.allowedNamespaces.names": ["a" * 64]}, "may not be more than 63"),
    "a label's value of 64": ({f"{SELECTOR}.matchLabels": {"a": "b" * 64}}, "more than 63"),
    "a label's value with a space": ({f"{SELECTOR}.matchLabels": {"a": "b c"}}, "should match"),
    "an unknown operator": (expression("Equals", "a"), '"In", "NotIn", "Exists", "DoesNotExist"'),
}
ALLOWED = {
    "nobody": {},
    "nobody by an empty list": {"names": []},
    "names": {"names": ["a", "b-1"]},
    "everybody": {"selector": {}},
    "both": {"names": ["a"], "selector": {"matchLabels": {"team": "risk"}}},
}


def cluster_source(edit: Edit) -> dict[str, Any]:
    return edited(edit, SMALLEST_CLUSTER_SOURCE)


def test_every_rule_has_cases_of_both_kinds() -> None:
    spec = schema_of("clustermetricssources")["properties"]["spec"]
    for message in messages_of(spec["properties"]["allowedNamespaces"]):
        assert [r for r in RULES if r.says in message and r.accepts and r.refuses], message


@pytest.mark.e2e
@pytest.mark.parametrize("allowed", ALLOWED.values(), ids=ALLOWED)
def test_a_cluster_source_may_allow(server: Server, allowed: Edit) -> None:
    body = cluster_source({"spec.allowedNamespaces": allowed})
    assert server.create("clustermetricssources", body)["spec"]["allowedNamespaces"] == allowed


@pytest.mark.e2e
@pytest.mark.parametrize(("edit", "says"), cases(RULES, "accepts"))
def test_a_rule_accepts(server: Server, edit: Edit, says: str) -> None:
    server.create("clustermetricssources", cluster_source(edit))


@pytest.mark.e2e
@pytest.mark.parametrize(("edit", "says"), cases(RULES, "refuses"))
def test_a_rule_refuses_and_says_why(server: Server, edit: Edit, says: str) -> None:
    assert says in refusal_of(server.create, "clustermetricssources", cluster_source(edit))


@pytest.mark.e2e
@pytest.mark.parametrize(("edit", "says"), SCHEMA_REFUSES.values(), ids=SCHEMA_REFUSES)
def test_the_schema_refuses(server: Server, edit: Edit, says: str) -> None:
    assert says in refusal_of(server.create, "clustermetricssources", cluster_source(edit))
