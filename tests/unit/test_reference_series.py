"""The reference generator gives the exercise's own numbers, and goes on where they end."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from drifttrigger.cli.analysis.reference import first_crossing, reference_scores, reference_series

SEED_SCORES = Path(__file__).parents[1] / "data" / "seed_scores.csv"


def test_thirty_steps_equal_the_exercise_s_scores() -> None:
    expected = pd.read_csv(SEED_SCORES)["drift_score"]
    assert len(expected) == 30
    difference = (reference_series()["drift_score"] - expected).abs().max()
    assert difference <= 1e-12


def test_the_peak_of_thirty_steps_is_the_last_and_crosses_nothing() -> None:
    scores = reference_scores(30)
    assert max(scores) == scores[29] == pytest.approx(0.1792, abs=5e-5)
    assert first_crossing(scores) is None


def test_the_first_crossing_is_at_step_31() -> None:
    scores = reference_scores(60)
    assert first_crossing(scores) == 31
    assert scores[31] == pytest.approx(0.2520, abs=5e-5)


@pytest.mark.parametrize("steps", [1, 2, 29, 30, 31, 1000])
def test_a_longer_series_begins_with_the_shorter_one(steps: int) -> None:
    assert reference_scores(steps) == reference_scores(1001)[:steps]


def test_a_new_model_starts_without_drift_on_the_same_noise() -> None:
    old, new = reference_scores(60), reference_scores(60, retrained_at=34)
    without_drift = reference_series(60, slope=0.0)["drift_score"].tolist()
    assert new[:34] == old[:34]
    assert new[34:55] == without_drift[34:55]
    assert new[59] == pytest.approx(without_drift[59] + 0.015 * (59 - 34 - 20))


def test_scores_are_never_negative() -> None:
    scores = reference_series(500, base=0.0, slope=0.0)["drift_score"]
    assert scores.min() == 0.0


def test_timestamps_are_days_that_end_where_asked() -> None:
    end = datetime(2026, 3, 1, 12, tzinfo=UTC)
    timestamps = reference_series(30, end=end)["timestamp"]
    assert timestamps.iloc[-1] == end
    assert set(timestamps.diff().dropna()) == {timedelta(days=1)}
