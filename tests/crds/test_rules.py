"""What the API server accepts and refuses, rule by rule, on a real one.

Each case changes the smallest complete object in one respect, so that a refusal has one cause; the
smallest object itself is accepted. Nothing is stored: other tests may use the same API server.
"""

from typing import Any

import pytest

from support.crds import (
    GONE,
    POD,
    SMALLEST,
    Edit,
    Rule,
    Server,
    cases,
    edited,
    field,
    messages_of,
    refusal_of,
    schema_of,
)

TEMPLATE = "spec.jobTemplate.spec.template.spec"
LABELS = "spec.jobTemplate.metadata.labels"
LONGEST_NAME = "a" * 49 + "1"
LARGEST = 1.7976931348623157e308


def lower(**values: Any) -> Edit:
    """Edit fields of the spec where lower scores are worse."""
    return {"spec.comparison": "LessThan", **{f"spec.{name}": v for name, v in values.items()}}


RULES = [
    Rule(
        "metadata.name must be at most 50 characters",
        field("metadata.name", "a", "0-model", LONGEST_NAME),
        field("metadata.name", "a" * 51, "fraud.detector", "a.b" * 20),
    ),
    Rule(
        "prometheus and sourceRef exclude each other",
        {
            "an inline server": {"spec.prometheus": {"address": "http://a:1"}},
            "a source": {"spec.prometheus": GONE, "spec.sourceRef": {"name": "shared.mimir"}},
            "neither": {"spec.prometheus": GONE},
        },
        {"both": {"spec.sourceRef": {"name": "default"}}},
    ),
    Rule(
        "queryOffset must be a duration of 0s to 30d",
        field("spec.queryOffset", "0s", "5m", "30d"),
        field("spec.queryOffset", "30d1s", "5w", "-5m"),
    ),
    Rule(
        "interval must be a duration of 1s to 30d",
        field("spec.interval", "1s", "90s", "1h30m", "1d", "2w", "4w2d", "1w1d1h1m1s", "2592000s"),
        field(
            "spec.interval",
            *("0s", "0w0d", "30d1s", "5w", "2592001s", "5", "m", "1.5h", "30m1h", "1h1h", "1h 30m"),
            *("500ms", "1y", "-5m", "+5m", "5M", "PT5M", "99999999999999999999s", "٣m", "5m\n"),
        ),
    ),
    Rule(
        "evaluationDeadline must be a duration of 1s to 30d",
        field("spec.evaluationDeadline", "1s", "1h", "30d"),
        field("spec.evaluationDeadline", "0s", "31d", "1 hour"),
    ),
    Rule(
        "cooldown must be a duration of 0s to 365d",
        field("spec.cooldown", "0s", "24h", "52w", "365d"),
        field("spec.cooldown", "365d1s", "53w", "1y", "forever"),
    ),
    Rule(
        "interval and schedule exclude each other",
        field("spec.schedule", "0 6 * * *") | field("spec.interval", "6h"),
        {"both": {"spec.schedule": "0 6 * * *", "spec.interval": "6h"}},
    ),
    Rule(
        "timeZone is for schedule only",
        {
            "with schedule": {
                "spec.schedule": "0 6 * * *",
                "spec.timeZone": "America/Port-au-Prince",
            }
        },
        {
            "alone": {"spec.timeZone": "Europe/Berlin"},
            "beside interval": {"spec.timeZone": "UTC", "spec.interval": "6h"},
        },
    ),
    Rule(
        "schedule must have five fields",
        field("spec.schedule", "*/5 * * * *", "0 6 * JAN-MAR MON#1,FRI", "0  6\t1 1 L"),
        field(
            "spec.schedule",
            *("0 6 * * * *", "0 6 * * MON%", "@every 10m", "0 6 * *  ", " 0 6 * * *", "0 6 ? * 1"),
        ),
    ),
    Rule(
        "clearThreshold must not be above threshold",
        {
            "below": {"spec.clearThreshold": 0.1},
            "equal": {"spec.clearThreshold": 0.2},
            "whole number below": {"spec.threshold": 2, "spec.clearThreshold": 1},
            "above, where lower is worse": lower(clearThreshold=0.3),
        },
        {
            "above by default": {"spec.clearThreshold": 0.20000000000000004},
            "above": {"spec.comparison": "GreaterThanOrEqual", "spec.clearThreshold": 1},
        },
    ),
    Rule(
        "clearThreshold must not be below threshold",
        {"equal": lower(clearThreshold=0.2), "above": lower(clearThreshold=5)},
        {
            "below": lower(clearThreshold=0.19999999999999998),
            "negative": {"spec.comparison": "LessThanOrEqual", "spec.clearThreshold": -1},
        },
    ),
    Rule(
        "breaches.required must not be more than breaches.window",
        field(
            "spec.breaches",
            {},
            {"required": 3},
            {"window": 5},
            {"required": 3, "window": 5},
            {"required": 100, "window": 100},
        ),
        field("spec.breaches", {"required": 2, "window": 1}, {"required": 100, "window": 99}),
    ),
    Rule(
        "labels under drifttrigger.dev/ are set by the operator",
        field(
            LABELS, {"team": "risk", "kueue.x-k8s.io/queue-name": "q"}, {"drifttrigger.dev": "x"}
        ),
        field(LABELS, {"drifttrigger.dev/trigger": "x"}, {"a": "b", "drifttrigger.dev/mine": ""}),
    ),
]

# What the schema says without a rule.
SCHEMA_REFUSES = {
    "a threshold in quotes": ({"spec.threshold": "0.2"}, "must be of type number"),
    "no threshold": ({"spec.threshold": GONE}, "spec.threshold: Required value"),
    "an infinite threshold": ({"spec.threshold": float("inf")}, "invalid character 'I'"),
    "a threshold that is not a number": ({"spec.threshold": float("nan")}, "invalid character 'N'"),
    "a threshold beyond every double": ({"spec.threshold": 10**400}, ""),
    "a server without an address": ({"spec.prometheus": {}}, "address: Required value"),
    "a source without a name": ({"spec.sourceRef": {}}, "spec.sourceRef.name: Required value"),
    "a source of an unknown kind": (
        {"spec.sourceRef": {"kind": "Prometheus", "name": "a"}},
        '"MetricsSource", "ClusterMetricsSource"',
    ),
    "a source with a name that none can have": (
        {"spec.sourceRef": {"name": "monitoring/a"}},
        "spec.sourceRef.name in body should match",
    ),
    "an empty query": ({"spec.query": ""}, "should be at least 1 chars long"),
    "a query of 8193 characters": ({"spec.query": "a" * 8193}, "may not be more than 8192"),
    "no jobTemplate": ({"spec.jobTemplate": GONE}, "spec.jobTemplate: Required value"),
    "no restartPolicy": ({f"{TEMPLATE}.restartPolicy": GONE}, "restartPolicy: Required value"),
    "restartPolicy Always": ({f"{TEMPLATE}.restartPolicy": "Always"}, '"Never", "OnFailure"'),
    "no pod spec": ({TEMPLATE: GONE}, "template.spec: Required value"),
    "a serviceAccountName that is no text": ({f"{TEMPLATE}.serviceAccountName": 1}, "type string"),
    "an unknown comparison": ({"spec.comparison": "gt"}, '"GreaterThan", "GreaterThanOrEqual"'),
    "an unknown noData": ({"spec.noData": "OK"}, '"Hold", "Breach", "Clear"'),
    "no breach required": ({"spec.breaches": {"required": 0}}, "greater than or equal to 1"),
    "a window of 101": ({"spec.breaches": {"window": 101}}, "less than or equal to 100"),
    "maxAttempts below zero": ({"spec.maxAttempts": -1}, "greater than or equal to 0"),
    "maxAttempts of 1.5": ({"spec.maxAttempts": 1.5}, "must be of type integer"),
    "a history of -1": ({"spec.failedHistoryLimit": -1}, "greater than or equal to 0"),
    "suspend in quotes": ({"spec.suspend": "true"}, "must be of type boolean"),
    "an empty cooldown": ({"spec.cooldown": ""}, "should be at least 2 chars long"),
    "a time zone with a space": (
        {"spec.schedule": "0 6 * * *", "spec.timeZone": "Europe/ Berlin"},
        "spec.timeZone in body should match",
    ),
}
UNKNOWN_FIELDS = {
    "spec.treshold": 0.2,
    "spec.approval": {},
    "spec.serviceAccountName": "trainer",
    "spec.policies": [],
    "spec.prometheus.url": "http://prometheus:9090",
    "spec.prometheus.bearerToken": "secret",
    "spec.prometheus.allowedNamespaces": {},
    "spec.sourceRef.namespace": "monitoring",
    "spec.jobTemplate.metadata.name": "mine",
    "spec.jobTemplate.template": {},
    "spec.model.tier": "high",
    "spec.breaches.of": 3,
}
TAKEN = {
    "the largest threshold there is": {"spec.threshold": LARGEST},
    "the lowest threshold there is": {"spec.threshold": -LARGEST},
    "a whole threshold": {"spec.threshold": 1},
    "a whole threshold beyond 64 bits": {"spec.threshold": 10**20},
    "a query of 8192 characters": {"spec.query": "ä" * 8192},
    "no limit to attempts and no history": {
        "spec.maxAttempts": 0,
        "spec.successfulHistoryLimit": 0,
        "spec.failedHistoryLimit": 0,
    },
    "the default service account said in full": {f"{TEMPLATE}.serviceAccountName": ""},
}


def test_every_rule_of_a_trigger_has_cases_of_both_kinds() -> None:
    schema = schema_of("drifttriggers")
    del schema["properties"]["spec"]["properties"]["prometheus"]  # see test_servers.py
    for message in messages_of(schema):
        assert [r for r in RULES if r.says in message and r.accepts and r.refuses], message


@pytest.mark.e2e
def test_the_smallest_trigger_is_complete_and_gets_the_defaults(server: Server) -> None:
    spec = server.create("drifttriggers", SMALLEST)["spec"]
    assert (spec["cooldown"], spec["maxAttempts"], spec["comparison"]) == ("24h", 3, "GreaterThan")
    assert spec["prometheus"]["timeout"] == "10s"
    assert spec["prometheus"]["batching"] == "Auto"
    assert not spec.keys() & {
        "sourceRef",
        "interval",
        "schedule",
        "timeZone",
        "clearThreshold",
        "breaches",
    }


@pytest.mark.e2e
def test_a_source_by_name_alone_is_one_of_the_cluster(server: Server) -> None:
    edit = {"spec.prometheus": GONE, "spec.sourceRef": {"name": "shared"}}
    spec = server.create("drifttriggers", edited(edit))["spec"]
    assert spec["sourceRef"] == {"kind": "ClusterMetricsSource", "name": "shared"}
    assert "prometheus" not in spec


@pytest.mark.e2e
@pytest.mark.parametrize(("edit", "says"), cases(RULES, "accepts"))
def test_a_rule_accepts(server: Server, edit: Edit, says: str) -> None:
    server.create("drifttriggers", edited(edit))


@pytest.mark.e2e
@pytest.mark.parametrize(("edit", "says"), cases(RULES, "refuses"))
def test_a_rule_refuses_and_says_why(server: Server, edit: Edit, says: str) -> None:
    assert says in refusal_of(server.create, "drifttriggers", edited(edit))


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("edit", "where"),
    [
        ({"metadata.name": "a.b"}, "metadata.name"),
        ({"spec.sourceRef": {"name": "default"}}, "spec.sourceRef"),
        ({"spec.clearThreshold": 1}, "spec.clearThreshold"),
        ({"spec.timeZone": "UTC"}, "spec.timeZone"),
        ({"spec.breaches": {"required": 2, "window": 1}}, "spec.breaches.required"),
    ],
    ids=["the name", "the source", "the clear side", "the time zone", "the number of breaches"],
)
def test_a_refusal_points_to_the_field_to_edit(server: Server, edit: Edit, where: str) -> None:
    assert f'"field":"{where}"' in refusal_of(server.create, "drifttriggers", edited(edit))


@pytest.mark.e2e
@pytest.mark.parametrize(("edit", "says"), SCHEMA_REFUSES.values(), ids=SCHEMA_REFUSES)
def test_the_schema_refuses(server: Server, edit: Edit, says: str) -> None:
    assert says in refusal_of(server.create, "drifttriggers", edited(edit))


@pytest.mark.e2e
@pytest.mark.parametrize("edit", TAKEN.values(), ids=TAKEN)
def test_the_schema_accepts(server: Server, edit: Edit) -> None:
    stored = server.create("drifttriggers", edited(edit))
    assert stored["spec"]["threshold"] == edit.get("spec.threshold", 0.2)


@pytest.mark.e2e
@pytest.mark.parametrize("path", UNKNOWN_FIELDS)
def test_an_unknown_field_is_refused_by_name(server: Server, path: str) -> None:
    body = edited({path: UNKNOWN_FIELDS[path]})
    assert f'unknown field "{path}"' in refusal_of(server.create, "drifttriggers", body)


@pytest.mark.e2e
def test_a_template_with_whole_quantities_and_newer_fields_is_kept_as_it_is(server: Server) -> None:
    pod = {
        **POD,
        "containers": [{"name": "a", "resources": {"limits": {"cpu": 1, "memory": "2Gi"}}}],
        "fieldOfALaterRelease": {"depth": [{"a": 1.5}, None, "x"]},
    }
    template = {
        "metadata": {"labels": {"team": "risk"}, "annotations": {"note": "é"}},
        "spec": {
            "backoffLimit": 0,
            "fieldOfALaterRelease": True,
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod, "later": 1},
        },
    }
    stored = server.create("drifttriggers", edited({"spec.jobTemplate": template}))
    assert stored["spec"]["jobTemplate"] == template
