"""Many thresholds over one history: the table, the least one within a budget, known incidents.

A clear threshold keeps its distance when θ moves. For comparisons where less is worse, "least"
reads as "greatest": the suggestion is always the θ that sees most and still fits.

A θ that is crossed all the time has one episode without an end, which would fit any budget; so one
at which the trigger is drifted for more than half of the time never fits.
"""

import math
import statistics
from bisect import bisect_left
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from drifttrigger.api.reasons import Outcome
from drifttrigger.cli.backtest.replay import Replay, Span, busy_steps, outline
from drifttrigger.core.episode import is_drifted
from drifttrigger.core.observation import Observation
from drifttrigger.core.rules import Rules

MONTH = timedelta(days=30)
_COARSE = 24
_FEW = 64
_AUTOMATIC = 15


class Budget(msgspec.Struct, frozen=True):
    """At most `episodes` may open within any `window`; `text` is how a person wrote it."""

    episodes: int
    window: timedelta
    text: str


class Incident(msgspec.Struct, frozen=True):
    """A time in which the model is known to have been bad; end None: it still is."""

    start: datetime
    end: datetime | None


class Caught(msgspec.Struct, frozen=True, kw_only=True):
    """How the episodes stand to the incidents.

    Attributes:
        caught: Incidents that an episode overlaps.
        missed: The others.
        false: Episodes that overlap no incident.
        lead: Median time from an episode's opening to its incident's start, negative when it opened
            after; None when nothing was caught.
    """

    caught: int
    missed: int
    false: int
    lead: timedelta | None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One θ of a sweep; rates are per 30 days, None over no time."""

    threshold: float
    clear_threshold: float
    episodes: int
    retrainings: int
    episodes_a_month: float | None
    retrainings_a_month: float | None
    drifted_share: float
    incidents: Caught | None


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One θ held against a budget.

    Attributes:
        most: Most episodes that open within one window; where it does not fit, at least so many.
        drifted_share: Part of the time, 0 to 1, in which an episode is open.
    """

    threshold: float
    most: int
    drifted_share: float
    fits: bool


class Suggestion(msgspec.Struct, frozen=True, kw_only=True):
    """The θ that fits a budget, and the proof that the next score towards more does not.

    Attributes:
        chosen: None when no θ among the scores fits.
        beyond: The next score on the side that sees more; None when there is none.
    """

    budget: Budget
    chosen: Trial | None
    beyond: Trial | None


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """What is replayed again and again."""

    rules: Rules
    observations: Sequence[Observation]
    training: timedelta
    uid: str

    def at(self, threshold: float) -> Replay:
        """Replay with another θ."""
        rules = moved(self.rules, threshold)
        return outline(rules, self.observations, training=self.training, uid=self.uid)

    def scores(self) -> list[float]:
        """Return the distinct finite scores, ascending."""
        return sorted(
            {
                o.score
                for o in self.observations
                if o.score is not None and o.outcome is Outcome.SCORE
            }
        )


def moved(rules: Rules, threshold: float) -> Rules:
    """Give rules another θ; the clear threshold keeps its distance."""
    clear = threshold + (rules.clear_threshold - rules.threshold)
    return replace(rules, threshold=threshold, clear_threshold=clear)


def sweep(
    past: Past,
    thresholds: Sequence[float],
    *,
    incidents: Sequence[Incident] | None,
    progress: Callable[[], None] = lambda: None,
) -> list[Row]:
    """Replay every θ."""
    rows = []
    for threshold in thresholds:
        rows.append(_row(past.at(threshold), incidents))
        progress()
    return rows


def automatic(past: Past) -> list[float]:
    """Choose thresholds across the scores that were seen, θ itself among them."""
    scores = past.scores()
    if not scores:
        return [past.rules.threshold]
    low, high = scores[0], scores[-1]
    step = (high - low) / (_AUTOMATIC - 1)
    digits = max(0, 1 - math.floor(math.log10(step))) if step else 6
    grid = {round(low + n * step, digits) for n in range(_AUTOMATIC)}
    return sorted(grid | {past.rules.threshold})


def suggest(
    past: Past, budget: Budget, *, progress: Callable[[], None] = lambda: None
) -> Suggestion:
    """Find the θ that sees most and fits: only the scores themselves can make a difference.

    From the middle of the scores towards the extreme, on a grid where there are many, until the
    first that fits; then between the two.
    """
    scores = past.scores()
    greater = past.rules.comparison.value.startswith("Greater")
    candidates = scores if greater else scores[::-1]

    def trial(index: int) -> Trial:
        progress()
        return _trial(past, candidates[index], budget)

    fails = -1
    for index in _grid(candidates):
        found = trial(index)
        if found.fits:
            break
        fails = index
    else:
        return Suggestion(budget=budget, chosen=None, beyond=None)
    fits = index
    while fits - fails > 1:
        middle = (fits + fails) // 2
        attempt = trial(middle)
        fits, fails = (middle, fails) if attempt.fits else (fits, middle)
        found = attempt if attempt.fits else found
    beyond = trial(fails) if fails >= 0 else None
    return Suggestion(budget=budget, chosen=found, beyond=beyond)


def _grid(candidates: Sequence[float]) -> list[int]:
    """Choose indices to try: all of a few, else some evenly by rank and some evenly by value."""
    count = len(candidates)
    if count <= _FEW:
        return list(range(count))
    ranks = {n * (count - 1) // _COARSE for n in range(_COARSE + 1)}
    low, high = candidates[0], candidates[-1]
    sign = 1 if high > low else -1
    values = [low + n * (high - low) / _COARSE for n in range(1, _COARSE)]
    return sorted(
        ranks | {bisect_left(candidates, sign * v, key=lambda c: sign * c) for v in values}
    )


def _trial(past: Past, threshold: float, budget: Budget) -> Trial:
    """Replay one θ until it is known whether it fits."""
    observations = past.observations
    half = (observations[-1].tick - observations[0].tick) / 2
    drifted, opened_at, recent = timedelta(0), None, list[datetime]()
    most, fits = 0, True
    rules = moved(past.rules, threshold)
    for step in busy_steps(rules, observations, training=past.training, uid=past.uid):
        tick, drifts = step.observation.tick, is_drifted(step.status)
        if drifts and opened_at is None:
            opened_at = tick
            recent = [at for at in recent if tick - at < budget.window] + [tick]
            most = max(most, len(recent))
        elif not drifts and opened_at is not None:
            drifted, opened_at = drifted + (tick - opened_at), None
        now = drifted + (tick - opened_at) if opened_at is not None else drifted
        fits = most <= budget.episodes and now <= half
        if not fits:
            break
    if fits and opened_at is not None:
        drifted += observations[-1].tick - opened_at
    elif opened_at is not None:
        drifted = now
    share = drifted / (2 * half) if half else 0.0
    return Trial(threshold=threshold, most=most, drifted_share=share, fits=fits)


def caught_of(replay: Replay, incidents: Sequence[Incident]) -> Caught:
    """Hold the episodes against known incidents."""
    leads, false = [], 0
    for incident in incidents:
        hits = [e for e in replay.episodes if _overlap(e, incident)]
        leads += [incident.start - hits[0].opened_at] if hits else []
    for episode in replay.episodes:
        false += not any(_overlap(episode, incident) for incident in incidents)
    seconds = [lead.total_seconds() for lead in leads]
    return Caught(
        caught=len(leads),
        missed=len(incidents) - len(leads),
        false=false,
        lead=timedelta(seconds=statistics.median(seconds)) if seconds else None,
    )


def _overlap(episode: Span, incident: Incident) -> bool:
    starts_in_time = incident.end is None or episode.opened_at <= incident.end
    return starts_in_time and (episode.cleared_at is None or episode.cleared_at > incident.start)


def _row(replay: Replay, incidents: Sequence[Incident] | None) -> Row:
    months = replay.length / MONTH
    episodes, retrainings = len(replay.episodes), len(replay.fired)
    return Row(
        threshold=replay.rules.threshold,
        clear_threshold=replay.rules.clear_threshold,
        episodes=episodes,
        retrainings=retrainings,
        episodes_a_month=episodes / months if months else None,
        retrainings_a_month=retrainings / months if months else None,
        drifted_share=replay.drifted_share,
        incidents=caught_of(replay, incidents) if incidents is not None else None,
    )
