"""Conditions: calm about the server, prompt about the spec, never healthy by accident."""

from collections.abc import Sequence
from datetime import timedelta

import pytest
from msgspec.structs import replace

from drifttrigger.api.reasons import ConditionType, Outcome, Reason
from drifttrigger.api.v1alpha1 import Condition, DriftTriggerStatus
from drifttrigger.core import conditions
from drifttrigger.core.conditions import Health, evaluated, find
from drifttrigger.core.decide import decide
from drifttrigger.core.observation import Observation
from drifttrigger.core.rules import Rules
from drifttrigger.core.times import format_instant
from support.builders import (
    START,
    UID,
    drifted,
    infinite,
    rules,
    score,
    status,
    template_verdict,
    without_score,
)

KINDS = {"Ready": ConditionType.READY, "Drifted": ConditionType.DRIFTED}


class Watch:
    """A trigger whose conditions are followed over asks."""

    def __init__(self, of: Rules, before: DriftTriggerStatus | None = None) -> None:
        self.rules = of
        self.status = before or DriftTriggerStatus()
        self.health = Health()

    def ask(self, observation: Observation, *, after_seconds: float) -> "Watch":
        now = START + timedelta(seconds=after_seconds)
        good = conditions.is_good(self.rules, observation)
        self.health = self.health.after(good=good, generation=self.rules.generation, now=now)
        state, decision = decide(self.rules, self.status, observation, uid=UID)
        changed = evaluated(self.rules, state, observation, decision, self.health, now=now)
        self.status = replace(state, conditions=changed)
        return self

    def restart(self) -> None:
        self.health = Health()

    def edit(self, of: Rules) -> None:
        self.rules = of

    def get(self, kind: str) -> Condition:
        found = find(self.status.conditions, ConditionType(kind))
        assert found is not None
        return found

    def says(self, kind: str) -> str:
        found = self.get(kind)
        return f"{found.status}/{found.reason}"


def failing(outcome: Outcome = Outcome.UNREACHABLE, at: int = 9) -> Observation:
    return without_score(outcome, at=at)


# The calm rule.


@pytest.mark.parametrize(
    ("failures", "ready"),
    [
        pytest.param([0], "True/Evaluating", id="one failing ask"),
        pytest.param([0, 60], "True/Evaluating", id="two in a minute"),
        pytest.param([0, 120], "True/Evaluating", id="two, two minutes apart"),
        pytest.param([0, 1, 119.9], "True/Evaluating", id="three within less than two minutes"),
        pytest.param([0, 1, 120], "False/Unreachable", id="three over exactly two minutes"),
        pytest.param([0, 1, 2, 3, 4], "True/Evaluating", id="five in seconds (retries)"),
        pytest.param([0, 1, 2, 3, 200], "False/Unreachable", id="five over minutes"),
        pytest.param([0, 600], "True/Evaluating", id="two, ten minutes apart"),
    ],
)
def test_ready_turns_false_after_three_failing_asks_and_two_minutes(
    failures: Sequence[float], ready: str
) -> None:
    watch = Watch(rules()).ask(score(0.1, at=1), after_seconds=-10)
    for seconds in failures:
        watch.ask(failing(), after_seconds=seconds)
    assert watch.says("Ready") == ready


def test_one_good_answer_starts_the_count_anew() -> None:
    watch = Watch(rules()).ask(score(0.1, at=1), after_seconds=-10)
    for seconds in (0, 100):
        watch.ask(failing(), after_seconds=seconds)
    watch.ask(score(0.1, at=10), after_seconds=110)
    for seconds in (120, 230):
        watch.ask(failing(at=11), after_seconds=seconds)
    assert watch.says("Ready") == "True/Evaluating"


@pytest.mark.parametrize("outcome", [o for o in Outcome if o is not Outcome.SCORE])
def test_a_trigger_that_never_succeeded_says_so_at_once(outcome: Outcome) -> None:
    seen = infinite(at=9) if outcome is Outcome.INFINITE else failing(outcome)
    watch = Watch(rules()).ask(seen, after_seconds=0)
    assert watch.says("Ready") == f"False/{outcome.value}"
    assert watch.get("Drifted").status == "Unknown"


def test_nothing_since_the_last_edit_counts_as_never() -> None:
    watch = Watch(rules()).ask(score(0.1), after_seconds=0)
    watch.edit(rules(generation=2, query="typo(drift)"))
    watch.ask(failing(Outcome.QUERY_ERROR), after_seconds=5)
    assert watch.says("Ready") == "False/QueryError"


def test_a_query_that_only_an_edit_can_cure_is_said_at_once() -> None:
    watch = Watch(rules()).ask(score(0.1), after_seconds=0)
    bad = replace(failing(Outcome.QUERY_ERROR), needs_edit=True, message="bad_data: parse error")
    watch.ask(bad, after_seconds=300)
    assert watch.says("Stalled") == "True/SpecInvalid"
    assert watch.says("Ready") == "False/QueryError"
    assert watch.get("Ready").message == "bad_data: parse error"


def test_a_restart_makes_conditions_no_wilder() -> None:
    watch = Watch(rules()).ask(score(0.1), after_seconds=0)
    watch.restart()
    watch.ask(failing(), after_seconds=300)
    assert watch.says("Ready") == "True/Evaluating"
    for seconds in (301, 420):
        watch.ask(failing(), after_seconds=seconds)
    assert watch.says("Ready") == "False/Unreachable"


def test_a_restart_does_not_turn_a_failing_trigger_ready() -> None:
    watch = Watch(rules()).ask(failing(), after_seconds=0)
    watch.restart()
    watch.ask(failing(), after_seconds=300)
    assert watch.says("Ready") == "False/Unreachable"


@pytest.mark.parametrize(
    ("outcome", "policy"),
    [
        pytest.param(Outcome.NO_DATA, {"no_data": "Breach"}, id="noData: Breach"),
        pytest.param(Outcome.NO_DATA, {"no_data": "Clear"}, id="noData: Clear"),
        pytest.param(Outcome.NOT_A_NUMBER, {"no_data": "Clear"}, id="NaN under noData: Clear"),
    ],
)
def test_what_the_spec_gives_a_meaning_is_ready(outcome: Outcome, policy: dict[str, str]) -> None:
    watch = Watch(rules(**policy)).ask(failing(outcome), after_seconds=0)
    assert watch.says("Ready") == "True/Evaluating"
    assert watch.get("Ready").message == f"{outcome}: it was {outcome.value}"


def test_infinity_that_is_compared_is_ready() -> None:
    watch = Watch(rules(infinity="Compare")).ask(infinite(), after_seconds=0)
    assert watch.says("Ready") == "True/Evaluating"


def test_ready_carries_the_servers_own_words_bounded() -> None:
    seen = replace(failing(), message="x" * 5000 + "\x1b[31m")
    watch = Watch(rules()).ask(seen, after_seconds=0)
    assert len(watch.get("Ready").message) == 512


# Drifted.


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        pytest.param(score(0.1), "False/BelowThreshold", id="clear"),
        pytest.param(score(0.3), "True/RetrainingRequested", id="breach"),
        pytest.param(score(0.1, probe=True), "Unknown/AwaitingTick", id="a probe knows nothing"),
        pytest.param(score(0.3, probe=True), "Unknown/AwaitingTick", id="not even of a breach"),
        pytest.param(without_score(Outcome.NO_DATA), "Unknown/NoData", id="no data"),
        pytest.param(without_score(Outcome.UNREACHABLE), "Unknown/SourceError", id="unreachable"),
        pytest.param(without_score(Outcome.AMBIGUOUS), "Unknown/SourceError", id="many series"),
        pytest.param(without_score(Outcome.PARTIAL), "Unknown/Partial", id="partial"),
        pytest.param(infinite(), "Unknown/Infinite", id="infinite"),
    ],
)
def test_the_first_answer_says_drifted_or_unknown(seen: Observation, says: str) -> None:
    assert Watch(rules()).ask(seen, after_seconds=0).says("Drifted") == says


def test_drifted_stays_true_over_a_short_failure_and_turns_unknown_with_ready() -> None:
    watch = Watch(rules()).ask(score(0.3), after_seconds=0)
    watch.ask(failing(at=2), after_seconds=300)
    assert watch.says("Drifted") == "True/RetrainingRequested"
    for seconds in (301, 420):
        watch.ask(failing(at=2), after_seconds=seconds)
    assert (watch.says("Ready"), watch.says("Drifted")) == (
        "False/Unreachable",
        "Unknown/SourceError",
    )
    watch.ask(score(0.3, at=2), after_seconds=430)
    assert watch.get("Drifted").status == "True"


def test_drifted_stays_false_over_a_short_failure() -> None:
    watch = Watch(rules()).ask(score(0.1), after_seconds=0)
    watch.ask(failing(at=2), after_seconds=300)
    assert watch.says("Drifted") == "False/BelowThreshold"


def test_an_edit_makes_a_clear_trigger_unknown_until_its_tick() -> None:
    watch = Watch(rules()).ask(score(0.1), after_seconds=0)
    watch.edit(rules(generation=2, threshold=0.05))
    watch.ask(score(0.1, at=2, probe=True), after_seconds=10)
    assert watch.says("Drifted") == "Unknown/AwaitingTick"
    watch.ask(score(0.1, at=3), after_seconds=20)
    assert watch.says("Drifted") == "True/RetrainingRequested"


def test_an_edit_that_ends_the_episode_is_not_drifted_any_more() -> None:
    watch = Watch(rules()).ask(score(0.3), after_seconds=0)
    watch.edit(rules(generation=2, threshold=0.5))
    watch.ask(score(0.3, at=2, probe=True), after_seconds=10)
    assert watch.says("Drifted") == "Unknown/AwaitingTick"


def test_an_edit_that_keeps_the_episode_keeps_drifted() -> None:
    watch = Watch(rules()).ask(score(0.3), after_seconds=0)
    watch.edit(rules(generation=2, cooldown="1h"))
    watch.ask(score(0.3, at=2, probe=True), after_seconds=10)
    assert watch.get("Drifted").status == "True"
    assert watch.get("Drifted").observed_generation == 2


@pytest.mark.parametrize("state", ["True", "False"])
def test_a_tick_that_is_seen_again_leaves_drifted_alone(state: str) -> None:
    value = 0.3 if state == "True" else 0.1
    watch = Watch(rules()).ask(score(value), after_seconds=0)
    before = watch.get("Drifted")
    watch.ask(score(value), after_seconds=30)
    assert watch.get("Drifted") == before
    assert before.status == state


# The others.


@pytest.mark.parametrize("value", [0.1, 0.3], ids=["clear", "breach"])
def test_a_refused_template_is_not_ready_and_stalled_whatever_the_score(value: float) -> None:
    before = DriftTriggerStatus(conditions=(template_verdict("False"),))
    watch = Watch(rules(), before).ask(score(value), after_seconds=0)
    assert watch.says("Ready") == "False/JobRefused"
    assert watch.says("Stalled") == "True/JobRefused"
    assert watch.says("TemplateValid") == "False/Refused"
    assert watch.get("Ready").message == "spec.template: no such field"


def test_a_template_refused_before_the_edit_says_nothing() -> None:
    before = DriftTriggerStatus(conditions=(template_verdict("False", generation=1),))
    watch = Watch(rules(generation=2), before).ask(score(0.1), after_seconds=0)
    assert watch.says("Ready") == "True/Evaluating"
    assert watch.says("Stalled") == "False/Progressing"


def test_a_suspended_trigger_is_ready_and_knows_nothing() -> None:
    of = rules(suspend=True)
    made = conditions.suspended(of, status(of), now=START)
    assert {c.type: (c.status, c.reason) for c in made} == {
        "Ready": ("True", "Suspended"),
        "Drifted": ("Unknown", "Suspended"),
        "Stalled": ("False", "Progressing"),
    }


def test_a_spec_that_can_not_be_used_is_stalled_at_once() -> None:
    made = conditions.unusable(
        drifted(rules()),
        reason=Reason.SPEC_INVALID,
        message="spec.schedule: no cron",
        generation=5,
        now=START,
    )
    assert {c.type: (c.status, c.reason) for c in made} == {
        "Ready": ("False", "SpecInvalid"),
        "Stalled": ("True", "SpecInvalid"),
        "Drifted": ("Unknown", "AwaitingTick"),
    }
    assert {c.observed_generation for c in made} == {5}


@pytest.mark.parametrize(
    ("stalled", "says"),
    [
        pytest.param(True, ("True", "CannotRecord"), id="only an edit can help"),
        pytest.param(False, ("False", "Progressing"), id="time may help"),
    ],
)
def test_an_intent_that_can_not_be_carried_out_is_not_ready(
    stalled: bool, says: tuple[str, str]
) -> None:
    made = conditions.cannot_record(
        status(rules()),
        reason=Reason.CANNOT_RECORD,
        message="403",
        stalled=stalled,
        generation=1,
        now=START,
    )
    found = {c.type: (c.status, c.reason) for c in made}
    assert found == {"Ready": ("False", "CannotRecord"), "Stalled": says}


def test_the_transition_time_moves_with_the_status_alone() -> None:
    watch = Watch(rules()).ask(score(0.1), after_seconds=0)
    watch.ask(score(0.1, at=2), after_seconds=60)
    assert watch.get("Drifted").last_transition_time == format_instant(START)
    watch.ask(score(0.3, at=3), after_seconds=120)
    turned = watch.get("Drifted").last_transition_time
    assert turned == format_instant(START + timedelta(seconds=120))
    watch.ask(score(0.3, at=4), after_seconds=180)
    assert watch.get("Drifted").reason == Reason.RETRAINING_REQUESTED
    assert watch.get("Drifted").last_transition_time == turned


def test_conditions_of_others_stay() -> None:
    foreign = Condition(type="example.org/Custom", status="True", reason="Set")
    watch = Watch(rules(), DriftTriggerStatus(conditions=(foreign,)))
    watch.ask(score(0.1), after_seconds=0)
    assert find(watch.status.conditions, "example.org/Custom") == foreign  # type: ignore[arg-type]
    assert len(watch.status.conditions) == 4


def test_every_condition_names_the_generation_it_was_made_for() -> None:
    watch = Watch(rules(generation=7))
    for seen in (score(0.1, at=1), failing(at=2), score(0.3, at=3)):
        watch.ask(seen, after_seconds=60)
        assert {c.observed_generation for c in watch.status.conditions} == {7}
