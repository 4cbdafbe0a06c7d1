"""The drift episode: debounce, what edits end, and what the end of a Retraining does."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from drifttrigger.api.reasons import RetrainingResult
from drifttrigger.api.v1alpha1 import Episode, SpecHash, Verdict
from drifttrigger.core.decide import decide
from drifttrigger.core.episode import advance, after_edit, is_drifted, released, remember
from drifttrigger.core.rules import Rules
from support.builders import (
    UID,
    active,
    drifted,
    instant,
    last,
    pending,
    rules,
    score,
    status,
    tick,
    window,
)

VERDICTS = st.sampled_from(list(Verdict))


@given(st.lists(VERDICTS, max_size=40), st.integers(1, 8), st.integers(1, 8))
def test_leaving_out_leading_non_breaches_changes_no_count(
    verdicts: list[Verdict], length: int, more: int
) -> None:
    of = rules(breaches=(1, min(length * more, 100)))
    short, whole = status(of), list[Verdict]()
    for verdict in verdicts:
        short = remember(short, verdict, window=of.window)
        whole = [*whole, verdict][-of.window :]
        assert short.window.count(Verdict.BREACH) == whole.count(Verdict.BREACH)
        assert len(short.window) <= of.window
        assert not short.window or short.window[0] is Verdict.BREACH


@pytest.mark.parametrize(
    ("breaches", "verdicts", "opens_at"),
    [
        pytest.param((1, 1), "B", 1, id="1 of 1: the first breach"),
        pytest.param((2, 2), "BCBB", 4, id="2 of 2: two in a row"),
        pytest.param((2, 3), "BCB", 3, id="2 of 3: one between"),
        pytest.param((2, 3), "BCCB", None, id="2 of 3: two between"),
        pytest.param((3, 5), "BCICBB", None, id="3 of 5: the first has left the window"),
        pytest.param((3, 5), "BCIBB", 5, id="3 of 5: band and clear count as no breach"),
        pytest.param((2, 2), "II", None, id="the band alone never opens one"),
        pytest.param((100, 100), "B" * 100, 100, id="100 of 100"),
        pytest.param((100, 100), "B" * 99 + "C" + "B" * 99, None, id="99, a clear one, 99"),
    ],
)
def test_an_episode_opens_at_n_of_the_last_m(
    breaches: tuple[int, int], verdicts: str, opens_at: int | None
) -> None:
    of = rules(breaches=breaches, clear_threshold=0.1)
    now, opened = status(of), None
    for at, verdict in enumerate(window(verdicts), start=1):
        now = advance(of, now, verdict, score=None, tick=tick(at))
        if is_drifted(now) and opened is None:
            opened = at
    assert opened == opens_at


def test_a_breaching_trigger_tells_since_when_and_a_drifted_one_since_it_opened() -> None:
    of = rules(breaches=(2, 3))
    first = advance(of, status(of), Verdict.BREACH, score=0.3, tick=tick(1))
    assert first.episode == Episode(number=0, since=instant(1), worst_score=0.3)
    second = advance(of, first, Verdict.BREACH, score=0.25, tick=tick(2))
    assert second.episode == Episode(number=1, since=instant(2), worst_score=0.3)
    assert second.episodes == 1


def test_one_clear_observation_ends_the_episode_and_empties_the_window() -> None:
    of = rules(breaches=(2, 5))
    after = advance(of, drifted(of, verdicts="BBB"), Verdict.CLEAR, score=0.1, tick=tick(4))
    assert (after.episode, after.window, after.episodes) == (None, (), 1)


def test_breaching_ends_when_the_window_holds_no_breach() -> None:
    of = rules(breaches=(2, 2))
    now = advance(of, status(of), Verdict.BREACH, score=0.3, tick=tick(1))
    now = advance(of, now, Verdict.CLEAR, score=0.1, tick=tick(2))
    assert now.window == window("BC")
    now = advance(of, now, Verdict.CLEAR, score=0.1, tick=tick(3))
    assert (now.episode, now.window) == (None, ())


@pytest.mark.parametrize(
    ("comparison", "scores", "worst"),
    [
        pytest.param("GreaterThan", [0.3, 0.5, 0.4], 0.5, id="greater: the highest"),
        pytest.param("LessThan", [0.1, -0.5, 0.0], -0.5, id="less: the lowest"),
        pytest.param("GreaterThan", [0.3, None, 0.25], 0.3, id="a breach without a score"),
        pytest.param("GreaterThan", [float("inf"), 0.3], 0.3, id="infinity is not kept"),
    ],
)
def test_the_worst_score_is_the_worst_finite_one(
    comparison: str, scores: list[float | None], worst: float
) -> None:
    of = rules(comparison=comparison, infinity="Compare")
    now = status(of)
    for at, value in enumerate(scores, start=1):
        now = advance(of, now, Verdict.BREACH, score=value, tick=tick(at))
    assert now.episode is not None
    assert now.episode.worst_score == worst


# Edits.


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"prometheus": {"address": "http://other.example"}}, id="source"),
        pytest.param({"query": "min(drift)"}, id="query"),
        pytest.param({"query_offset": "1m"}, id="queryOffset"),
        pytest.param({"reduce": "Max"}, id="reduce"),
        pytest.param({"threshold": 0.21}, id="threshold"),
        pytest.param({"comparison": "GreaterThanOrEqual"}, id="comparison"),
        pytest.param({"clear_threshold": 0.1}, id="clearThreshold"),
        pytest.param({"breaches": (2, 3)}, id="breaches"),
        pytest.param({"no_data": "Breach"}, id="noData"),
        pytest.param({"infinity": "Compare"}, id="infinity"),
        pytest.param({"partial_data": "Accept"}, id="partialData"),
    ],
)
def test_an_edit_of_the_condition_ends_the_episode(change: dict[str, Any]) -> None:
    before = drifted(rules(), attempts=2, active=(active(),), last_retraining=last())
    after = after_edit(rules(generation=2, **change), before)
    assert (after.episode, after.window) == (None, ())
    assert (after.active, after.last_retraining) == (before.active, before.last_retraining)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"interval": "1m"}, id="interval"),
        pytest.param({"schedule": "0 * * * *"}, id="schedule"),
        pytest.param({"evaluation_deadline": "5m"}, id="evaluationDeadline"),
        pytest.param({"cooldown": "1h"}, id="cooldown"),
        pytest.param({"max_attempts": 1}, id="maxAttempts"),
        pytest.param({"concurrency_policy": "Allow"}, id="concurrencyPolicy"),
        pytest.param({"suspend": True}, id="suspend"),
        pytest.param({"dry_run": True}, id="dryRun"),
        pytest.param({"model": {"name": "m", "version": "2"}}, id="model"),
        pytest.param({"deletion_policy": "Delete"}, id="deletionPolicy"),
        pytest.param(
            {"prometheus": {"address": "http://prometheus.example:9090", "timeout": "5s"}},
            id="timeout",
        ),
        pytest.param({"query_offset": "0s"}, id="a default written out"),
    ],
)
def test_an_edit_of_anything_else_keeps_episode_and_attempts(change: dict[str, Any]) -> None:
    before = drifted(rules(), attempts=2)
    after = after_edit(rules(generation=2, **change), before)
    assert (after.episode, after.window) == (before.episode, before.window)


def test_digests_of_another_version_tell_of_no_edit() -> None:
    before = drifted(rules(), attempts=2)
    old = SpecHash(condition="0.condition", job_template="0.template")
    after = after_edit(rules(), replace(before, spec_hash=old))
    assert after.episode == before.episode
    assert after.spec_hash == rules().hashes


def test_an_edit_of_the_template_resets_the_attempts_alone() -> None:
    before = drifted(rules(), attempts=3, number=4)
    after = after_edit(rules(template="1.second"), before)
    assert after.episode == replace(before.episode, attempts=0)
    assert after.window == before.window


def test_a_first_look_at_a_status_without_digests_ends_nothing() -> None:
    of = rules()
    bare = replace(drifted(of), spec_hash=replace(of.hashes, condition=""))
    assert after_edit(of, bare) == drifted(of)


def test_an_edit_during_a_suspension_still_ends_the_episode() -> None:
    edited = rules(generation=2, threshold=0.5, suspend=True)
    after, _ = decide(edited, drifted(rules()), score(0.9), uid=UID)
    assert after.episode is None
    assert after.observed_generation == 2


def test_an_edit_takes_no_intent_back() -> None:
    before = drifted(rules(), pending=pending())
    assert after_edit(rules(threshold=0.5, template="1.second"), before).pending == before.pending


# The end of a Retraining.


def _ended(of: Rules, result: RetrainingResult, *, episode: int = 1) -> Any:
    before = drifted(of, attempts=2, active=(active(1), active(2)))
    return released(before, active(1), result=result, episode=episode, completed_at=tick(3))


@pytest.mark.parametrize(
    ("result", "attempts", "cooldown_from"),
    [
        (RetrainingResult.COMPLETED, 2, instant(3)),
        (RetrainingResult.JOB_FAILED, 2, instant(3)),
        (RetrainingResult.JOB_DELETED, 2, instant(3)),
        (RetrainingResult.JOB_NOT_CREATED, 1, instant(3)),
        (RetrainingResult.DRY_RUN, 2, instant(3)),
        (RetrainingResult.SUPERSEDED, 1, None),
    ],
)
def test_an_end_uses_its_attempt_and_starts_the_cooldown(
    result: RetrainingResult, attempts: int, cooldown_from: str | None
) -> None:
    after = _ended(rules(), result)
    assert after.active == (active(2),)
    assert after.episode.attempts == attempts
    found = after.last_retraining
    assert (found.completion_time if found is not None else None) == cooldown_from
    if found is not None:
        assert (found.name, found.result) == ("fraud-1", result)


@pytest.mark.parametrize("episode", [0, 2], ids=["by hand", "of another episode"])
def test_only_an_attempt_of_the_open_episode_is_given_back(episode: int) -> None:
    after = _ended(rules(), RetrainingResult.JOB_NOT_CREATED, episode=episode)
    assert after.episode.attempts == 2


def test_a_superseded_one_leaves_the_last_retraining_alone() -> None:
    of = rules()
    before = drifted(of, active=(active(2, at=5),), last_retraining=last(ended=1))
    after = released(
        before,
        active(2, at=5),
        result=RetrainingResult.SUPERSEDED,
        episode=1,
        completed_at=tick(6),
    )
    assert after.last_retraining == before.last_retraining


def test_an_entry_is_released_by_its_uid() -> None:
    of = rules()
    other = replace(active(1), uid="another object of that name")
    before = drifted(of, active=(other, active(1)))
    after = released(
        before, active(1), result=RetrainingResult.COMPLETED, episode=1, completed_at=tick(3)
    )
    assert after.active == (other,)


def test_a_later_end_of_an_older_retraining_still_starts_the_cooldown() -> None:
    """One asked for by hand may name a time before the last drift retraining began."""
    of = rules()
    before = drifted(of, active=(active(2, at=3),), last_retraining=last(at=4, ended=5))
    after = released(
        before, active(2, at=3), result=RetrainingResult.COMPLETED, episode=0, completed_at=tick(9)
    )
    assert after.last_retraining is not None
    assert after.last_retraining.completion_time == instant(9)
    assert after.last_retraining.time == instant(4)


def test_an_earlier_end_that_is_noticed_later_does_not_shorten_the_cooldown() -> None:
    of = rules()
    before = drifted(of, active=(active(2, at=1),), last_retraining=last(at=0, ended=9))
    after = released(
        before, active(2, at=1), result=RetrainingResult.COMPLETED, episode=1, completed_at=tick(5)
    )
    assert after.last_retraining is not None
    assert after.last_retraining.completion_time == instant(9)
    assert after.last_retraining.time == instant(1)
