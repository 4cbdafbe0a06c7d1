"""All that a backtest found, before it is words, JSON, a picture or a page."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec

from drifttrigger.api.reasons import Outcome, Reason
from drifttrigger.cli.backtest.replay import Replay
from drifttrigger.cli.backtest.sweep import Row, Suggestion
from drifttrigger.core.observation import Observation
from drifttrigger.core.times import format_instant

Json = dict[str, Any]
UPPER_BOUND = (
    "History was not retrained: a real retraining would have changed the scores after it, so "
    "attempts beyond the first of an episode are an upper bound."
)


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a backtest found.

    Attributes:
        origin: Where the scores come from: a query, or the name of a file.
        training: Assumed length of a retraining.
        refresh: Median time between two changes of the score, if it changed.
        warnings: What a person should look at before trusting the rest.
        rows: The sweep, by θ; None when none was asked for.
        suggestion: The θ for a budget, if asked for.
    """

    replay: Replay
    observations: Sequence[Observation]
    origin: str
    training: timedelta
    refresh: timedelta | None
    warnings: Sequence[str]
    rows: Sequence[Row] | None
    suggestion: Suggestion | None


def reasons_of(replay: Replay) -> list[tuple[Reason, int, int]]:
    """Count ticks, and breaches among them, by the reason that started nothing."""
    ticks: Counter[Reason] = Counter()
    breaches: Counter[Reason] = Counter()
    for stretch in replay.stretches:
        ticks[stretch.reason] += stretch.ticks
        breaches[stretch.reason] += stretch.breaches
    ticks[Reason.RETRAINING_REQUESTED] -= len(replay.fired)
    return [(reason, count, breaches[reason]) for reason, count in ticks.most_common() if count]


def has_further_attempts(replay: Replay) -> bool:
    """Whether anything rests on scores that a retraining would have changed."""
    return any(fired.attempt > 1 for fired in replay.fired)


def as_json(result: Result) -> Json:
    """Give a result for programs."""
    replay, rules = result.replay, result.replay.rules
    document: Json = {
        "trigger": rules.name,
        "namespace": rules.namespace,
        "origin": result.origin,
        "threshold": rules.threshold,
        "clearThreshold": rules.clear_threshold,
        "comparison": rules.comparison.value,
        "since": format_instant(replay.first) if replay.first else None,
        "until": format_instant(replay.last) if replay.last else None,
        "ticks": replay.ticks,
        "trainingTimeSeconds": result.training.total_seconds(),
        "refreshSeconds": result.refresh.total_seconds() if result.refresh else None,
        "driftedShare": replay.drifted_share,
        "retrainings": [
            {
                "time": format_instant(fired.time),
                "score": fired.score,
                "episode": fired.episode,
                "attempt": fired.attempt,
            }
            for fired in replay.fired
        ],
        "episodes": [
            {
                "episode": span.number,
                "since": format_instant(span.opened_at),
                "until": format_instant(span.cleared_at) if span.cleared_at else None,
                "worstScore": span.worst,
            }
            for span in replay.episodes
        ],
        "notRetrained": [
            {"reason": reason.value, "ticks": ticks, "breaches": breaches}
            for reason, ticks, breaches in reasons_of(replay)
        ],
        "warnings": list(result.warnings),
        "note": UPPER_BOUND,
    }
    if result.rows is not None:
        document["sweep"] = [_row(row) for row in result.rows]
    if result.suggestion is not None:
        document["budget"] = _suggestion(result.suggestion)
    return document


def _row(row: Row) -> Json:
    found: Json = {
        "threshold": row.threshold,
        "clearThreshold": row.clear_threshold,
        "episodes": row.episodes,
        "retrainings": row.retrainings,
        "episodesPerMonth": row.episodes_a_month,
        "retrainingsPerMonth": row.retrainings_a_month,
        "driftedShare": row.drifted_share,
    }
    if row.incidents is not None:
        lead = row.incidents.lead
        found["incidents"] = {
            "caught": row.incidents.caught,
            "missed": row.incidents.missed,
            "false": row.incidents.false,
            "leadSeconds": lead.total_seconds() if lead is not None else None,
        }
    return found


def _suggestion(suggestion: Suggestion) -> Json:
    chosen, beyond = suggestion.chosen, suggestion.beyond
    return {
        "episodes": suggestion.budget.episodes,
        "windowSeconds": suggestion.budget.window.total_seconds(),
        "threshold": chosen.threshold if chosen is not None else None,
        "most": chosen.most if chosen is not None else None,
        "driftedShare": chosen.drifted_share if chosen is not None else None,
        "next": {"threshold": beyond.threshold, "most": beyond.most} if beyond else None,
    }


def outcomes_of(observations: Sequence[Observation]) -> list[tuple[Outcome, int]]:
    """Count the ticks without a usable score, by what was there instead."""
    counted: Counter[Outcome] = Counter(o.outcome for o in observations)
    del counted[Outcome.SCORE]
    return counted.most_common()
