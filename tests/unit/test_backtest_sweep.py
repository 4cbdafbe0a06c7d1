"""Sweeps, budgets, incidents and warnings can be checked by hand on small histories."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drifttrigger.cli.backtest.pulse import refresh_period, tick_distance, warnings_about
from drifttrigger.cli.backtest.replay import replay
from drifttrigger.cli.backtest.sweep import (
    Budget,
    Incident,
    Past,
    automatic,
    caught_of,
    moved,
    suggest,
    sweep,
)
from support.builders import STEP, rules, score, tick

NONE = timedelta(0)
HOUR = timedelta(hours=1)


def past(*values: float, **fields: object) -> Past:
    observations = [score(value, at=at) for at, value in enumerate(values)]
    return Past(rules=rules(**fields), observations=observations, training=NONE, uid="")


def test_a_sweep_counts_episodes_and_retrainings_at_each_theta() -> None:
    found = sweep(past(0.1, 0.3, 0.1, 0.5, 0.1, cooldown="0s"), [0.2, 0.4, 0.6], incidents=None)
    assert [(row.threshold, row.episodes, row.retrainings) for row in found] == [
        (0.2, 2, 2),
        (0.4, 1, 1),
        (0.6, 0, 0),
    ]
    # 20 minutes of history: two episodes are 4320 in 30 days.
    assert found[0].episodes_a_month == pytest.approx(2 * 30 * 24 * 3)


def test_a_clear_threshold_keeps_its_distance() -> None:
    of = moved(rules(clearThreshold=0.15), 0.5)
    assert (of.threshold, of.clear_threshold) == (0.5, pytest.approx(0.45))


def test_the_automatic_grid_spans_the_scores_and_holds_theta() -> None:
    found = automatic(past(0.0, 0.7, 1.4))
    assert found[0] == 0.0
    assert found[-1] == 1.4
    assert 0.2 in found
    assert automatic(past(0.5)) == [0.2, 0.5]


@pytest.mark.parametrize(
    ("episodes", "threshold", "most"),
    [
        pytest.param(0, 0.9, 0, id="none: nothing above the highest score"),
        pytest.param(1, 0.5, 1, id="one: the highest peak alone"),
        pytest.param(2, 0.3, 2, id="two: both larger peaks"),
    ],
)
def test_a_budget_gives_the_theta_that_sees_most_within_it(
    episodes: int, threshold: float, most: int
) -> None:
    history = past(0.1, 0.3, 0.1, 0.5, 0.1, 0.9, 0.1, 0.1)
    found = suggest(history, Budget(episodes, HOUR, "1h"))
    assert found.chosen is not None
    assert (found.chosen.threshold, found.chosen.most) == (threshold, most)


def test_a_budget_for_scores_where_less_is_worse_gives_the_greatest_theta() -> None:
    history = past(0.9, 0.7, 0.9, 0.5, 0.9, 0.1, 0.9, 0.9, comparison="LessThan")
    found = suggest(history, Budget(1, HOUR, "1h"))
    assert found.chosen is not None
    assert found.chosen.threshold == 0.5
    assert found.beyond is not None
    assert (found.beyond.threshold, found.beyond.most) == (0.7, 2)


def test_a_budget_counts_within_any_window_and_not_on_average() -> None:
    values = [0.1] * 40
    values[1] = values[3] = 0.5
    close = suggest(past(*values), Budget(1, HOUR, "1h")).chosen
    apart = suggest(past(*values), Budget(1, 2 * STEP, "10m")).chosen
    assert close is not None
    assert apart is not None
    assert (close.threshold, apart.threshold) == (0.5, 0.1)


def test_a_theta_that_is_always_crossed_fits_no_budget() -> None:
    found = suggest(past(0.1, 0.5, 0.5, 0.5, 0.6), Budget(5, HOUR, "1h"))
    assert found.chosen is not None
    assert found.chosen.threshold == 0.5
    assert found.beyond is not None
    assert not found.beyond.fits
    assert found.beyond.drifted_share > 0.5


def test_no_scores_give_no_suggestion() -> None:
    assert suggest(past(), Budget(1, HOUR, "1h")).chosen is None


@given(
    values=st.lists(st.integers(0, 400), min_size=2, max_size=120),
    episodes=st.integers(0, 3),
)
@settings(max_examples=50)
def test_what_is_suggested_fits_and_the_next_score_does_not(
    values: list[int], episodes: int
) -> None:
    history = past(*(value / 100 for value in values))
    found = suggest(history, Budget(episodes, HOUR, "1h"))
    assert found.chosen is not None  # nothing lies above the highest score
    for trial, fits in ((found.chosen, True), (found.beyond, False)):
        if trial is None:
            continue
        whole = history.at(trial.threshold)
        opened = [span.opened_at for span in whole.episodes]
        most = max((sum(a <= b < a + HOUR for b in opened) for a in opened), default=0)
        assert (most <= episodes and whole.drifted_share <= 0.5) == fits


def test_incidents_are_caught_missed_or_falsely_seen() -> None:
    values = [0.1] * 20
    values[2] = values[8] = values[9] = 0.5
    of = rules()
    found = replay(of, [score(v, at=n) for n, v in enumerate(values)], training=NONE)
    incidents = [
        Incident(tick(9), tick(12)),  # seen from tick 8 on: one tick ahead
        Incident(tick(15), tick(16)),
    ]
    caught = caught_of(found, incidents)
    assert (caught.caught, caught.missed, caught.false, caught.lead) == (1, 1, 1, STEP)
    late = caught_of(found, [Incident(tick(0), None)])
    assert (late.caught, late.false, late.lead) == (1, 0, -2 * STEP)


def test_the_refresh_period_is_what_the_score_does_not_what_the_trigger_asks() -> None:
    observations = [score(0.1 * (at // 12), at=at) for at in range(60)]
    assert refresh_period(observations) == 12 * STEP
    assert tick_distance(observations) == STEP
    assert refresh_period(observations[:12]) is None


@pytest.mark.parametrize(
    ("refresh", "fields", "words"),
    [
        pytest.param(STEP, {"cooldown": "1h"}, [], id="as often as asked"),
        pytest.param(10 * STEP, {"cooldown": "1h"}, ["far shorter"], id="ten times as often"),
        pytest.param(3 * STEP, {"cooldown": "5m"}, ["cooldown"], id="cooldown too short"),
        pytest.param(
            2 * STEP,
            {"cooldown": "1h", "breaches": (2, 3)},
            ["counted 2 times"],
            id="one score counts twice",
        ),
    ],
)
def test_times_that_do_not_go_together_are_warned_about(
    refresh: timedelta, fields: dict[str, object], words: list[str]
) -> None:
    found = warnings_about(rules(**fields), refresh, STEP)
    assert len(found) == len(words)
    assert all(word in text for word, text in zip(words, found, strict=True))
