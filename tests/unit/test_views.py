"""Decoding never raises for what a user may write, and never trusts what it can't read."""

from typing import Any

import pytest

from drifttrigger.api.reasons import Reason
from drifttrigger.api.v1alpha1 import DriftTriggerStatus
from drifttrigger.runtime.views import decode_retraining, decode_trigger
from support.builders import UID, instant


def trigger(spec: object, **fields: object) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "fraud",
            "namespace": "models",
            "uid": UID,
            "resourceVersion": "7",
            "generation": 2,
            "creationTimestamp": instant(0),
        },
        "spec": spec,
        **fields,
    }


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


SPEC = {"prometheus": {"address": "http://p"}, "query": "q", "threshold": 1}


def test_a_whole_trigger_has_rules_and_no_problem() -> None:
    view = decode_trigger(trigger(SPEC))
    assert view.problem == ""
    assert view.rules is not None


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        pytest.param({}, "query", id="nothing"),
        pytest.param({**SPEC, "threshold": "x"}, "threshold", id="a word as threshold"),
        pytest.param({**SPEC, "interval": "5 minutes"}, "spec.interval", id="no duration"),
        pytest.param({**SPEC, "schedule": "@daily"}, "spec.schedule", id="no five fields"),
        pytest.param({**SPEC, "jobTemplate": nested(400)}, "nested", id="nested too deeply"),
    ],
)
def test_a_spec_that_cant_be_used_is_a_problem_with_its_field(spec: object, words: str) -> None:
    view = decode_trigger(trigger(spec))
    assert view.rules is None
    assert words in view.problem


def test_a_status_broken_by_hand_counts_as_empty() -> None:
    view = decode_trigger(trigger(SPEC, status={"retrainings": "many"}))
    assert view.status == DriftTriggerStatus()


def test_a_reason_of_another_version_is_read_as_pending() -> None:
    body = trigger(
        {
            "triggerRef": {"name": "fraud", "uid": UID, "generation": 1},
            "model": {},
            "cause": "Drift",
            "reason": "r",
            "evidence": {
                "source": "s",
                "query": "q",
                "time": instant(0),
                "outcome": "Score",
                "threshold": 1,
                "comparison": "GreaterThan",
            },
            "jobTemplate": {},
        },
        status={
            "conditions": [{"type": "Succeeded", "status": "Unknown", "reason": "AwaitingApproval"}]
        },
    )
    view = decode_retraining(body)
    assert view.reason is Reason.PENDING
    assert not view.is_final
