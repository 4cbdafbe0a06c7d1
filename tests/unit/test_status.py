"""Status: what is worth a write, and the smallest patch that says it."""

import copy
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from drifttrigger.api.reasons import Outcome
from drifttrigger.api.v1alpha1 import (
    Condition,
    DriftTriggerStatus,
    Episode,
    LastEvaluation,
    LastManual,
)
from drifttrigger.core.status import meaning, merge_patch, status_patch, to_json
from support.builders import active, drifted, instant, last, pending, rules, status, window
from support.merge import apply_merge_patch

Json = dict[str, Any]
SCALARS = st.one_of(st.booleans(), st.integers(-3, 3), st.text("ab", max_size=2), st.floats(0, 1))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4)


@given(OBJECTS, OBJECTS)
def test_a_patch_turns_old_into_new(old: Json, new: Json) -> None:
    before = copy.deepcopy((old, new))
    assert apply_merge_patch(old, merge_patch(old, new)) == new
    assert (old, new) == before


@given(OBJECTS)
def test_no_change_is_an_empty_patch(value: Json) -> None:
    assert merge_patch(value, copy.deepcopy(value)) == {}


@given(OBJECTS, OBJECTS)
def test_a_patch_of_a_patched_object_is_empty(old: Json, new: Json) -> None:
    assert merge_patch(apply_merge_patch(old, merge_patch(old, new)), new) == {}


@pytest.mark.parametrize(
    ("old", "new", "patch"),
    [
        pytest.param({"a": 1}, {"a": 1, "b": 2}, {"b": 2}, id="added"),
        pytest.param({"a": 1, "b": 2}, {"a": 1}, {"b": None}, id="removed"),
        pytest.param({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, {"a": {"c": None}}, id="inside"),
        pytest.param({"a": [1, 2]}, {"a": [1, 3]}, {"a": [1, 3]}, id="lists are replaced whole"),
        pytest.param({"a": {"b": 1}}, {"a": [1]}, {"a": [1]}, id="an object becomes a list"),
        pytest.param({"a": [1]}, {"a": {"b": 1}}, {"a": {"b": 1}}, id="a list becomes an object"),
        pytest.param({"a": {"b": 1}}, {"a": {}}, {"a": {"b": None}}, id="emptied"),
    ],
)
def test_a_patch_is_the_smallest(old: Json, new: Json, patch: Json) -> None:
    assert merge_patch(old, new) == patch


def test_a_status_patch_carries_what_it_was_decided_on() -> None:
    of = rules()
    old, new = status(of, verdicts="B", pending=pending()), status(of, verdicts="BB")
    patch = status_patch(old, new, uid="u-1", resource_version="77")
    assert msgspec.json.decode(msgspec.json.encode(patch)) == {
        "metadata": {"uid": "u-1", "resourceVersion": "77"},
        "status": {"pending": None, "window": ["Breach", "Breach"]},
    }


def _full() -> DriftTriggerStatus:
    return drifted(
        rules(),
        number=3,
        attempts=2,
        verdicts="BIC",
        conditions=(Condition(type="Ready", status="True", reason="Evaluating"),),
        last_evaluation=LastEvaluation(time=instant(1), outcome=Outcome.SCORE, score=0.1),
        last_tick=instant(5),
        retrainings=9,
        pending=pending(9),
        last_retraining=last(score_after=0.5),
        active=(active(1), active(2, started=True)),
        last_manual=LastManual(time=instant(2), result="Refused: held"),
    )


def test_a_status_survives_the_api_server() -> None:
    text = msgspec.json.encode(_full())
    assert msgspec.json.decode(text, type=DriftTriggerStatus) == _full()
    assert msgspec.convert(to_json(_full()), DriftTriggerStatus) == _full()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"last_tick": instant(6)}, id="the tick"),
        pytest.param({"last_evaluation": None}, id="the newest answer"),
        pytest.param(
            {
                "conditions": (
                    Condition(type="Ready", status="True", reason="Evaluating", message="x"),
                )
            },
            id="a message",
        ),
        pytest.param(
            {"episode": Episode(number=3, since=instant(0), attempts=2, worst_score=0.9)},
            id="the worst score",
        ),
    ],
)
def test_what_waits_for_the_heartbeat_has_no_meaning(change: dict[str, Any]) -> None:
    changed = replace(_full(), **change)
    assert changed != _full()
    assert meaning(changed) == meaning(_full())


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"window": window("BIB")}, id="the window"),
        pytest.param({"episode": None}, id="the end of the episode"),
        pytest.param({"episode": Episode(number=3, since=instant(0), attempts=3)}, id="attempts"),
        pytest.param({"pending": None}, id="the intent"),
        pytest.param({"active": (active(1),)}, id="active"),
        pytest.param({"active": (active(1), active(2))}, id="started"),
        pytest.param({"last_retraining": last(score_after=0.4)}, id="scoreAfter"),
        pytest.param({"last_manual": None}, id="the request by hand"),
        pytest.param({"retrainings": 10}, id="the sequence"),
        pytest.param({"spec_hash": rules(threshold=0.9).hashes}, id="the digests"),
        pytest.param({"observed_generation": 2}, id="the generation"),
        pytest.param(
            {"conditions": (Condition(type="Ready", status="False", reason="Evaluating"),)},
            id="a condition's status",
        ),
        pytest.param(
            {"conditions": (Condition(type="Ready", status="True", reason="Suspended"),)},
            id="a condition's reason",
        ),
    ],
)
def test_what_a_decision_rests_on_has_a_meaning(change: dict[str, Any]) -> None:
    assert meaning(replace(_full(), **change)) != meaning(_full())


def test_the_order_of_conditions_has_no_meaning() -> None:
    one = Condition(type="Ready", status="True", reason="Evaluating")
    other = Condition(type="Drifted", status="False", reason="BelowThreshold")
    assert meaning(replace(_full(), conditions=(one, other))) == meaning(
        replace(_full(), conditions=(other, one))
    )


@given(st.integers(0, 3), st.integers(0, 3))
def test_statuses_are_patched_into_each_other(first: int, second: int) -> None:
    of = rules()
    states = [to_json(s) for s in (DriftTriggerStatus(), status(of), drifted(of), _full())]
    old, new = states[first], states[second]
    assert apply_merge_patch(old, merge_patch(old, new)) == new
