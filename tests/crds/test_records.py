"""What the operator writes: a Retraining never changes, and no field of a status is lost.

On a real API server; what is stored to be edited lies in a namespace of its own.
"""

from typing import Any

import pytest

from support.crds import (
    API_VERSION,
    GROUP,
    PLURALS,
    SMALLEST_SOURCE,
    Edit,
    Server,
    edited,
    install_crds,
    refusal_of,
    sample,
    schema_of,
)

EVERY_FIELD = sample(schema_of("retrainings")["properties"]["spec"])
# Without one optional field, so that it can be added.
RECORD = {name: value for name, value in EVERY_FIELD.items() if name != "attempt"}
CHANGES_OF_A_RECORD = {
    "a number": {"evidence": {"score": 0.5}},
    "a sentence": {"reason": "Because."},
    "an optional field that goes": {"dryRun": None},
    "an optional field that comes": {"attempt": 1},
    "an item of a list": {"evidence": {"warnings": ["other"]}},
    "a key of a map": {
        "evidence": {"series": {"worst": [{"labels": {"b": "Text"}, "value": "Text"}]}}
    },
    "a declared field of the template": {"jobTemplate": {"metadata": {"labels": {"a": "b"}}}},
    "labels swapped for other labels": {
        "jobTemplate": {"metadata": {"labels": {"example.org/key": None, "other": "Text"}}}
    },
    "a field of the Job": {"jobTemplate": {"spec": {"parallelism": 2}}},
    "a field of the Job that comes": {"jobTemplate": {"spec": {"completions": 1}}},
    "a field of the Job that goes": {"jobTemplate": {"spec": {"parallelism": None}}},
    "a field of the Job swapped for another": {
        "jobTemplate": {"spec": {"parallelism": None, "completions": 1}}
    },
    "a field deep in the Job": {"jobTemplate": {"spec": {"unknownInner": {"kept": [2]}}}},
    "metadata of the Job that goes": {"jobTemplate": {"metadata": None}},
}


@pytest.fixture(scope="module")
def record(server: Server) -> str:
    metadata = {"name": "fraud-detector-abcde-1"}
    body = {"apiVersion": API_VERSION, "kind": "Retraining", "metadata": metadata, "spec": RECORD}
    stored = server.create("retrainings", body, dry_run=None)
    assert stored["spec"] == RECORD
    return "fraud-detector-abcde-1"


@pytest.fixture(scope="module")
def trigger(server: Server) -> str:
    # Suspended, so that an operator beside us leaves it alone.
    stored = server.create("drifttriggers", edited({"spec.suspend": True}), dry_run=None)
    return stored["metadata"]["name"]


@pytest.mark.e2e
def test_a_full_status_of_a_trigger_is_kept_as_it_is(server: Server, trigger: str) -> None:
    status = sample(schema_of("drifttriggers")["properties"]["status"])
    found = server.edit("drifttriggers", trigger, {"status": status}, status=True)
    assert found["status"] == status


@pytest.mark.e2e
def test_a_full_status_of_a_retraining_is_kept_as_it_is(server: Server, record: str) -> None:
    status = sample(schema_of("retrainings")["properties"]["status"])
    found = server.edit("retrainings", record, {"status": status}, status=True)
    assert found["status"] == status


@pytest.mark.e2e
def test_a_full_status_of_a_source_is_kept_as_it_is(server: Server) -> None:
    stored = server.create("metricssources", SMALLEST_SOURCE, dry_run=None)
    status = sample(schema_of("metricssources")["properties"]["status"])
    name = stored["metadata"]["name"]
    found = server.edit("metricssources", name, {"status": status}, status=True)
    assert found["status"] == status


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("status", "says"),
    [
        pytest.param({"lastTick": "yesterday"}, "date-time", id="a time in words"),
        pytest.param({"window": ["Maybe"]}, '"Breach", "InBand", "Clear"', id="an unknown verdict"),
        pytest.param({"window": ["Breach"] * 101}, "at most 100 items", id="a window of 101"),
        pytest.param(
            {"active": [{"name": "a", "uid": "1"}, {"name": "a", "uid": "2"}]},
            "Duplicate value",
            id="one Retraining active twice",
        ),
        pytest.param(
            {"conditions": [{"type": "Ready", "status": "Perhaps", "reason": "Evaluating"}]},
            '"True", "False", "Unknown"',
            id="an unknown condition status",
        ),
        pytest.param({"unheardOf": 1}, 'unknown field "status.unheardOf"', id="an unknown field"),
    ],
)
def test_a_status_is_refused_with(server: Server, trigger: str, status: Edit, says: str) -> None:
    patch = {"status": status}
    assert says in refusal_of(server.edit, "drifttriggers", trigger, patch, status=True)


@pytest.mark.e2e
@pytest.mark.parametrize("change", CHANGES_OF_A_RECORD.values(), ids=CHANGES_OF_A_RECORD)
def test_a_record_refuses_to_change(server: Server, record: str, change: Edit) -> None:
    refusal = refusal_of(server.edit, "retrainings", record, {"spec": change})
    assert "the spec of a Retraining is a record and can't be changed" in refusal


@pytest.mark.e2e
@pytest.mark.parametrize("name", RECORD)
def test_a_record_refuses_to_lose_a_field(server: Server, record: str, name: str) -> None:
    refusal = refusal_of(server.edit, "retrainings", record, {"spec": {name: None}})
    assert "can't be changed" in refusal or f"spec.{name}: Required value" in refusal


@pytest.mark.e2e
def test_a_record_refuses_to_lose_its_whole_spec(server: Server, record: str) -> None:
    assert "spec: Required value" in refusal_of(server.edit, "retrainings", record, {"spec": None})


@pytest.mark.e2e
@pytest.mark.parametrize("path", ["policies", "decision"])
def test_a_record_refuses_fields_of_later_versions(server: Server, record: str, path: str) -> None:
    refusal = refusal_of(server.edit, "retrainings", record, {"spec": {path: {}}})
    assert f'unknown field "spec.{path}"' in refusal


@pytest.mark.e2e
def test_labels_of_a_record_may_change(server: Server, record: str) -> None:
    patch = {"metadata": {"labels": {"drifttrigger.dev/active": None, "team": "risk"}}}
    found = server.edit("retrainings", record, patch)
    assert found["metadata"]["labels"] == {"team": "risk"}


@pytest.mark.e2e
def test_installing_the_definitions_again_changes_nothing(server: Server, cluster: Any) -> None:
    before = [generation_of(server, plural) for plural in PLURALS]
    install_crds(cluster.kubeconfig)
    assert [generation_of(server, plural) for plural in PLURALS] == before


def generation_of(server: Server, plural: str) -> int:
    crd = server.objects.get_cluster_custom_object(
        "apiextensions.k8s.io", "v1", "customresourcedefinitions", f"{plural}.{GROUP}"
    )
    return crd["metadata"]["generation"]
