"""What people ask for by annotation: one retraining now, or none for a while."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from drifttrigger.api.reasons import Outcome, Reason, RetrainingResult
from drifttrigger.api.v1alpha1 import Cause, DriftTriggerStatus, LastManual
from drifttrigger.core.decide import decide
from drifttrigger.core.episode import released
from drifttrigger.core.manual import FOREVER, Hold, decide_manual, hold_of, recorded_as_done
from drifttrigger.core.rules import Rules
from drifttrigger.core.times import format_instant
from support.builders import (
    START,
    UID,
    active,
    drifted,
    instant,
    last,
    pending,
    rules,
    score,
    status,
    template_verdict,
    tick,
)

NOW = START + timedelta(hours=1)
ASKED = "2026-03-02T13:00:00Z"


def answer(
    of: Rules, before: DriftTriggerStatus, asked: str = ASKED, **given: Any
) -> tuple[DriftTriggerStatus, Reason, str] | None:
    hold = given.pop("hold", None)
    observation = given.pop("observation", None)
    now = given.pop("now", NOW)
    return decide_manual(of, before, asked, hold=hold, observation=observation, uid=UID, now=now)


@pytest.mark.parametrize(
    ("annotation", "until", "reason"),
    [
        pytest.param("forever", FOREVER, "", id="forever"),
        pytest.param("forever freeze of Q1", FOREVER, "freeze of Q1", id="forever, with a reason"),
        pytest.param("2026-03-02T13:00:01Z", NOW + timedelta(seconds=1), "", id="until a time"),
        pytest.param(
            " 2026-03-02T15:00:00+01:00  a  release ",
            NOW + timedelta(hours=1),
            "a release",
            id="with an offset, blanks, a reason",
        ),
    ],
)
def test_a_hold_holds_until_its_time(annotation: str, until: Any, reason: str) -> None:
    hold = hold_of(annotation, now=NOW)
    assert hold == Hold(until, reason)


@pytest.mark.parametrize(
    "annotation",
    [
        pytest.param(None, id="no annotation"),
        pytest.param("2026-03-02T13:00:00Z over", id="it ends now"),
        pytest.param("2020-01-01T00:00:00Z", id="it ended years ago"),
    ],
)
def test_nothing_holds_without_a_hold_in_force(annotation: str | None) -> None:
    assert hold_of(annotation, now=NOW) is None


@pytest.mark.parametrize(
    "annotation",
    [
        pytest.param("", id="empty"),
        pytest.param("true", id="a word"),
        pytest.param("2026-03-02", id="a date"),
        pytest.param("2026-03-02T13:00:00", id="no offset"),
        pytest.param("2026-03-02 13:00:00Z", id="a blank for the T"),
        pytest.param("2026-02-30T13:00:00Z", id="a day that is none"),
        pytest.param("Forever", id="not quite forever"),
        pytest.param("0001-01-01T00:00:00+14:00", id="before the first year"),
        pytest.param("9999-12-31T23:59:59-14:00", id="after the last year"),
        pytest.param("\x00" * 5000, id="five thousand zeros"),
    ],
)
def test_a_hold_that_can_not_be_read_holds_for_ever(annotation: str) -> None:
    hold = hold_of(annotation, now=NOW)
    assert hold is not None
    assert (hold.until, hold.is_readable) == (FOREVER, False)
    assert len(hold.reason) <= 512


@given(st.text(max_size=40))
def test_any_annotation_is_a_hold_a_past_hold_or_for_ever(annotation: str) -> None:
    hold = hold_of(annotation, now=NOW)
    assert hold is None or hold.until > NOW


def test_a_hold_says_until_when_and_why() -> None:
    assert Hold(FOREVER, "").text() == "held without an end"
    assert Hold(NOW, "a release").text() == f"held until {format_instant(NOW)}: a release"


# trigger-now.


def test_a_request_is_taken_with_the_newest_answer_as_evidence() -> None:
    of = rules(generation=3)
    before = status(of, retrainings=4)
    answered = answer(of, before, observation=score(0.05, at=11))
    assert answered is not None
    after, reason, message = answered
    intent = after.pending
    assert intent is not None
    assert reason is Reason.MANUAL_ACCEPTED
    assert intent.name.endswith("-5")
    assert intent.name in message
    assert (intent.cause, intent.episode, intent.attempt) == (Cause.MANUAL, 0, 0)
    assert (intent.evidence.score, intent.evidence.time) == (0.05, ASKED)
    assert after.retrainings == 5
    assert after.last_manual == LastManual(time=ASKED, result=f"Accepted: {intent.name}")


@pytest.mark.parametrize(
    ("of", "before"),
    [
        pytest.param(rules(), {"attempts": 3}, id="the attempts are exhausted"),
        pytest.param(rules(), {"last_retraining": last(ended=11)}, id="it cools down"),
        pytest.param(rules(suspend=True), {}, id="it is suspended"),
    ],
)
def test_a_request_ignores_cooldown_attempts_and_suspend(of: Rules, before: dict[str, Any]) -> None:
    held = drifted(of, **before)
    answered = answer(of, held)
    assert answered is not None
    assert answered[1] is Reason.MANUAL_ACCEPTED
    assert answered[0].episode == held.episode


@pytest.mark.parametrize(
    ("asked", "before", "hold", "why"),
    [
        pytest.param("soon", {}, None, "'soon' is no RFC 3339 time", id="no time"),
        pytest.param("", {}, None, "'' is no RFC 3339 time", id="empty"),
        pytest.param("2026-03-02", {}, None, "no RFC 3339 time", id="a date"),
        pytest.param(
            "9999-12-31T23:59:59-14:00", {}, None, "no RFC 3339 time", id="beyond the last year"
        ),
        pytest.param(
            "2026-03-02T12:49:59Z", {}, None, "more than 10 minutes", id="10 minutes and 1 s old"
        ),
        pytest.param(
            "2026-03-02T13:10:01Z", {}, None, "more than 10 minutes", id="10 minutes and 1 s ahead"
        ),
        pytest.param(
            "0001-01-01T00:00:00Z", {}, None, "0001-01-01T00:00:00Z is more", id="the first year"
        ),
        pytest.param(ASKED, {"active": (active(),)}, None, "has not ended", id="one is active"),
        pytest.param(
            ASKED, {"active": (active(started=True),)}, None, "has not ended", id="one runs"
        ),
        pytest.param(ASKED, {"pending": pending()}, None, "has not ended", id="one is pending"),
        pytest.param(ASKED, {}, Hold(FOREVER, "a freeze"), "without an end: a freeze", id="held"),
        pytest.param(
            ASKED,
            {"conditions": (template_verdict("False"),)},
            None,
            "refuses the Job template",
            id="the template was refused",
        ),
    ],
)
def test_a_request_that_is_refused_is_said_and_remembered_once(
    asked: str, before: dict[str, Any], hold: Hold | None, why: str
) -> None:
    of = rules()
    held = status(of, **before)
    answered = answer(of, held, asked, hold=hold)
    assert answered is not None
    after, reason, message = answered
    assert reason is Reason.MANUAL_REFUSED
    assert why in message
    assert after.last_manual is not None
    assert after.last_manual.result == f"Refused: {message}"
    assert replace(after, last_manual=None) == held
    assert answer(of, after, asked, hold=hold) is None


@pytest.mark.parametrize(
    "asked",
    ["2026-03-02T12:50:00Z", "2026-03-02T13:10:00Z", "2026-03-02T14:10:00+01:00"],
    ids=["10 minutes old", "10 minutes ahead", "in another zone"],
)
def test_a_request_within_10_minutes_is_taken(asked: str) -> None:
    answered = answer(rules(), status(rules()), asked)
    assert answered is not None
    assert answered[1] is Reason.MANUAL_ACCEPTED


@pytest.mark.parametrize(
    "asked",
    [
        ASKED,
        "2026-03-02T13:00:00.5Z",
        "2026-03-02T13:00:00.123456Z",
        "2026-03-02T13:00:00.0004Z",
        "2026-03-02T13:00:00.123456789Z",
        "2026-03-02T14:00:00.999999+01:00",
    ],
)
def test_a_request_is_answered_once_however_finely_its_time_is_written(asked: str) -> None:
    of = rules()
    first = answer(of, status(of), asked)
    assert first is not None
    after = replace(first[0], pending=None)
    assert answer(of, after, asked) is None


def test_a_request_that_is_not_newer_than_the_last_answer_is_none() -> None:
    of = rules()
    before = status(of, last_manual=LastManual(time=ASKED, result="Accepted: fraud-1"))
    assert answer(of, before, ASKED) is None
    assert answer(of, before, "2026-03-02T12:59:59Z") is None
    newer = answer(of, before, "2026-03-02T13:00:00.5Z")
    assert newer is not None
    assert newer[1] is Reason.MANUAL_ACCEPTED


def test_a_refused_request_can_be_made_anew() -> None:
    of = rules()
    refused = answer(of, status(of, active=(active(),)))
    assert refused is not None
    again = answer(of, replace(refused[0], active=()), "2026-03-02T13:00:01Z")
    assert again is not None
    assert again[1] is Reason.MANUAL_ACCEPTED


def test_an_unreadable_request_does_not_stand_in_the_way_of_a_readable_one() -> None:
    of = rules()
    refused = answer(of, status(of), "now")
    assert refused is not None
    again = answer(of, refused[0], ASKED)
    assert again is not None
    assert again[1] is Reason.MANUAL_ACCEPTED


def test_a_request_before_any_answer_says_that_there_is_no_data() -> None:
    answered = answer(rules(), status(rules()))
    assert answered is not None
    assert answered[0].pending is not None
    assert answered[0].pending.evidence.outcome is Outcome.NO_DATA


def test_one_asked_for_by_hand_uses_no_attempt_and_its_end_starts_the_cooldown() -> None:
    of = rules(cooldown="1h", max_attempts=1)
    answered = answer(of, drifted(of))
    assert answered is not None
    name = answered[0].retrainings
    entry = active(name, at=12)
    running = replace(answered[0], pending=None, active=(entry,))
    ended = released(
        running, entry, result=RetrainingResult.COMPLETED, episode=0, completed_at=tick(13)
    )
    assert ended.episode is not None
    assert ended.episode.attempts == 0
    _, cooling = decide(of, ended, score(0.3, at=24), uid=UID)
    assert cooling.reason is Reason.COOLING_DOWN
    after, _ = decide(of, ended, score(0.3, at=25), uid=UID)
    assert after.pending is not None


@given(st.text(max_size=60))
def test_any_annotation_gets_at_most_one_answer(asked: str) -> None:
    of = rules()
    first = answer(of, status(of), asked)
    assert first is not None
    after = replace(first[0], pending=None)
    assert answer(of, after, asked) is None
    assert after.last_manual is not None
    assert len(after.last_manual.result) <= 1024


# A request that was there first.


def test_a_request_on_a_restored_backup_fires_nothing() -> None:
    of = rules()
    seen = recorded_as_done(status(of), ASKED)
    assert seen.last_manual is not None
    assert seen.last_manual.time == ASKED
    assert answer(of, seen, ASKED) is None


@pytest.mark.parametrize(
    ("annotation", "before"),
    [
        pytest.param(None, None, id="no annotation"),
        pytest.param("not a time", None, id="no time"),
        pytest.param("9999-12-31T23:59:59-14:00", None, id="beyond the last year"),
        pytest.param(ASKED, LastManual(time=instant(0), result="Accepted: x"), id="answered one"),
    ],
)
def test_nothing_is_recorded_as_done_otherwise(
    annotation: str | None, before: LastManual | None
) -> None:
    held = status(rules(), last_manual=before)
    assert recorded_as_done(held, annotation) == held
