"""How long the retrainings of a trigger really ran, from what the cluster still knows of them."""

import statistics
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import msgspec

from drifttrigger.api.errors import UsageError
from drifttrigger.api.reasons import ConditionType
from drifttrigger.api.v1alpha1 import RetrainingStatus
from drifttrigger.core.times import parse_instant

Json = dict[str, Any]


def recorded_training(retrainings: Iterable[Json]) -> timedelta:
    """Return the median length of the retrainings that completed.

    Raises:
        UsageError: There is none.
    """
    lengths = [length for body in retrainings if (length := _length(body)) is not None]
    if not lengths:
        raise UsageError(
            "no retraining of this trigger has completed; give --training-time a duration"
        )
    return timedelta(seconds=round(statistics.median(lengths)))


def _length(body: Json) -> float | None:
    try:
        status = msgspec.convert(body.get("status") or {}, RetrainingStatus)
        is_good = any(
            c.type == ConditionType.SUCCEEDED and c.status == "True" for c in status.conditions
        )
        if not is_good or not status.start_time or not status.completion_time:
            return None
        end = parse_instant(status.completion_time)
        return max(0.0, (end - parse_instant(status.start_time)).total_seconds())
    except (msgspec.ValidationError, ValueError):
        return None  # written by another version: it says nothing about lengths here
