"""How often the score really changes, and what that means for the trigger's own times.

A score that a batch job writes once a day is the same at each of the day's 288 ticks: a breach is
counted again and again, and a cooldown shorter than a day ends on the very score that fired.
"""

import statistics
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise

from drifttrigger.core.observation import Observation
from drifttrigger.core.rules import Rules
from drifttrigger.core.times import format_duration

_FAR_SHORTER = 10


def refresh_period(observations: Sequence[Observation]) -> timedelta | None:
    """Measure the median time between two changes of the score; None with fewer than two.

    It can't be shorter than the distance of the ticks.
    """
    changes, last = [], None
    for observation in observations:
        if observation.score is None:
            continue
        if last is not None and observation.score != last:
            changes.append(observation.tick)
        last = observation.score
    distances = [(after - before).total_seconds() for before, after in pairwise(changes)]
    return timedelta(seconds=round(statistics.median(distances))) if distances else None


def tick_distance(observations: Sequence[Observation]) -> timedelta | None:
    """Measure the median distance of the ticks; None with fewer than two."""
    distances = [(b.tick - a.tick).total_seconds() for a, b in pairwise(observations)]
    return timedelta(seconds=round(statistics.median(distances))) if distances else None


def warnings_about(
    rules: Rules, refresh: timedelta | None, distance: timedelta | None
) -> list[str]:
    """Say where the trigger's times and those of its score don't go together."""
    if refresh is None or distance is None or not distance:
        return []
    found, changes = [], format_duration(refresh)
    times = refresh / distance
    counted_again = rules.window > 1 and times >= 2
    if times >= _FAR_SHORTER or counted_again:
        what = (
            f"; each score is counted {times:.0f} times in the {rules.required} of {rules.window} "
            "breaches"
            if rules.window > 1
            else ""
        )
        found.append(
            f"the score changes every {changes}, but is looked at every "
            f"{format_duration(distance)}: the interval is far shorter than it need be{what}"
        )
    if rules.cooldown < refresh:
        found.append(
            f"the cooldown ({format_duration(rules.cooldown)}) is shorter than the time between "
            f"two scores ({changes}): a further attempt is decided on the score of the one before"
        )
    return found
