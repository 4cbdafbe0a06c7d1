"""The chain of checks: what fires, what does not, and the reason of each no."""

import math
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from drifttrigger.api.reasons import Outcome, Reason
from drifttrigger.api.v1alpha1 import DriftTriggerStatus, Verdict
from drifttrigger.core.decide import Action, Decision, decide, judge
from drifttrigger.core.observation import Observation
from drifttrigger.core.rules import Rules
from support.builders import (
    UID,
    active,
    drifted,
    infinite,
    instant,
    last,
    pending,
    rules,
    score,
    status,
    template_verdict,
    window,
    without_score,
)

ERRORS = [outcome for outcome in Outcome if outcome.is_error]
UP, DOWN = math.nextafter(0.2, 1), math.nextafter(0.2, 0)


def decided(
    of: Rules, before: DriftTriggerStatus, seen: Observation
) -> tuple[DriftTriggerStatus, Decision]:
    return decide(of, before, seen, uid=UID)


# What an observation says.


@pytest.mark.parametrize(
    ("comparison", "value", "breach"),
    [
        pytest.param("GreaterThan", UP, True, id="greater than: the next double above breaches"),
        pytest.param("GreaterThan", 0.2, False, id="greater than: equality is no breach"),
        pytest.param("GreaterThan", DOWN, False, id="greater than: below is no breach"),
        pytest.param("GreaterThanOrEqual", UP, True, id="at least: above breaches"),
        pytest.param("GreaterThanOrEqual", 0.2, True, id="at least: equality breaches"),
        pytest.param("GreaterThanOrEqual", DOWN, False, id="at least: the next double below"),
        pytest.param("LessThan", UP, False, id="less than: above is no breach"),
        pytest.param("LessThan", 0.2, False, id="less than: equality is no breach"),
        pytest.param("LessThan", DOWN, True, id="less than: the next double below breaches"),
        pytest.param("LessThanOrEqual", UP, False, id="at most: the next double above"),
        pytest.param("LessThanOrEqual", 0.2, True, id="at most: equality breaches"),
        pytest.param("LessThanOrEqual", DOWN, True, id="at most: below breaches"),
        pytest.param("GreaterThan", 0.1 + 0.1 + 0.0, False, id="a sum that is exactly θ is equal"),
        pytest.param("GreaterThan", 0.3 - 0.1, False, id="0.3 - 0.1 is a little below 0.2"),
        pytest.param("GreaterThan", -0.0, False, id="minus zero is a number"),
        pytest.param("GreaterThan", 1.7976931348623157e308, True, id="the largest double"),
    ],
)
def test_a_score_is_compared_exactly(comparison: str, value: float, breach: bool) -> None:
    of = rules(comparison=comparison)
    after, decision = decided(of, status(of), score(value))
    assert (decision.action is Action.RETRAIN) == breach
    assert (after.pending is not None) == breach
    assert decision.verdict is (Verdict.BREACH if breach else Verdict.CLEAR)


def test_zero_and_minus_zero_are_equal() -> None:
    of = rules(threshold=0.0)
    assert judge(of, score(-0.0)) is judge(of, score(0.0)) is Verdict.CLEAR


@pytest.mark.parametrize(
    ("comparison", "clear", "value", "verdict"),
    [
        pytest.param("GreaterThan", 0.1, 0.21, "B", id="above θ breaches"),
        pytest.param("GreaterThan", 0.1, 0.2, "I", id="θ itself lies in the band"),
        pytest.param("GreaterThan", 0.1, 0.11, "I", id="between lies in the band"),
        pytest.param("GreaterThan", 0.1, 0.1, "C", id="the clear bound itself is clear"),
        pytest.param("GreaterThanOrEqual", 0.1, 0.2, "B", id="at least: θ breaches"),
        pytest.param("GreaterThanOrEqual", 0.1, 0.1, "I", id="at least: the bound is in the band"),
        pytest.param("GreaterThanOrEqual", 0.1, 0.09, "C", id="at least: below the bound clears"),
        pytest.param("LessThan", 0.3, 0.19, "B", id="less than: below θ breaches"),
        pytest.param("LessThan", 0.3, 0.2, "I", id="less than: θ lies in the band"),
        pytest.param("LessThan", 0.3, 0.3, "C", id="less than: the clear bound is clear"),
        pytest.param("LessThanOrEqual", 0.3, 0.3, "I", id="at most: the bound is in the band"),
        pytest.param("LessThanOrEqual", 0.3, 0.31, "C", id="at most: above the bound clears"),
        pytest.param("GreaterThan", None, 0.2, "C", id="no clearThreshold: θ is clear"),
        pytest.param("GreaterThan", 0.2, 0.2, "C", id="clearThreshold equal to θ: no band"),
    ],
)
def test_the_band_lies_between_clear_threshold_and_threshold(
    comparison: str, clear: float | None, value: float, verdict: str
) -> None:
    of = rules(comparison=comparison, clear_threshold=clear)
    assert judge(of, score(value)) is window(verdict)[0]


@pytest.mark.parametrize("outcome", [Outcome.NO_DATA, Outcome.NOT_A_NUMBER])
@pytest.mark.parametrize(
    ("policy", "verdict"),
    [
        pytest.param("Hold", None, id="held"),
        pytest.param("Breach", Verdict.BREACH, id="a breach without a score"),
        pytest.param("Clear", Verdict.CLEAR, id="clear"),
    ],
)
def test_no_data_and_nan_are_what_no_data_says(
    outcome: Outcome, policy: str, verdict: Verdict | None
) -> None:
    of = rules(no_data=policy)
    assert judge(of, without_score(outcome)) is verdict


@pytest.mark.parametrize(
    ("policy", "comparison", "value", "verdict"),
    [
        pytest.param("Hold", "GreaterThan", math.inf, None, id="held by default"),
        pytest.param("Compare", "GreaterThan", math.inf, Verdict.BREACH, id="+Inf is greater"),
        pytest.param("Compare", "GreaterThan", -math.inf, Verdict.CLEAR, id="-Inf is not"),
        pytest.param("Compare", "LessThan", -math.inf, Verdict.BREACH, id="-Inf is less"),
        pytest.param("Compare", "LessThan", math.inf, Verdict.CLEAR, id="+Inf is not less"),
    ],
)
def test_infinity_is_what_infinity_says(
    policy: str, comparison: str, value: float, verdict: Verdict | None
) -> None:
    of = rules(infinity=policy, comparison=comparison)
    assert judge(of, infinite(value)) is verdict


@pytest.mark.parametrize("outcome", ERRORS)
def test_no_policy_makes_an_error_decide(outcome: Outcome) -> None:
    of = rules(no_data="Breach", infinity="Compare", partial_data="Accept")
    assert judge(of, without_score(outcome)) is None


def test_no_data_policy_does_not_reach_infinity_nor_the_other_way_round() -> None:
    assert judge(rules(no_data="Breach"), infinite()) is None
    assert judge(rules(infinity="Compare"), without_score(Outcome.NO_DATA)) is None


# Holds, probes, old ticks.


@pytest.mark.parametrize("outcome", [o for o in Outcome if o is not Outcome.SCORE])
def test_a_hold_leaves_window_episode_and_cooldown_alone(outcome: Outcome) -> None:
    of = rules(breaches=(3, 5))
    before = drifted(of, verdicts="BIB", attempts=1, last_retraining=last(ended=1))
    seen = infinite(at=9) if outcome is Outcome.INFINITE else without_score(outcome, at=9)
    after, decision = decided(of, before, seen)
    assert replace(after, last_tick="") == before
    assert decision.verdict is None
    assert decision.action is Action.NOTHING


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [(outcome, Reason.SOURCE_ERROR) for outcome in ERRORS]
    + [
        (Outcome.NO_DATA, Reason.NO_DATA),
        (Outcome.NOT_A_NUMBER, Reason.NOT_A_NUMBER),
        (Outcome.PARTIAL, Reason.PARTIAL),
    ],
)
def test_a_hold_says_its_outcome(outcome: Outcome, reason: Reason) -> None:
    of = rules()
    _, decision = decided(of, status(of), without_score(outcome))
    assert (decision.reason, decision.message) == (reason, f"it was {outcome.value}")


@pytest.mark.parametrize("outcome", ERRORS)
def test_an_error_leaves_its_tick_due(outcome: Outcome) -> None:
    of = rules()
    after, _ = decided(of, status(of), without_score(outcome, at=3))
    assert after.last_tick == ""
    _, decision = decided(of, after, score(0.3, at=3))
    assert decision.action is Action.RETRAIN


@pytest.mark.parametrize("outcome", [Outcome.NO_DATA, Outcome.NOT_A_NUMBER, Outcome.PARTIAL])
def test_a_named_hold_that_is_no_error_uses_its_tick(outcome: Outcome) -> None:
    of = rules()
    after, _ = decided(of, status(of), without_score(outcome, at=3))
    assert after.last_tick == instant(3)


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        pytest.param(status, Reason.AWAITING_TICK, id="nothing is known: the tick decides"),
        pytest.param(drifted, Reason.DRIFTED, id="the episode stays open"),
    ],
)
@pytest.mark.parametrize("value", [0.3, 0.05], ids=["breach", "clear"])
def test_a_probe_never_decides(
    before: Callable[[Rules], DriftTriggerStatus], reason: Reason, value: float
) -> None:
    of = rules(cooldown="0s")
    after, decision = decided(of, before(of), score(value, probe=True))
    assert after == before(of)
    assert (decision.action, decision.reason) == (Action.NOTHING, reason)
    assert decision.verdict is None


@pytest.mark.parametrize("at", [4, 5], ids=["an older tick", "the same tick"])
@pytest.mark.parametrize("value", [0.3, 0.05], ids=["breach", "clear"])
def test_a_tick_that_is_not_newer_changes_nothing(at: int, value: float) -> None:
    of = rules(cooldown="0s")
    before = drifted(of, last_tick=instant(5))
    after, decision = decided(of, before, score(value, at=at))
    assert (after, decision.action) == (before, Action.NOTHING)


def test_a_late_no_data_does_not_turn_the_last_tick_back() -> None:
    of = rules()
    before = status(of, last_tick=instant(5))
    after, _ = decided(of, before, without_score(Outcome.NO_DATA, at=4))
    assert after.last_tick == instant(5)


# The order of the chain.


def _obstacles() -> list[tuple[Rules, DriftTriggerStatus, Observation, Reason, str]]:
    """One obstacle less in each row, and the reason that is then the first."""
    tight = rules(breaches=(2, 3), max_attempts=2, cooldown="1h")
    everything = drifted(
        tight,
        attempts=2,
        verdicts="I",
        pending=pending(4),
        active=(active(3),),
        last_retraining=last(ended=0),
        conditions=(template_verdict("False"),),
    )
    asleep = rules(breaches=(2, 3), max_attempts=2, cooldown="1h", suspend=True)
    created = replace(everything, pending=None)
    valid = replace(created, conditions=())
    ended = replace(valid, active=())
    more = rules(breaches=(2, 3), max_attempts=3, cooldown="1h")
    once = rules(breaches=(1, 3), max_attempts=3, cooldown="1h")
    soon, late = score(0.3, at=2), score(0.3, at=12)
    failed = without_score(Outcome.UNREACHABLE)
    empty = without_score(Outcome.NO_DATA)
    not_open = status(tight, pending=pending(4), active=(active(3),))
    return [
        (asleep, everything, failed, Reason.SUSPENDED, "suspended"),
        (tight, everything, failed, Reason.SOURCE_ERROR, "it was Unreachable"),
        (tight, everything, empty, Reason.NO_DATA, "it was NoData"),
        (tight, not_open, soon, Reason.BREACHING, "1 of 2 breaches"),
        (tight, everything, soon, Reason.RETRAINING_REQUESTED, "fraud-4 is being created"),
        (tight, created, soon, Reason.JOB_REFUSED, "refuses the Job template"),
        (tight, valid, soon, Reason.RETRAINING_ACTIVE, "the last of 2 attempts"),
        (tight, ended, soon, Reason.ATTEMPTS_EXHAUSTED, "2 of 2 attempts used"),
        (more, valid, soon, Reason.RETRAINING_ACTIVE, "fraud-3 has not ended"),
        (more, ended, soon, Reason.COOLING_DOWN, "50m left"),
        (more, ended, late, Reason.DRIFTED, "1 of 2 breaches"),
        (once, replace(ended, spec_hash=once.hashes), late, Reason.RETRAINING_REQUESTED, "0.3 >"),
    ]


def test_the_checks_come_in_the_order_of_the_contract() -> None:
    seen = []
    for of, before, observation, _, fragment in _obstacles():
        _, decision = decided(of, before, observation)
        assert fragment in decision.message
        seen.append(decision.reason)
    assert seen == [reason for *_, reason, _ in _obstacles()]
    *rows, (of, before, observation, _, _) = _obstacles()
    assert decided(of, before, observation)[1].action is Action.RETRAIN
    assert all(decided(of, s, o)[1].action is Action.NOTHING for of, s, o, _, _ in rows)
