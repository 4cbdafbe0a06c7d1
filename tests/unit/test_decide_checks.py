"""Each check of the chain by itself, and what comes of whole stories."""

import pytest
from msgspec.structs import replace

from drifttrigger.api.reasons import Outcome, Reason, RetrainingResult
from drifttrigger.api.v1alpha1 import Cause, DriftTriggerStatus
from drifttrigger.core.decide import Action, Decision, decide
from drifttrigger.core.observation import Observation
from drifttrigger.core.rules import Rules
from support.builders import (
    UID,
    Story,
    active,
    drifted,
    infinite,
    instant,
    last,
    rules,
    score,
    status,
    template_verdict,
    tick,
    window,
    without_score,
)


def decided(
    of: Rules, before: DriftTriggerStatus, seen: Observation
) -> tuple[DriftTriggerStatus, Decision]:
    return decide(of, before, seen, uid=UID)


# Each check of its own.


@pytest.mark.parametrize(
    ("value", "verdicts", "reason"),
    [
        pytest.param(0.05, "", Reason.BELOW_THRESHOLD, id="clear"),
        pytest.param(0.2, "", Reason.BELOW_THRESHOLD, id="equality without a band"),
        pytest.param(0.05, "B", Reason.BREACHING, id="clear, but the window remembers a breach"),
        pytest.param(0.3, "", Reason.BREACHING, id="the first of three breaches"),
        pytest.param(0.05, "BCCCC", Reason.BELOW_THRESHOLD, id="the last breach leaves the window"),
    ],
)
def test_what_is_not_drifted_says_why(value: float, verdicts: str, reason: Reason) -> None:
    of = rules(breaches=(3, 5))
    _, decision = decided(of, status(of, verdicts=verdicts), score(value))
    assert (decision.action, decision.reason) == (Action.NOTHING, reason)


def test_a_clear_trigger_in_the_band_says_so() -> None:
    of = rules(clear_threshold=0.1)
    after, decision = decided(of, status(of), score(0.15))
    assert decision.reason is Reason.IN_BAND
    assert (
        decision.message == "score 0.15 ≤ threshold 0.2; between clearThreshold 0.1 and threshold"
    )
    assert after.episode is None


def test_a_drifted_trigger_in_the_band_stays_drifted_and_does_not_fire() -> None:
    of = rules(clear_threshold=0.1, cooldown="0s")
    after, decision = decided(of, drifted(of), score(0.15))
    assert (decision.action, decision.reason) == (Action.NOTHING, Reason.DRIFTED)
    assert after.episode == drifted(of).episode


@pytest.mark.parametrize(
    ("state", "generation", "fires"),
    [
        pytest.param("False", 7, False, id="refused"),
        pytest.param("False", 6, True, id="refused before the last edit"),
        pytest.param("Unknown", 7, True, id="not known, for a quota or a webhook"),
        pytest.param("True", 7, True, id="valid"),
    ],
)
def test_a_template_that_was_refused_waits_for_an_edit(
    state: str, generation: int, fires: bool
) -> None:
    of = rules(generation=7)
    before = status(of, conditions=(template_verdict(state, generation=generation),))
    _, decision = decided(of, before, score(0.3))
    assert (decision.action is Action.RETRAIN) == fires
    assert (decision.reason is Reason.JOB_REFUSED) != fires


@pytest.mark.parametrize(
    ("attempts", "limit", "fires"),
    [
        pytest.param(0, 1, True, id="the first of one"),
        pytest.param(1, 1, False, id="one of one used"),
        pytest.param(2, 3, True, id="two of three used"),
        pytest.param(3, 3, False, id="three of three used"),
        pytest.param(5, 3, False, id="the limit was lowered"),
        pytest.param(10_000, 0, True, id="0 is no limit"),
    ],
)
def test_an_episode_has_max_attempts(attempts: int, limit: int, fires: bool) -> None:
    of = rules(max_attempts=limit, cooldown="0s")
    after, decision = decided(of, drifted(of, attempts=attempts), score(0.3))
    assert (decision.action is Action.RETRAIN) == fires
    assert (decision.reason is Reason.ATTEMPTS_EXHAUSTED) != fires
    assert after.episode is not None
    assert after.episode.attempts == attempts + fires


@pytest.mark.parametrize(
    ("result", "said"),
    [
        pytest.param(RetrainingResult.COMPLETED, "ineffective", id="the Job completed"),
        pytest.param(RetrainingResult.JOB_FAILED, "failing", id="the Job failed"),
        pytest.param(RetrainingResult.JOB_DELETED, "failing", id="the Job was deleted"),
    ],
)
def test_exhausted_attempts_say_ineffective_or_failing(result: RetrainingResult, said: str) -> None:
    of = rules(max_attempts=1, cooldown="0s")
    before = drifted(of, attempts=1, last_retraining=last(result, ended=1, score_after=0.3))
    _, decision = decided(of, before, score(0.3, at=3))
    assert decision.reason is Reason.ATTEMPTS_EXHAUSTED
    assert [word for word in ("ineffective", "failing") if word in decision.message] == [said]


@pytest.mark.parametrize(
    ("policy", "entries", "fires"),
    [
        pytest.param("Forbid", (), True, id="forbid: none is active"),
        pytest.param("Forbid", (active(started=False),), False, id="forbid: one has no Job yet"),
        pytest.param("Forbid", (active(started=True),), False, id="forbid: one runs"),
        pytest.param("Allow", (active(started=True),), True, id="allow: one runs"),
        pytest.param("Allow", (active(started=False),), False, id="allow: one has no Job yet"),
        pytest.param(
            "Allow",
            (active(1, started=True), active(2, started=False)),
            False,
            id="allow: one runs, another has no Job yet",
        ),
    ],
)
def test_at_most_one_retraining_is_without_a_job(
    policy: str, entries: tuple[object, ...], fires: bool
) -> None:
    of = rules(concurrency_policy=policy, cooldown="0s")
    _, decision = decided(of, drifted(of, active=entries), score(0.3))
    assert (decision.action is Action.RETRAIN) == fires
    assert (decision.reason is Reason.RETRAINING_ACTIVE) != fires


@pytest.mark.parametrize(
    ("policy", "before", "at", "left"),
    [
        pytest.param("Forbid", {"last": last(at=0, ended=4)}, 15, "5m", id="forbid: from the end"),
        pytest.param("Forbid", {"last": last(at=0, ended=4)}, 16, None, id="forbid: passed"),
        pytest.param("Allow", {"last": last(at=0, ended=4)}, 11, "5m", id="allow: from the start"),
        pytest.param("Allow", {"last": last(at=0, ended=4)}, 12, None, id="allow: passed"),
        pytest.param(
            "Allow",
            {"last": last(at=0, ended=4), "active": (active(2, at=3, started=True),)},
            14,
            "5m",
            id="allow: from the start of the newest, though it runs",
        ),
        pytest.param("Forbid", {}, 0, None, id="no retraining ever, no cooldown"),
    ],
)
def test_the_cooldown_counts_as_the_policy_says(
    policy: str, before: dict[str, object], at: int, left: str | None
) -> None:
    of = rules(concurrency_policy=policy, cooldown="1h")
    held = drifted(of, active=before.get("active", ()), last_retraining=before.get("last"))
    _, decision = decided(of, held, score(0.3, at=at))
    if left is None:
        assert decision.action is Action.RETRAIN
        return
    assert (decision.action, decision.reason) == (Action.NOTHING, Reason.COOLING_DOWN)
    assert decision.next_at is not None
    assert f"({left} left)" in decision.message
    assert decided(of, held, replace(score(0.3), tick=decision.next_at))[1].action is Action.RETRAIN


@pytest.mark.parametrize(
    "result", [RetrainingResult.DRY_RUN, RetrainingResult.JOB_NOT_CREATED], ids=lambda r: r.value
)
def test_what_used_no_attempt_starts_the_cooldown_all_the_same(result: RetrainingResult) -> None:
    of = rules(cooldown="1h")
    _, decision = decided(of, drifted(of, last_retraining=last(result)), score(0.3, at=2))
    assert decision.reason is Reason.COOLING_DOWN


# What a decision writes down.


def test_an_intent_holds_everything_that_repeats_the_decision() -> None:
    of = rules(breaches=(2, 3), generation=4, model={"name": "fraud-v2", "version": "7"})
    before = status(of, verdicts="BC", retrainings=6, episodes=2)
    seen = replace(score(0.252, at=5), warnings=("PromQL info: a hint",))
    after, decision = decided(of, before, seen)
    intent = after.pending
    assert intent is not None
    assert after.retrainings == 7
    assert intent.name.startswith("fraud-")
    assert intent.name.endswith("-7")
    assert (intent.cause, intent.generation, intent.model) == (Cause.DRIFT, 4, of.model)
    assert (intent.episode, intent.attempt, intent.dry_run) == (3, 1, False)
    assert decision.message == "score 0.252 > threshold 0.2"
    assert intent.reason == "score 0.252 > threshold 0.2 (episode 3, attempt 1 of 3)"
    evidence = intent.evidence
    assert (evidence.score, evidence.value, evidence.threshold) == (0.252, "0.252", 0.2)
    assert (evidence.time, evidence.query) == (instant(5), "max(drift)")
    assert evidence.window == window("BCB")
    assert evidence.warnings == ("PromQL info: a hint",)


def test_an_attempt_without_a_limit_has_no_of() -> None:
    of = rules(max_attempts=0)
    after, _ = decided(of, status(of), score(0.3))
    assert after.pending is not None
    assert after.pending.reason.endswith("(episode 1, attempt 1)")


def test_a_breach_without_a_score_fires_without_a_score() -> None:
    of = rules(no_data="Breach")
    after, decision = decided(of, status(of), without_score(Outcome.NO_DATA))
    assert decision.action is Action.RETRAIN
    assert decision.message == "NoData counts as Breach (spec.noData)"
    assert after.pending is not None
    assert after.pending.evidence.score is None
    assert after.pending.evidence.outcome is Outcome.NO_DATA


def test_an_infinite_breach_keeps_the_text_and_no_number_that_json_can_not_hold() -> None:
    of = rules(infinity="Compare")
    after, decision = decided(of, status(of), infinite())
    assert decision.action is Action.RETRAIN
    assert after.pending is not None
    assert (after.pending.evidence.score, after.pending.evidence.value) == (None, "+Inf")
    assert after.episode is not None
    assert after.episode.worst_score is None


def test_a_dry_run_is_recorded_and_uses_no_attempt() -> None:
    of = rules(dry_run=True, max_attempts=1, cooldown="0s")
    story = Story(of)
    for at in (1, 2, 3):
        assert story.see(score(0.3, at=at)).action is Action.RETRAIN
        assert story.status.pending is not None
        assert story.status.pending.dry_run
        story.confirm()
        story.end(RetrainingResult.DRY_RUN, at=at)
    assert story.status.episode is not None
    assert story.status.episode.attempts == 0
    assert story.status.retrainings == 3


def test_a_suspended_trigger_keeps_what_it_knew() -> None:
    of = rules(suspend=True)
    before = drifted(of, attempts=1, active=(active(),), last_tick=instant(3))
    after, decision = decided(of, before, score(0.05, at=4))
    assert (after, decision.reason) == (before, Reason.SUSPENDED)


@pytest.mark.parametrize(
    ("at", "noted"),
    [
        pytest.param(11, None, id="before the cooldown has passed"),
        pytest.param(12, 0.05, id="at completion and cooldown"),
        pytest.param(20, 0.05, id="later"),
    ],
)
def test_score_after_is_the_first_score_once_the_cooldown_has_passed(
    at: int, noted: float | None
) -> None:
    of = rules(cooldown="1h")
    before = drifted(of, last_retraining=last(ended=0))
    after, _ = decided(of, before, score(0.05, at=at))
    assert after.last_retraining is not None
    assert after.last_retraining.score_after == noted


def test_score_after_is_noted_once_and_never_from_a_hold() -> None:
    of = rules(cooldown="0s", max_attempts=1, no_data="Breach")
    before = drifted(of, attempts=1, last_retraining=last(ended=0))
    held, _ = decided(of, before, without_score(Outcome.NO_DATA, at=1))
    first, _ = decided(of, held, score(0.4, at=2))
    second, _ = decided(of, first, score(0.5, at=3))
    assert held.last_retraining is not None
    assert held.last_retraining.score_after is None
    assert second.last_retraining is not None
    assert second.last_retraining.score_after == 0.4


# Whole stories.


def test_the_rule_of_the_exercise_fires_on_every_check_above_the_threshold() -> None:
    of = rules(cooldown="0s", max_attempts=0, concurrency_policy="Allow")
    scores = [0.05, 0.21, 0.2, 0.3, 0.3, 0.19, 0.2000001, 0.9, 0.0, 0.25]
    story = Story(of)
    story.ticks(scores)
    assert story.fired == [at for at, value in enumerate(scores, start=1) if value > 0.2]


def test_under_allow_running_jobs_do_not_stop_the_rule_of_the_exercise() -> None:
    story = Story(rules(cooldown="0s", max_attempts=0, concurrency_policy="Allow"))
    for _ in range(4):
        story.ticks([0.3], job="forever")
        story.start()
    assert story.fired == [1, 2, 3, 4]
    assert len(story.status.active) == 4


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        pytest.param([0.3, 0.1] * 10, [5], id="every other score breaches: drifts once, stays"),
        pytest.param([0.3, 0.3, 0.1, 0.1, 0.1] * 4, [], id="two of five never reach three"),
        pytest.param([0.3, 0.3, 0.3, 0.04] * 3, [3, 7, 11], id="each fall below the bound ends it"),
        pytest.param([0.3, 0.3, 0.3, 0.06] * 3, [3], id="falls into the band do not end it"),
        pytest.param([0.3, 0.04, 0.3, 0.04, 0.3, 0.04], [5], id="a clear one does not empty it"),
        pytest.param([0.3] * 14, [3], id="a cooldown of a day, a series of an hour"),
        pytest.param([0.3, 0.3, 0.1, 0.1, 0.1, 0.3], [], id="breaches leave the window"),
    ],
)
def test_a_flapping_series_retrains_as_often_as_predicted(
    scores: list[float], expected: list[int]
) -> None:
    story = Story(rules(breaches=(3, 5), clear_threshold=0.05, cooldown="0s", max_attempts=1))
    story.ticks(scores)
    assert story.fired == expected
    assert story.status.episodes == len(expected)


def test_a_flapping_series_retrains_again_at_the_breach_after_each_cooldown() -> None:
    of = rules(breaches=(3, 5), clear_threshold=0.05, cooldown="15m", max_attempts=3)
    story = Story(of)
    story.ticks([0.3, 0.1] * 20)
    assert story.fired == [5, 9, 13]
    assert story.status.episodes == 1


def test_without_debounce_the_same_series_retrains_on_each_rise() -> None:
    story = Story(rules(cooldown="0s", max_attempts=1))
    story.ticks([0.3, 0.1] * 10)
    assert story.fired == list(range(1, 20, 2))
    assert story.status.episodes == 10


def test_an_episode_retrains_at_most_max_attempts_times_a_cooldown_apart() -> None:
    story = Story(rules(cooldown="15m", max_attempts=3))
    decisions = story.ticks([0.3] * 20)
    assert story.fired == [1, 4, 7]
    assert decisions[1].reason is Reason.COOLING_DOWN
    assert {d.reason for d in decisions[7:]} == {Reason.ATTEMPTS_EXHAUSTED}
    story.ticks([0.1, 0.3])
    assert story.fired == [1, 4, 7, 22]


def test_a_new_episode_does_not_forget_the_cooldown() -> None:
    story = Story(rules(cooldown="1h"))
    decisions = story.ticks([0.3, 0.1, 0.3])
    assert story.fired == [1]
    assert decisions[2].reason is Reason.COOLING_DOWN
    assert story.status.episodes == 2


def test_lower_is_worse_for_an_accuracy() -> None:
    of = rules(comparison="LessThan", threshold=0.9, clear_threshold=0.95, cooldown="0s")
    story = Story(of)
    story.ticks([0.97, 0.89, 0.94, 0.91, 0.85, 0.95, 0.89])
    assert story.fired == [2, 5, 7]


@pytest.mark.parametrize("result", list(RetrainingResult))
def test_a_failed_job_is_retried_only_after_the_cooldown(result: RetrainingResult) -> None:
    story = Story(rules(cooldown="10m", max_attempts=0))
    story.ticks([0.3], job="forever")
    assert story.ticks([0.3])[0].reason is Reason.RETRAINING_ACTIVE
    story.end(result, at=2)
    waits = result is not RetrainingResult.SUPERSEDED
    story.ticks([0.3, 0.3])
    assert story.fired == ([1, 4] if waits else [1, 3])


def test_the_same_input_makes_the_same_decision() -> None:
    of = rules()
    assert decided(of, status(of), score(0.3)) == decided(of, status(of), score(0.3))


def test_the_tick_that_was_decided_is_remembered_by_every_verdict() -> None:
    of = rules(clear_threshold=0.1)
    for value in (0.3, 0.15, 0.05):
        after, _ = decided(of, drifted(of), score(value, at=8))
        assert after.last_tick == instant(8)


def test_the_cooldown_ends_at_its_instant_and_not_a_second_before() -> None:
    of = rules(cooldown="5m")
    before = drifted(of, last_retraining=last(ended=0))
    end = tick(1)
    early = replace(score(0.3), tick=end.replace(minute=4, second=59))
    assert decided(of, before, early)[1].reason is Reason.COOLING_DOWN
    assert decided(of, before, replace(early, tick=end))[1].action is Action.RETRAIN
