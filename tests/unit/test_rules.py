"""A spec as the decision needs it: defaults, bounds, and digests that tell edits apart."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drifttrigger.api.errors import SpecError
from drifttrigger.api.v1alpha1 import Comparison, ConcurrencyPolicy, InfinityPolicy, NoDataPolicy
from drifttrigger.core.rules import breaches, condition_hash, digest
from support.builders import rules, spec

KEYS = st.text("abcé", max_size=3)
JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=4),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=10,
)


def test_the_smallest_spec_has_the_defaults_of_the_api() -> None:
    of = rules()
    assert (of.comparison, of.clear_threshold) == (Comparison.GREATER_THAN, of.threshold)
    assert (of.required, of.window, of.max_attempts) == (1, 1, 3)
    assert (of.no_data, of.infinity) == (NoDataPolicy.HOLD, InfinityPolicy.HOLD)
    assert of.concurrency is ConcurrencyPolicy.FORBID
    assert (of.cooldown.total_seconds(), of.deadline.total_seconds()) == (86400, 3600)
    assert (of.query_offset.total_seconds(), of.source_name) == (0, of.source.address)
    assert (of.suspend, of.dry_run, of.reduce) == (False, False, None)
    assert of.model.name == "fraud"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        pytest.param({"threshold": math.nan}, "spec.threshold", id="θ is NaN"),
        pytest.param({"threshold": math.inf}, "spec.threshold", id="θ is infinite"),
        pytest.param({"clear_threshold": math.nan}, "spec.clearThreshold", id="clear is NaN"),
        pytest.param({"clear_threshold": 0.21}, "spec.clearThreshold", id="greater: clear above"),
        pytest.param(
            {"comparison": "GreaterThanOrEqual", "clear_threshold": 0.21},
            "spec.clearThreshold",
            id="at least: clear above",
        ),
        pytest.param(
            {"comparison": "LessThan", "clear_threshold": 0.19},
            "spec.clearThreshold",
            id="less: clear below",
        ),
        pytest.param(
            {"comparison": "LessThanOrEqual", "clear_threshold": 0.19},
            "spec.clearThreshold",
            id="at most: clear below",
        ),
        pytest.param({"breaches": (0, 1)}, "spec.breaches", id="no breach required"),
        pytest.param({"breaches": (3, 2)}, "spec.breaches", id="more than the window"),
        pytest.param({"breaches": (1, 101)}, "spec.breaches", id="a window of 101"),
        pytest.param({"breaches": (101, None)}, "spec.breaches", id="101 required"),
        pytest.param({"interval": "0s"}, "spec.interval", id="no interval"),
        pytest.param({"interval": "30d1s"}, "spec.interval", id="an interval beyond 30 days"),
        pytest.param({"interval": "5 m"}, "spec.interval", id="an interval that is none"),
        pytest.param(
            {"interval": "5m", "schedule": "* * * * *"}, "spec.interval", id="both schedules"
        ),
        pytest.param({"schedule": "every day"}, "spec.schedule", id="no cron"),
        pytest.param({"schedule": "0 0 * * *", "time_zone": "Mars"}, "spec.timeZone", id="no zone"),
        pytest.param({"cooldown": "one day"}, "spec.cooldown", id="no cooldown"),
        pytest.param({"query_offset": "-1m"}, "spec.queryOffset", id="an offset ahead"),
        pytest.param({"evaluation_deadline": "x"}, "spec.evaluationDeadline", id="no deadline"),
        pytest.param(
            {"prometheus": {"address": "http://p", "timeout": "0s"}},
            "spec.prometheus.timeout",
            id="no timeout",
        ),
        pytest.param(
            {"prometheus": {"address": "http://p", "timeout": "121s"}},
            "spec.prometheus.timeout",
            id="a timeout beyond two minutes",
        ),
    ],
)
def test_a_field_that_can_not_be_used_is_named(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError) as caught:
        rules(**fields)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "fields",
    [
        {"interval": "1s"},
        {"interval": "30d"},
        {"breaches": (100, 100)},
        {"breaches": (1, 100)},
        {"clear_threshold": 0.2},
        {"comparison": "LessThan", "clear_threshold": 0.2},
        {"comparison": "GreaterThanOrEqual", "clear_threshold": 0.2},
        {"threshold": -1.5, "clear_threshold": -2},
        {"threshold": 0, "clear_threshold": -0.0},
        {"prometheus": {"address": "http://p", "timeout": "2m"}},
        {"evaluation_deadline": "0s", "cooldown": "0s"},
    ],
    ids=str,
)
def test_bounds_are_allowed(fields: dict[str, Any]) -> None:
    assert rules(**fields).name == "fraud"


def test_the_window_is_as_long_as_what_it_requires_by_default() -> None:
    assert rules(breaches=(4, None)).window == 4


@given(st.floats(allow_nan=False), st.floats(allow_nan=False), st.sampled_from(Comparison))
def test_a_comparison_is_the_other_way_round_when_the_sides_are_swapped(
    score: float, threshold: float, comparison: Comparison
) -> None:
    swapped = {
        Comparison.GREATER_THAN: Comparison.LESS_THAN,
        Comparison.LESS_THAN: Comparison.GREATER_THAN,
        Comparison.GREATER_THAN_OR_EQUAL: Comparison.LESS_THAN_OR_EQUAL,
        Comparison.LESS_THAN_OR_EQUAL: Comparison.GREATER_THAN_OR_EQUAL,
    }[comparison]
    assert breaches(score, comparison, threshold) == breaches(threshold, swapped, score)
    strict = comparison in (Comparison.GREATER_THAN, Comparison.LESS_THAN)
    assert breaches(score, comparison, score) is not strict


# Digests.


def test_a_digest_never_changes() -> None:
    assert digest({"a": [1, "x", None, True]}) == "1.ad560e19137e"


@given(JSON)
def test_a_digest_does_not_depend_on_the_order_of_keys(value: Any) -> None:
    assert digest(value) == digest(_reversed(value))


@given(JSON)
def test_a_digest_does_not_tell_1_from_1_0(value: Any) -> None:
    assert digest(value) == digest(_floats(value))


def _reversed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _reversed(value[key]) for key in reversed(value)}
    return [_reversed(item) for item in value] if isinstance(value, list) else value


def _floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_floats(item) for item in value]
    is_small = type(value) is int and abs(value) < 2**53
    return float(value) if is_small else value


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({"a": 1}, {"a": "1"}, id="a number and its text"),
        pytest.param({"a": 1}, {"a": True}, id="one and true"),
        pytest.param({"a": None}, {}, id="null and absent"),
        pytest.param([1, 2], [2, 1], id="the order of a list"),
        pytest.param({"a": {"b": 1}}, {"a": 1, "b": 1}, id="nesting"),
        pytest.param(0.1, 0.1 + 2**-56, id="neighbouring doubles"),
        pytest.param(2**53, 2**53 + 1, id="neighbouring integers beyond doubles"),
    ],
)
def test_what_differs_digests_differently(one: Any, other: Any) -> None:
    assert digest(one) != digest(other)


def test_defaults_written_out_are_no_edit() -> None:
    written = spec(query_offset="0s", comparison="GreaterThan", no_data="Hold", infinity="Hold")
    assert condition_hash(written) == condition_hash(spec())
    assert condition_hash(spec(threshold=1)) == condition_hash(spec(threshold=1.0))


def test_the_template_has_a_digest_of_its_own() -> None:
    one, other = rules(template="a").hashes, rules(template="b").hashes
    assert one.condition == other.condition
    assert one.job_template != other.job_template
