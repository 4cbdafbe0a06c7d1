"""The drift scores of the original exercise, continued for as long as anybody wants.

    score(step) = max(0, base + slope · max(0, age - change_point) + noise · N(0, 1))

N comes from NumPy's legacy generator, one number a step, so that a longer series begins with the
shorter one. `age` counts steps since the model was trained: step 0, and again from a retraining on,
which is all that a new model changes.
"""

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import pandas as pd

from drifttrigger.clients.clock import SystemClock

STEPS = 30
THRESHOLD = 0.2


def reference_series(
    steps: int = STEPS,
    *,
    seed: int = 42,
    base: float = 0.05,
    change_point: int = 20,
    slope: float = 0.015,
    noise: float = 0.02,
    retrained_at: int | None = None,
    end: datetime | None = None,
) -> pd.DataFrame:
    """Generate daily drift scores.

    Args:
        steps: How many days.
        seed: Of the random stream.
        base: Score of a model without drift, dimensionless.
        change_point: Age in steps after which the drift grows.
        slope: Growth of the score per step.
        noise: Standard deviation of the score.
        retrained_at: First step of a new model; None keeps the old one.
        end: Time of the last step, aware; None means now.

    Returns:
        One row a step: `timestamp` (UTC, one day apart) and `drift_score` (≥ 0).
    """
    random = np.random.RandomState(seed).normal(0.0, noise, steps)
    ages = np.arange(steps)
    if retrained_at is not None:
        ages[retrained_at:] -= retrained_at
    scores = base + slope * np.maximum(0, ages - change_point) + random
    last = end if end is not None else SystemClock().now()
    return pd.DataFrame(
        {
            "timestamp": pd.date_range(end=pd.Timestamp(last), periods=steps, freq="D"),
            "drift_score": np.maximum(0.0, scores),
        }
    )


def reference_scores(steps: int, *, retrained_at: int | None = None) -> list[float]:
    """Give the exercise's scores alone, by step."""
    series = reference_series(steps, retrained_at=retrained_at)
    return [float(score) for score in series["drift_score"]]


def first_crossing(scores: Sequence[float], *, threshold: float = THRESHOLD) -> int | None:
    """Find the first step whose score is above the threshold; None when there is none."""
    return next((step for step, score in enumerate(scores) if score > threshold), None)
