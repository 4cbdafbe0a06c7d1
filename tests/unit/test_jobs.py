"""The Job of a Retraining: the user's template with our name, labels and evidence."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drifttrigger.api.reasons import Outcome
from drifttrigger.api.v1alpha1 import (
    Cause,
    Comparison,
    Evidence,
    Model,
    RetrainingSpec,
    SeriesSample,
    SeriesSummary,
    TriggerRef,
)
from drifttrigger.core.jobs import environment_of, job_body, ttl_of

Json = dict[str, Any]
NAME = "fraud-fzljm-3"


def retraining(template: Json, **evidence: Any) -> RetrainingSpec:
    given: Json = {
        "source": "http://prometheus.example:9090",
        "query": 'max(drift{model="fraud"})',
        "time": "2026-03-02T12:00:00Z",
        "outcome": Outcome.SCORE,
        "threshold": 0.2,
        "comparison": Comparison.GREATER_THAN,
        "score": 0.252,
        "series": SeriesSummary(
            count=1, breaching=1, worst=(SeriesSample(labels={"model": "fraud"}, value="0.252"),)
        ),
    }
    return RetrainingSpec(
        trigger_ref=TriggerRef(name="fraud", uid="u-1", generation=4),
        model=Model(name="fraud-model", version="7"),
        cause=Cause.DRIFT,
        reason="score 0.252 > threshold 0.2 (episode 2, attempt 1 of 3)",
        evidence=Evidence(**(given | evidence)),
        job_template=template,
        episode=2,
        attempt=1,
    )


def body(template: Json, **evidence: Any) -> Json:
    return job_body(retraining(template, **evidence), name=NAME, namespace="models", uid="r-1")


def pod(*containers: Json, **spec: Any) -> Json:
    return {"spec": {"template": {"spec": {"containers": list(containers), **spec}}}}


ENVIRONMENT = [
    ("DRIFT_TRIGGER", "fraud"),
    ("DRIFT_NAMESPACE", "models"),
    ("DRIFT_RETRAINING", NAME),
    ("DRIFT_MODEL", "fraud-model"),
    ("DRIFT_MODEL_VERSION", "7"),
    ("DRIFT_SCORE", "0.252"),
    ("DRIFT_THRESHOLD", "0.2"),
    ("DRIFT_COMPARISON", "GreaterThan"),
    ("DRIFT_EVALUATED_AT", "2026-03-02T12:00:00Z"),
    ("DRIFT_EPISODE", "2"),
    ("DRIFT_ATTEMPT", "1"),
    ("DRIFT_REASON", "score 0.252 > threshold 0.2 (episode 2, attempt 1 of 3)"),
    ("DRIFT_QUERY", 'max(drift{model="fraud"})'),
    ("DRIFT_SERIES", '[{"labels":{"model":"fraud"},"value":"0.252"}]'),
    ("DRIFT_OUTCOME", "Score"),
    ("DRIFT_CAUSE", "Drift"),
]
OURS = {"drifttrigger.dev/trigger": "fraud", "drifttrigger.dev/retraining": NAME}
TEMPLATE: Json = {
    "metadata": {
        "labels": {
            "team": "risk",
            "kueue.x-k8s.io/queue-name": "gpu",
            "drifttrigger.dev/trigger": "forged",
            "argocd.argoproj.io/instance": "app",
        },
        "annotations": {
            "note": "kept",
            "argocd.argoproj.io/tracking-id": "app:batch/Job:x/y",
            "kubectl.kubernetes.io/last-applied-configuration": "{}",
        },
    },
    "spec": {
        "suspend": True,
        "backoffLimit": 4,
        "ttlSecondsAfterFinished": 60,
        "activeDeadlineSeconds": 3600,
        "template": {
            "metadata": {"labels": {"app": "x", "drifttrigger.dev/retraining": "forged"}},
            "spec": {
                "restartPolicy": "Never",
                "serviceAccountName": "trainer",
                "initContainers": [{"name": "fetch", "image": "fetch:1"}],
                "containers": [
                    {
                        "name": "train",
                        "image": "train:1",
                        "args": ["--score=$(DRIFT_SCORE)"],
                        "resources": {"limits": {"cpu": 2}},
                        "env": [{"name": "MODE", "value": "$(DRIFT_MODEL)-full"}],
                    }
                ],
            },
        },
    },
}


def test_the_job_is_the_template_with_our_name_labels_and_evidence() -> None:
    evidence = [{"name": name, "value": value} for name, value in ENVIRONMENT]
    mode = {"name": "MODE", "value": "$(DRIFT_MODEL)-full"}
    container = TEMPLATE["spec"]["template"]["spec"]["containers"][0]
    assert body(TEMPLATE) == {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": NAME,
            "namespace": "models",
            "labels": {"team": "risk", "kueue.x-k8s.io/queue-name": "gpu", **OURS},
            "annotations": {"note": "kept"},
            "ownerReferences": [
                {
                    "apiVersion": "drifttrigger.dev/v1alpha1",
                    "kind": "Retraining",
                    "name": NAME,
                    "uid": "r-1",
                    "controller": True,
                }
            ],
        },
        "spec": {
            "suspend": True,
            "backoffLimit": 4,
            "activeDeadlineSeconds": 3600,
            "template": {
                "metadata": {"labels": {"app": "x", **OURS}},
                "spec": {
                    "restartPolicy": "Never",
                    "serviceAccountName": "trainer",
                    "initContainers": [{"name": "fetch", "image": "fetch:1", "env": evidence}],
                    "containers": [{**container, "env": [*evidence, mode]}],
                },
            },
        },
    }


def test_the_template_itself_is_left_alone() -> None:
    before = json.dumps(TEMPLATE)
    body(TEMPLATE)
    assert json.dumps(TEMPLATE) == before


def test_the_evidence_comes_first_in_its_order() -> None:
    made = body(pod({"name": "a", "env": [{"name": "X", "value": "$(DRIFT_SCORE)"}]}))
    names = [v["name"] for v in made["spec"]["template"]["spec"]["containers"][0]["env"]]
    assert names == [name for name, _ in ENVIRONMENT] + ["X"]


def test_a_name_that_the_template_sets_itself_wins() -> None:
    own = [
        {"name": "DRIFT_SCORE", "value": "1"},
        {"name": "DRIFT_MODEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]
    made = body(pod({"name": "a", "env": own}))
    env = made["spec"]["template"]["spec"]["containers"][0]["env"]
    assert [v for v in env if v["name"] in ("DRIFT_SCORE", "DRIFT_MODEL")] == own
    assert len({v["name"] for v in env}) == len(env) == len(ENVIRONMENT)


def test_without_a_score_there_is_no_score() -> None:
    spec = retraining({}, score=None, outcome=Outcome.NO_DATA, series=None)
    made = {v["name"]: v["value"] for v in environment_of(spec, name=NAME, namespace="models")}
    assert "DRIFT_SCORE" not in made
    assert (made["DRIFT_OUTCOME"], made["DRIFT_SERIES"]) == ("NoData", "[]")


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_the_score_reads_back_as_the_same_double(score: float) -> None:
    spec = retraining({}, score=score)
    made = {v["name"]: v["value"] for v in environment_of(spec, name=NAME, namespace="models")}
    assert float(made["DRIFT_SCORE"]) == score


def expand(value: str, names: dict[str, str]) -> str:
    """Expand `$(NAME)` as the kubelet does (third_party/forked/golang/expansion)."""
    out, at = "", 0
    while at < len(value):
        if value[at] != "$" or at + 1 == len(value):
            out, at = out + value[at], at + 1
        elif value[at + 1] == "$":
            out, at = out + "$", at + 2
        elif value[at + 1] == "(" and (end := value.find(")", at)) > 0:
            name = value[at + 2 : end]
            out, at = out + names.get(name, f"$({name})"), end + 1
        else:
            out, at = out + "$", at + 1
    return out


HOSTILE = st.text(st.sampled_from("$()SECRETa\"'\\\n;`{}é"), max_size=24)


@given(HOSTILE, HOSTILE)
def test_no_label_or_query_reaches_a_secret_of_the_pod(label: str, query: str) -> None:
    worst = SeriesSample(labels={"l": label}, value="1")
    series = SeriesSummary(count=1, breaching=1, worst=(worst,))
    spec = retraining({}, query=query, series=series)
    made = {v["name"]: v["value"] for v in environment_of(spec, name=NAME, namespace="models")}
    secrets = {"SECRET": "the secret", "a": "another", "": "a third"}
    assert expand(made["DRIFT_QUERY"], secrets) == query
    shown = json.loads(expand(made["DRIFT_SERIES"], secrets))
    assert shown == [{"labels": {"l": label}, "value": "1"}]


def test_a_value_that_asks_for_a_secret_is_doubled() -> None:
    spec = retraining({}, query="$(SECRET) $$(X) $")
    made = {v["name"]: v["value"] for v in environment_of(spec, name=NAME, namespace="models")}
    assert made["DRIFT_QUERY"] == "$$(SECRET) $$$$(X) $$"


@pytest.mark.parametrize(
    "template",
    [
        pytest.param({}, id="empty"),
        pytest.param({"spec": None, "metadata": None}, id="null"),
        pytest.param({"spec": {"template": []}}, id="a list for the pod"),
        pytest.param({"spec": {"template": {"spec": {"containers": "x"}}}}, id="no list"),
        pytest.param({"spec": {"template": {"spec": {"containers": [None, 1]}}}}, id="no object"),
        pytest.param(pod({"name": "a", "env": None}), id="env null"),
        pytest.param(pod({"name": "a", "env": [None, {"value": "x"}]}), id="env without names"),
        pytest.param({"metadata": {"labels": [], "annotations": "x"}}, id="labels that are none"),
    ],
)
def test_a_template_that_the_api_server_will_refuse_is_built_all_the_same(template: Json) -> None:
    made = body(template)
    assert made["metadata"]["labels"] == OURS
    assert made["spec"]["template"]["metadata"]["labels"] == OURS


def test_metadata_of_the_template_other_than_labels_and_annotations_is_not_taken() -> None:
    template = {"metadata": {"name": "mine", "namespace": "other", "finalizers": ["x/y"]}}
    made = body(template)
    assert (made["metadata"]["name"], made["metadata"]["namespace"]) == (NAME, "models")
    assert "finalizers" not in made["metadata"]


@pytest.mark.parametrize(
    ("template", "ttl"),
    [
        pytest.param({"spec": {"ttlSecondsAfterFinished": 60}}, 60, id="set"),
        pytest.param({"spec": {"ttlSecondsAfterFinished": 0}}, 0, id="zero is a value"),
        pytest.param({"spec": {}}, None, id="not set"),
        pytest.param({"spec": {"ttlSecondsAfterFinished": None}}, None, id="null"),
        pytest.param({"spec": {"ttlSecondsAfterFinished": "60"}}, None, id="a text"),
        pytest.param({"spec": {"ttlSecondsAfterFinished": True}}, None, id="a bool"),
    ],
)
def test_the_ttl_waits_until_the_outcome_is_recorded(template: Json, ttl: int | None) -> None:
    assert ttl_of(retraining(template)) == ttl
    assert "ttlSecondsAfterFinished" not in body(template)["spec"]
