"""A replay decides what the operator decides: the same function, the same status around it."""

import time
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from drifttrigger.api.reasons import Outcome, Reason, RetrainingResult
from drifttrigger.api.v1alpha1 import Active, DriftTriggerStatus
from drifttrigger.cli.analysis.reference import reference_scores
from drifttrigger.cli.backtest.replay import fresh, outline, replay, steps
from drifttrigger.core.decide import Action, decide
from drifttrigger.core.episode import released
from drifttrigger.core.observation import Observation
from drifttrigger.core.rules import Rules
from drifttrigger.core.times import parse_instant
from support.builders import STEP, UID, infinite, rules, score, tick, without_score

NONE = timedelta(0)
SCORES = [0.0, 0.1, 0.15, 0.2, 0.21, 0.3]
SEEN = st.lists(
    st.sampled_from([*SCORES, *SCORES, "NoData", "NotANumber", "Infinite", "Ambiguous"]),
    max_size=60,
)
SPECS = st.fixed_dictionaries(
    {
        "breaches": st.sampled_from([(1, None), (2, 3), (3, 3), (2, 5)]),
        "clearThreshold": st.sampled_from([0.2, 0.15]),
        "cooldown": st.sampled_from(["0s", "5m", "12m", "1h"]),
        "maxAttempts": st.sampled_from([0, 1, 3]),
        "concurrencyPolicy": st.sampled_from(["Forbid", "Allow"]),
        "noData": st.sampled_from(["Hold", "Breach", "Clear"]),
        "infinity": st.sampled_from(["Hold", "Compare"]),
        "dryRun": st.booleans(),
    }
)
TRAINING = st.sampled_from([NONE, timedelta(minutes=3), STEP, timedelta(minutes=22)])


def observed(seen: list[Any]) -> list[Observation]:
    found = []
    for at, what in enumerate(seen):
        if what == "Infinite":
            found.append(infinite(at=at))
        elif isinstance(what, str):
            found.append(without_score(Outcome(what), at=at))
        else:
            found.append(score(what, at=at))
    return found


def one_by_one(of: Rules, observations: list[Observation], training: timedelta) -> list[Any]:
    """What an operator does that forgets everything but what the API server holds."""
    stored, told = msgspec.json.encode(fresh(of)), []
    for observation in observations:
        status = msgspec.json.decode(stored, type=DriftTriggerStatus)
        for entry in status.active:
            end = parse_instant(entry.time) + training
            if end <= observation.tick:
                result = RetrainingResult.COMPLETED
                status = released(status, entry, result=result, episode=0, completed_at=end)
        status, decision = decide(of, status, observation, uid=UID)
        if decision.action is Action.RETRAIN:
            assert status.pending is not None
            name, time = status.pending.name, status.pending.evidence.time
            entry = Active(name=name, uid=f"uid of {name}", time=time, started=True)
            status = replace(status, pending=None, active=(*status.active, entry))
            if of.dry_run:
                result, at = RetrainingResult.DRY_RUN, observation.tick
                status = released(status, entry, result=result, episode=1, completed_at=at)
        stored = msgspec.json.encode(status)
        told.append((observation.tick, decision, status.episode, status.window))
    return told


@given(spec=SPECS, seen=SEEN, training=TRAINING)
@settings(max_examples=300)
def test_a_replay_equals_deciding_one_by_one_with_the_status_kept_as_json(
    spec: dict[str, Any], seen: list[Any], training: timedelta
) -> None:
    of, observations = rules(uid=UID, **spec), observed(seen)
    told = [
        (step.observation.tick, step.decision, step.status.episode, step.status.window)
        for step in steps(of, observations, training=training, uid=UID)
    ]
    assert told == one_by_one(of, observations, training)


@given(spec=SPECS, seen=SEEN, training=TRAINING)
@settings(max_examples=300)
def test_leaving_out_what_is_quiet_changes_no_episode_and_no_retraining(
    spec: dict[str, Any], seen: list[Any], training: timedelta
) -> None:
    of, observations = rules(**spec), observed(seen)
    whole = replay(of, observations, training=training)
    quick = outline(of, observations, training=training)
    assert quick.episodes == whole.episodes
    assert [msgspec.structs.asdict(f) for f in quick.fired] == [
        msgspec.structs.asdict(f) for f in whole.fired
    ]
    assert quick.drifted_share == whole.drifted_share


@given(spec=SPECS, seen=SEEN, training=TRAINING)
def test_every_tick_is_told_once(
    spec: dict[str, Any], seen: list[Any], training: timedelta
) -> None:
    found = replay(rules(**spec), observed(seen), training=training)
    assert sum(stretch.ticks for stretch in found.stretches) == found.ticks == len(seen)
    requested = [s.ticks for s in found.stretches if s.reason is Reason.RETRAINING_REQUESTED]
    assert sum(requested) == len(found.fired)


def test_the_reference_series_fires_first_at_step_31() -> None:
    observations = [score(value, at=step) for step, value in enumerate(reference_scores(60))]
    found = replay(rules(cooldown="1d"), observations, training=NONE)
    [first, *_] = found.fired
    assert first.time == tick(31)
    assert first.score == pytest.approx(0.2520, abs=5e-5)
    assert (first.episode, first.attempt) == (1, 1)


def test_the_exercise_s_own_rule_fires_at_every_score_above_theta() -> None:
    scores = reference_scores(60)
    observations = [score(value, at=step) for step, value in enumerate(scores)]
    of = rules(cooldown="0s", maxAttempts=0, concurrencyPolicy="Allow")
    found = replay(of, observations, training=timedelta(hours=1))
    above = [tick(step) for step, value in enumerate(scores) if value > 0.2]
    assert [fired.time for fired in found.fired] == above


def test_training_time_and_cooldown_push_the_next_attempt_back() -> None:
    observations = [score(0.5, at=at) for at in range(12)]
    found = replay(rules(cooldown="10m"), observations, training=timedelta(minutes=12))
    # 12 minutes of training and 10 of cooldown: tick 5 is the first one after 22 minutes.
    assert [fired.time for fired in found.fired] == [tick(0), tick(5), tick(10)]
    assert [fired.attempt for fired in found.fired] == [1, 2, 3]
    reasons = [(stretch.reason, stretch.ticks) for stretch in found.stretches[:3]]
    assert reasons == [
        (Reason.RETRAINING_REQUESTED, 1),
        (Reason.RETRAINING_ACTIVE, 2),
        (Reason.COOLING_DOWN, 2),
    ]


def test_an_episode_has_its_bounds_and_its_worst_score() -> None:
    values = [0.1, 0.3, 0.5, 0.25, 0.1, 0.1]
    found = replay(rules(), [score(v, at=n) for n, v in enumerate(values)], training=NONE)
    [span] = found.episodes
    assert (span.opened_at, span.cleared_at, span.worst) == (tick(1), tick(4), 0.5)
    assert found.drifted_share == pytest.approx(3 / 5)


def test_nothing_replays_to_nothing() -> None:
    found = replay(rules(), [], training=NONE)
    assert (found.ticks, found.fired, found.episodes, found.drifted_share) == (0, (), (), 0.0)


def test_a_dry_run_uses_no_attempt_and_its_retrainings_are_still_numbered() -> None:
    observations = [score(0.5, at=at) for at in range(10)]
    found = replay(rules(dryRun=True, cooldown="5m", maxAttempts=2), observations, training=NONE)
    assert [fired.attempt for fired in found.fired] == list(range(1, 11))


def test_a_year_of_five_minutes_takes_less_than_three_seconds_of_cpu() -> None:
    observations = [
        score(0.3 if at // 2016 % 4 == 3 else 0.001 * (at % 190), at=at) for at in range(105_120)
    ]
    of = rules(breaches=(3, 5), clearThreshold=0.15)
    before = time.process_time()
    found = replay(of, observations, training=timedelta(hours=2))
    assert time.process_time() - before < 3.0
    assert len(found.episodes) == 13
