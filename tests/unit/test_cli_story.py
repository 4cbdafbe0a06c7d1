"""The story of a trigger: what is told, in which order, and how safely."""

import re
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest

from drifttrigger.api.v1alpha1 import (
    DriftTriggerStatus,
    RetrainingSpec,
    RetrainingStatus,
)
from drifttrigger.cli.page import page_of
from drifttrigger.cli.standing import Standing, facts_of
from drifttrigger.cli.story import EventSeen, JobSeen, Record, Sources, points_of, story_of
from support.builders import STEP, UID, instant, spec, tick

HOSTILE = "</td><script>alert(1)</script>\"' & \x1b[31m"


def retraining(
    number: int, *, at: int, ended: int | None = None, episode: int = 1, **fields: Any
) -> Record:
    cause = "Drift" if episode else "Manual"
    condition = {
        "type": "Succeeded",
        "status": "Unknown" if ended is None else "True",
        "reason": "Running" if ended is None else "Completed",
        "message": "the Job runs" if ended is None else "the Job completed",
        "lastTransitionTime": instant(at),
    }
    body = {
        "triggerRef": {"name": "fraud", "uid": UID, "generation": 1},
        "model": {},
        "cause": cause,
        "reason": fields.pop("reason", f"score 0.35 > threshold 0.2 ({number})"),
        "episode": episode,
        "attempt": number if episode else 0,
        "jobTemplate": {},
        "evidence": {
            "source": "http://p",
            "query": "q",
            "time": instant(at),
            "outcome": "Score",
            "score": 0.35,
            "value": "0.35",
            "threshold": 0.2,
            "comparison": "GreaterThan",
            **fields.pop("evidence", {}),
        },
    }
    status = {
        "conditions": [condition],
        "target": {"apiVersion": "batch/v1", "kind": "Job", "name": f"fraud-{number}", "uid": "j"},
        "startTime": instant(at),
        **({} if ended is None else {"completionTime": instant(ended)}),
        **fields,
    }
    return Record(
        name=f"fraud-{number}",
        uid=f"r{number}",
        created_at=tick(at),
        spec=msgspec.convert(body, RetrainingSpec),
        status=msgspec.convert(status, RetrainingStatus),
    )


def sources(*records: Record, events: tuple[EventSeen, ...] = (), **fields: Any) -> Sources:
    given = {"threshold": 0.2, "comparison": spec().comparison, "jobs": ()} | fields
    status = given.pop("status", DriftTriggerStatus())
    return Sources(records=records, events=events, status=status, **given)


def event(at: int, reason: str, message: str = "words") -> EventSeen:
    return EventSeen(at=tick(at), about="fraud", is_warning=False, reason=reason, message=message)


def told(made: Sources) -> list[tuple[str, list[str]]]:
    return [(c.title, [m.what for m in c.moments]) for c in story_of(made)]


def test_an_episode_is_told_from_the_evaluation_to_the_score_after() -> None:
    first = retraining(1, at=0, ended=3, scoreAfter=0.05, stillBreaching=False)
    job = JobSeen(name="fraud-1", created_at=tick(1))
    [chapter] = story_of(sources(first, jobs=(job,)))
    assert [(m.what, m.tone) for m in chapter.moments] == [
        ("Evaluated", "warn"),
        ("Decided", "plain"),
        ("Retraining", "plain"),
        ("Job", "plain"),
        ("Completed", "good"),
        ("Score after", "good"),
    ]
    assert chapter.moments[0].text == "score 0.35 > 0.2"
    assert chapter.moments[-1].text == "0.05, which does not breach"
    assert not chapter.moments[-1].is_timed


def test_chapters_follow_time_and_a_request_by_hand_has_its_own() -> None:
    made = sources(
        retraining(3, at=9, ended=10, episode=2),
        retraining(1, at=0, ended=1),
        retraining(2, at=4, ended=5, episode=0),
    )
    assert [title for title, _ in told(made)] == ["Episode 1", "By hand, fraud-2", "Episode 2"]


def test_an_event_is_told_in_the_chapter_during_which_it_happened() -> None:
    records = retraining(1, at=2, ended=3), retraining(2, at=8, ended=9, episode=2)
    events = event(0, "NoData"), event(5, "CoolingDown"), event(10, "BelowThreshold")
    found = dict(told(sources(*records, events=events)))
    assert found["Before"] == ["NoData"]
    assert found["Episode 1"][-1] == "CoolingDown"
    assert found["Episode 2"][-1] == "BelowThreshold"


def test_what_a_retraining_tells_is_not_told_again_by_its_events() -> None:
    record = retraining(1, at=0, ended=3)
    again = event(3, "Completed", "the Job completed"), event(0, "RetrainingRequested")
    assert told(sources(record, events=again)) == told(sources(record))


def test_a_job_that_is_gone_is_named_from_the_record() -> None:
    [chapter] = story_of(sources(retraining(1, at=0, ended=3)))
    assert [m.text for m in chapter.moments if m.what == "Job"] == ["fraud-1 (removed since)"]


def test_a_running_retraining_ends_with_how_it_stands() -> None:
    [chapter] = story_of(sources(retraining(1, at=0)))
    assert (chapter.moments[-1].what, chapter.moments[-1].is_timed) == ("Running", False)


def test_points_are_the_scores_that_objects_remember() -> None:
    last = {"time": instant(20), "outcome": "Score", "score": 0.1, "value": "0.1"}
    status = msgspec.convert({"lastEvaluation": last}, DriftTriggerStatus)
    record = retraining(1, at=0, ended=3, scoreAfter=0.3, stillBreaching=True)
    found = [(p.score, p.is_breach) for p in points_of(sources(record, status=status))]
    assert found == [(0.35, True), (0.3, True), (0.1, False)]


def standing(**fields: Any) -> Standing:
    status = msgspec.convert(fields.pop("status", {}), DriftTriggerStatus)
    return Standing(
        name="fraud",
        namespace="models",
        uid=UID,
        spec=spec(**fields),
        status=status,
        hold=None,
        now=tick(0) + STEP,
    )


def facts(one: Standing) -> dict[str, str]:
    return {fact.label: fact.text for fact in facts_of(one)}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        pytest.param({}, "score > 0.2", id="the plain rule"),
        pytest.param({"comparison": "LessThan"}, "score < 0.2", id="lower is worse"),
        pytest.param({"breaches": (2, 3)}, "score > 0.2, 2 of the last 3 times", id="debounced"),
        pytest.param(
            {"clear_threshold": 0.1},
            "score > 0.2; it ends on the clear side of 0.1",
            id="hysteresis",
        ),
    ],
)
def test_the_rule_is_said_in_words(fields: dict[str, Any], words: str) -> None:
    assert facts(standing(**fields))["Drifted when"] == words


def test_a_trigger_that_nobody_has_looked_at_says_so() -> None:
    assert facts(standing())["Ready"] == "no operator has looked at it yet"


def test_the_age_of_the_last_answer_is_told() -> None:
    last = {"time": instant(0), "outcome": "NoData", "message": "no series"}
    words = facts(standing(status={"lastEvaluation": last}))["Last answer"]
    assert words == "NoData, 5m ago; no series"


class Page(HTMLParser):
    """What a browser would find on the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def hostile_page() -> str:
    record = retraining(
        1,
        at=0,
        ended=3,
        reason=HOSTILE,
        evidence={"series": {"count": 2, "worst": [{"labels": {"a": HOSTILE}, "value": "1"}]}},
    )
    made = sources(record, events=(event(4, HOSTILE, HOSTILE),))
    one = standing(query=HOSTILE, model={"name": HOSTILE})
    return page_of(one, story_of(made), points_of(made), notes=[HOSTILE])


def test_a_page_shows_hostile_text_as_text() -> None:
    page = Page(hostile_page())
    assert page.text.count("<script>alert(1)</script>") >= 6
    names = {tag for tag, _ in page.tags}
    assert "script" not in names
    assert all(not name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_a_page_asks_for_nothing_from_outside() -> None:
    text = hostile_page()
    assert "default-src &#x27;none&#x27;" in text
    page = Page(text)
    assert not [a for _, a in page.tags if {"src", "href"} & set(a)]
    assert not re.findall(r"url\(|@import|https?://(?!prometheus.example)", text)


def test_a_page_has_what_screen_readers_need() -> None:
    page = Page(hostile_page())
    found = dict(page.tags)
    assert found["html"]["lang"] == "en"
    assert {"title", "main", "h1"} <= set(found)
    marks = [a for tag, a in page.tags if tag == "g"]
    assert marks
    assert all(a["aria-label"] and a["tabindex"] == "0" for a in marks)


def test_a_page_of_a_trigger_without_a_score_has_no_plot() -> None:
    assert "<svg" not in page_of(standing(), (), ())


def test_a_single_score_is_drawn_without_dividing_by_zero() -> None:
    made = sources(retraining(1, at=0, evidence={"score": 0.0, "value": "0", "threshold": 0.0}))
    assert "<circle" in page_of(standing(threshold=0.0), (), points_of(made))


def test_moments_keep_their_order_within_one_second() -> None:
    record = retraining(1, at=0, ended=0)
    [chapter] = story_of(sources(record))
    assert [m.what for m in chapter.moments] == [
        "Evaluated", "Decided", "Retraining", "Job", "Completed",
    ]  # fmt: skip
    assert chapter.moments[-1].at - chapter.moments[0].at == timedelta(0)
