"""The drift episode: debounce, opening, clearing, and what ends and edits do to it.

```
Clear --breach--> Breaching --N of M--> Drifted (episode + 1) --clear side--> Clear
```

Clear is an absent episode, Breaching one with number 0, Drifted one with a number ≥ 1. All of it is
in `DriftTriggerStatus`, and every function here maps one status to the next.
"""

import math
from datetime import datetime

from msgspec.structs import replace

from drifttrigger.api.reasons import NO_ATTEMPT, RetrainingResult
from drifttrigger.api.v1alpha1 import (
    Active,
    DriftTriggerStatus,
    Episode,
    LastRetraining,
    Verdict,
)
from drifttrigger.core.rules import Rules, breaches, differs
from drifttrigger.core.times import format_instant


def is_drifted(status: DriftTriggerStatus) -> bool:
    """Whether an episode is open."""
    return status.episode is not None and status.episode.number > 0


def verdict_of(rules: Rules, score: float) -> Verdict:
    """Hold a score against both bounds."""
    if breaches(score, rules.comparison, rules.threshold):
        return Verdict.BREACH
    if breaches(score, rules.comparison, rules.clear_threshold):
        return Verdict.IN_BAND
    return Verdict.CLEAR


def after_edit(rules: Rules, status: DriftTriggerStatus) -> DriftTriggerStatus:
    """Reset what an edit makes meaningless.

    A change of the condition part ends the episode; one of the template resets its attempts.
    """
    old = status.spec_hash
    if old == rules.hashes:
        return status
    if differs(old.condition, rules.hashes.condition):
        status = cleared(status)
    elif differs(old.job_template, rules.hashes.job_template) and status.episode is not None:
        status = replace(status, episode=replace(status.episode, attempts=0))
    return replace(status, spec_hash=rules.hashes)


def cleared(status: DriftTriggerStatus) -> DriftTriggerStatus:
    """End the episode: attempts and window go with it."""
    return replace(status, episode=None, window=())


def remember(status: DriftTriggerStatus, verdict: Verdict, *, window: int) -> DriftTriggerStatus:
    """Append a verdict, keep the last `window`, drop leading ones that are no breach.

    Leading non-breaches change no count, now or later, so dropping them keeps a healthy trigger's
    window empty and its status unwritten.
    """
    if not status.window and verdict is not Verdict.BREACH:
        return status
    verdicts = (*status.window, verdict)[-window:]
    first = next((i for i, v in enumerate(verdicts) if v is Verdict.BREACH), len(verdicts))
    return replace(status, window=verdicts[first:])


def advance(
    rules: Rules,
    status: DriftTriggerStatus,
    verdict: Verdict,
    *,
    score: float | None,
    tick: datetime,
) -> DriftTriggerStatus:
    """Let one deciding verdict act on window and episode.

    Args:
        rules: The trigger's rules.
        status: The status before.
        verdict: What the observation said.
        score: Its number, None for a verdict by policy.
        tick: Its instant.
    """
    if is_drifted(status) and verdict is Verdict.CLEAR:
        return cleared(status)
    status = remember(status, verdict, window=rules.window)
    if not is_drifted(status):
        status = _before_drift(rules, status, verdict, tick)
    if score is None or not math.isfinite(score):  # a status can't hold infinity: JSON has none
        return status
    if status.episode is not None and verdict is Verdict.BREACH:
        worst = _worse(rules, status.episode.worst_score, score)
        status = replace(status, episode=replace(status.episode, worst_score=worst))
    return status


def breach_count(status: DriftTriggerStatus) -> int:
    """Count the breaches in the window."""
    return status.window.count(Verdict.BREACH)


def _before_drift(
    rules: Rules, status: DriftTriggerStatus, verdict: Verdict, tick: datetime
) -> DriftTriggerStatus:
    if not status.window:
        return replace(status, episode=None) if status.episode is not None else status
    episode = status.episode or Episode(since=format_instant(tick))
    if verdict is Verdict.BREACH and breach_count(status) >= rules.required:
        number = status.episodes + 1
        episode = replace(episode, number=number, since=format_instant(tick), attempts=0)
        return replace(status, episode=episode, episodes=number)
    return replace(status, episode=episode)


def _worse(rules: Rules, worst: float | None, score: float) -> float:
    if worst is None:
        return score
    greater = rules.comparison.value.startswith("Greater")
    return max(worst, score) if greater else min(worst, score)


def released(
    status: DriftTriggerStatus,
    entry: Active,
    *,
    result: RetrainingResult,
    episode: int,
    completed_at: datetime,
) -> DriftTriggerStatus:
    """Take an ended Retraining out of active.

    Args:
        status: The status before.
        entry: The entry of `active` that ended.
        result: How it ended. Superseded starts no cooldown; results in NO_ATTEMPT give the attempt
            back (a dry run never took one).
        episode: The episode that it was decided in, 0 for a Manual one.
        completed_at: When it ended; starts the cooldown.
    """
    status = replace(status, active=tuple(a for a in status.active if a.uid != entry.uid))
    open_episode = status.episode
    gives_back = result in NO_ATTEMPT and result is not RetrainingResult.DRY_RUN
    if gives_back and open_episode is not None and episode and open_episode.number == episode:
        attempts = max(0, open_episode.attempts - 1)
        status = replace(status, episode=replace(open_episode, attempts=attempts))
    if result is RetrainingResult.SUPERSEDED:
        return status
    last = LastRetraining(
        name=entry.name,
        time=entry.time,
        completion_time=format_instant(completed_at),
        result=result,
    )
    previous = status.last_retraining
    if previous is not None:
        # Ends may come out of order: Forbid counts from the newest end, Allow from the newest
        # start, and neither may fall back.
        newest = max(last, previous, key=lambda retraining: retraining.completion_time)
        last = replace(newest, time=max(last.time, previous.time))
    return replace(status, last_retraining=last)
