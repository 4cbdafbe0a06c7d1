"""Which finished Retrainings go, and what a trigger without history takes up."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from drifttrigger.api.reasons import ConditionType, Reason, RetrainingResult
from drifttrigger.api.v1alpha1 import (
    Cause,
    Condition,
    DeletionPolicy,
    DriftTriggerStatus,
    Model,
    RetrainingSpec,
    RetrainingStatus,
    Target,
    TriggerRef,
)
from drifttrigger.core.naming import child_name
from drifttrigger.runtime.history import surplus
from drifttrigger.runtime.intents import adopted, highest_sequence, without_intent
from drifttrigger.runtime.views import RetrainingView, TriggerView
from support.builders import START, UID, active, drifted, instant, last, pending, rules, tick

OLD_UID = "3f0c1b1e-8a44-4f6c-9d7e-0a4f4b7f0000"


def trigger(status: DriftTriggerStatus | None = None, **fields: Any) -> TriggerView:
    given: dict[str, Any] = {
        "namespace": "models",
        "name": "fraud",
        "uid": UID,
        "resource_version": "7",
        "generation": 1,
        "created_at": START,
        "is_deleting": False,
        "rules": rules(),
        "problem": "",
        "status": status or DriftTriggerStatus(),
        "trigger_now": None,
        "hold": None,
        "deletion_policy": DeletionPolicy.RETAIN,
        "successful_history_limit": 2,
        "failed_history_limit": 1,
    }
    return TriggerView(**(given | fields))


def retraining(
    number: int,
    result: RetrainingResult | None = None,
    *,
    ended: int = 0,
    uid: str = UID,
    has_job: bool = False,
    **fields: Any,
) -> RetrainingView:
    """Build a Retraining that ended so, or, without a result, has not."""
    conditions = ()
    if result is not None:
        state = "True" if result is RetrainingResult.COMPLETED else "False"
        kind = ConditionType.SUCCEEDED
        conditions = (Condition(type=kind, status=state, reason=Reason(result.value)),)
    job = Target(api_version="batch/v1", kind="Job", name="x", uid="j") if has_job else None
    given: dict[str, Any] = {
        "namespace": "models",
        "name": child_name("fraud", uid, number),
        "uid": f"uid-{uid[-1]}-{number}",
        "resource_version": "1",
        "created_at": tick(number),
        "is_deleting": False,
        "is_labelled_active": result is None,
        "trigger": "fraud",
        "owner_uid": "",
        "spec": RetrainingSpec(
            trigger_ref=TriggerRef(name="fraud", uid=uid, generation=1),
            model=Model(),
            cause=Cause.DRIFT,
            reason="",
            evidence=pending(number, at=number).evidence,
            job_template={},
        ),
        "status": RetrainingStatus(
            conditions=conditions,
            target=job,
            completion_time=instant(ended or number) if result is not None else "",
        ),
    }
    return RetrainingView(**(given | fields))


DONE, FAILED = RetrainingResult.COMPLETED, RetrainingResult.JOB_FAILED


def numbers(found: list[RetrainingView]) -> list[int]:
    return [int(r.name.rpartition("-")[2]) for r in found]


@pytest.mark.parametrize(
    ("found", "gone"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([retraining(1, DONE), retraining(2, DONE)], [], id="within the limit"),
        pytest.param([retraining(n, DONE) for n in (3, 1, 4, 2)], [1, 2], id="the oldest go first"),
        pytest.param(
            [retraining(1, DONE, ended=9), retraining(2, DONE), retraining(3, DONE)],
            [2],
            id="the oldest by completion, not by number",
        ),
        pytest.param(
            [retraining(1, FAILED), retraining(2, FAILED), retraining(3, DONE)],
            [1],
            id="failed ones have a limit of their own",
        ),
        pytest.param(
            [retraining(1, RetrainingResult.JOB_DELETED), retraining(2, FAILED)],
            [1],
            id="whatever did not succeed counts as failed",
        ),
        pytest.param(
            [retraining(1, FAILED), retraining(2, RetrainingResult.SUPERSEDED)],
            [],
            id="superseded ones take no place of the others",
        ),
        pytest.param([retraining(n) for n in range(1, 9)], [], id="unfinished ones never go"),
        pytest.param(
            [retraining(n, DONE, is_deleting=n == 1) for n in (1, 2, 3)], [], id="one goes already"
        ),
    ],
)
def test_what_is_beyond_the_limits_goes(found: list[RetrainingView], gone: list[int]) -> None:
    assert numbers(surplus(trigger(), found)) == gone


def test_a_limit_of_zero_keeps_none() -> None:
    view = trigger(successful_history_limit=0)
    assert numbers(surplus(view, [retraining(1, DONE)])) == [1]


def test_what_is_pending_or_active_stays_though_it_is_final() -> None:
    finals = [retraining(n, DONE) for n in (1, 2, 3, 4)]
    bound = replace(active(1), name=finals[0].name)
    intent = replace(pending(2), name=finals[1].name)
    status = drifted(rules(), active=(bound,), pending=intent)
    view = trigger(status, successful_history_limit=0)
    assert numbers(surplus(view, finals)) == [3, 4]


# A trigger without history.


def test_unfinished_ones_of_the_name_become_active_the_oldest_first() -> None:
    found = [retraining(2, uid=OLD_UID, has_job=True), retraining(1, uid=OLD_UID)]
    taken = adopted(trigger(), found).active
    assert [(a.uid, a.time, a.started) for a in taken] == [
        ("uid-0-1", instant(1), False),
        ("uid-0-2", instant(2), True),
    ]


def test_the_newest_end_starts_the_cooldown() -> None:
    found = [
        retraining(1, DONE, ended=9, uid=OLD_UID),
        retraining(2, FAILED, ended=5, uid=OLD_UID),
        retraining(3, RetrainingResult.SUPERSEDED, ended=12, uid=OLD_UID),
    ]
    taken = adopted(trigger(), found).last_retraining
    assert taken is not None
    assert (taken.name, taken.completion_time, taken.result) == (
        found[0].name,
        instant(9),
        "Completed",
    )


def test_nothing_is_taken_up_twice() -> None:
    found = [retraining(1), retraining(2, DONE)]
    once = adopted(trigger(), found)
    assert adopted(trigger(once), found) == once


def test_a_history_that_is_known_is_not_replaced() -> None:
    status = DriftTriggerStatus(last_retraining=last(ended=3))
    taken = adopted(trigger(status), [retraining(1, DONE, ended=9)])
    assert taken.last_retraining == last(ended=3)


def test_numbers_go_on_after_the_highest_of_this_very_trigger() -> None:
    found = [retraining(4, DONE), retraining(9, DONE, uid=OLD_UID)]
    assert highest_sequence(trigger(), found) == 4
    assert adopted(trigger(), found).retrainings == 4


def test_a_request_by_hand_that_was_there_first_is_recorded_and_not_fired() -> None:
    taken = adopted(trigger(trigger_now=instant(0)), [])
    assert taken.last_manual is not None
    assert taken.last_manual.result.startswith("Ignored")
    seen_before = DriftTriggerStatus(observed_generation=1)
    assert adopted(trigger(seen_before, trigger_now=instant(0)), []).last_manual is None


def test_nothing_found_is_no_change() -> None:
    assert adopted(trigger(), []) == DriftTriggerStatus()


# An intent that is taken back.


def test_an_intent_that_is_taken_back_gives_its_attempt_back_and_leaves_its_tick_due() -> None:
    status = drifted(rules(), attempts=2, pending=pending(3, at=4), last_tick=instant(4))
    after = without_intent(status)
    assert after.pending is None
    assert after.episode is not None
    assert after.episode.attempts == 1
    assert after.last_tick < instant(4)


def test_a_dry_run_that_is_taken_back_used_no_attempt() -> None:
    intent = replace(pending(3), dry_run=True)
    after = without_intent(drifted(rules(), attempts=2, pending=intent))
    assert after.episode is not None
    assert after.episode.attempts == 2


def test_a_request_by_hand_that_is_taken_back_can_be_answered_again() -> None:
    intent = pending(3, cause=Cause.MANUAL)
    status = drifted(rules(), attempts=1, pending=intent, last_tick=instant(4))
    after = without_intent(status)
    assert (after.pending, after.last_manual, after.last_tick) == (None, None, instant(4))
    assert after.episode == status.episode


def test_a_finished_one_without_a_completion_time_ended_when_it_was_created() -> None:
    bare = retraining(1, DONE)
    bare = replace(bare, status=replace(bare.status, completion_time=""))
    assert bare.ended_at == START + timedelta(minutes=5)
