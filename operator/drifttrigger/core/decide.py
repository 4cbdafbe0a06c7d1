"""The decision: one observation and what the trigger's status holds make one named result.

```
suspended -> outcome holds -> noData, infinity -> compare -> debounce -> episode
          -> intent open -> template refused -> attempts left
          -> concurrency -> cooldown -> breach now -> RETRAIN
```

`decide` is pure and total: no I/O, no clock, no randomness; the same code runs in the operator, in
`check` and in `backtest`. Each "no" is a `Reason`. (`partialData` is judged where the answer gets
its name, in `core.observation`.) Time is the tick's own time, so that replaying the recorded
observations repeats every decision, and no evidence older than a retraining asks for the next one.
"""

from __future__ import annotations

from datetime import datetime
from enum import Enum

import msgspec
from msgspec.structs import replace

from drifttrigger.api.reasons import ConditionType, Outcome, Reason, RetrainingResult
from drifttrigger.api.v1alpha1 import (
    Active,
    Cause,
    ConcurrencyPolicy,
    DriftTriggerStatus,
    Evidence,
    InfinityPolicy,
    NoDataPolicy,
    Pending,
    Verdict,
)
from drifttrigger.core.episode import (
    advance,
    after_edit,
    breach_count,
    is_drifted,
    verdict_of,
)
from drifttrigger.core.naming import child_name
from drifttrigger.core.observation import Observation, format_value
from drifttrigger.core.rules import Rules
from drifttrigger.core.times import format_duration, format_instant, parse_instant

SYMBOLS = {
    "GreaterThan": ">",
    "GreaterThanOrEqual": "≥",
    "LessThan": "<",
    "LessThanOrEqual": "≤",
}
_OPPOSITES = {
    "GreaterThan": "≤",
    "GreaterThanOrEqual": "<",
    "LessThan": "≥",
    "LessThanOrEqual": ">",
}


class Action(Enum):
    """What is to be done about a decision."""

    NOTHING = "nothing"
    RETRAIN = "retrain"


class Decision(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The result of one observation.

    Attributes:
        action: RETRAIN when the status carries a new pending intent.
        reason: Why, from the one enum.
        message: One sentence with the numbers.
        verdict: What the observation said; None when it held.
        next_at: When a "no" may turn without a new score (end of cooldown), if known.
    """

    action: Action = Action.NOTHING
    reason: Reason
    message: str
    verdict: Verdict | None = None
    next_at: datetime | None = None


def decide(
    rules: Rules, status: DriftTriggerStatus, observation: Observation, *, uid: str
) -> tuple[DriftTriggerStatus, Decision]:
    """Decide what one observation means.

    Args:
        rules: The trigger's rules.
        status: All that is known; every decision rests on this alone.
        observation: The named answer. One at or before `status.lastTick`, and a probe, change
            nothing but what an edit resets.
        uid: UID of the trigger, for the name of its next Retraining.

    Returns:
        The new status, with `pending` set when action is RETRAIN, and the decision.
    """
    if observation.is_probe and status.observed_generation != rules.generation:
        # Ticks from before an edit never decide, not even after a restart.
        seen = format_instant(observation.tick)
        status = replace(status, last_tick=max(status.last_tick, seen))
    status = replace(after_edit(rules, status), observed_generation=rules.generation)
    if rules.suspend:
        return status, Decision(
            reason=Reason.SUSPENDED, message="suspended: nothing is evaluated (spec.suspend)"
        )
    verdict = judge(rules, observation)
    if verdict is None:
        status = _ticked(status, observation) if not observation.outcome.is_error else status
        return status, Decision(
            reason=hold_reason(observation.outcome), message=observation.message
        )
    if observation.is_probe or is_old(status, observation.tick):
        return status, _standing(rules, status, observation)
    status = advance(
        rules, _ticked(status, observation), verdict, score=observation.score, tick=observation.tick
    )
    status = _score_after(rules, status, observation)
    decision = _chain(rules, status, observation, verdict)
    if decision.action is Action.RETRAIN:
        status = _with_intent(rules, status, observation, decision, uid=uid)
    return status, decision


def judge(rules: Rules, observation: Observation) -> Verdict | None:
    """Tell what an observation says, None when it holds."""
    match observation.outcome:
        case Outcome.SCORE if observation.score is not None:
            return verdict_of(rules, observation.score)
        case Outcome.INFINITE if observation.score is not None:
            if rules.infinity is InfinityPolicy.COMPARE:
                return verdict_of(rules, observation.score)
            return None
        case Outcome.NO_DATA | Outcome.NOT_A_NUMBER:
            if rules.no_data is NoDataPolicy.BREACH:
                return Verdict.BREACH
            if rules.no_data is NoDataPolicy.CLEAR:
                return Verdict.CLEAR
    return None


def hold_reason(outcome: Outcome) -> Reason:
    """Name the reason for which an outcome holds."""
    if outcome.is_error:
        return Reason.SOURCE_ERROR
    return Reason(outcome.value)


def is_old(status: DriftTriggerStatus, tick: datetime) -> bool:
    """Whether a tick was decided already, by us or by another replica."""
    return bool(status.last_tick) and tick <= parse_instant(status.last_tick)


def compared(rules: Rules, observation: Observation) -> str:
    """Say how the score stands to the threshold, as in `score 0.252 > threshold 0.2`."""
    if observation.score is None:
        return f"{observation.outcome.value} counts as {rules.no_data.value} (spec.noData)"
    text = f"score {format_value(observation.score)}"
    breach = verdict_of(rules, observation.score) is Verdict.BREACH
    signs = SYMBOLS if breach else _OPPOSITES
    return f"{text} {signs[rules.comparison]} threshold {format_value(rules.threshold)}"


def _ticked(status: DriftTriggerStatus, observation: Observation) -> DriftTriggerStatus:
    if observation.is_probe or is_old(status, observation.tick):
        return status
    return replace(status, last_tick=format_instant(observation.tick))


def standing(rules: Rules, status: DriftTriggerStatus, *, now: datetime) -> Decision:
    """Say how an open episode stands between two ticks (pure); nothing is decided."""
    observation = Observation(tick=now, outcome=Outcome.SCORE)
    for check in _CHECKS[:-1]:
        decision = check(rules, status, observation, Verdict.BREACH)
        if decision is not None:
            return decision
    return Decision(reason=Reason.DRIFTED, message="the episode is open; the next tick decides")


def _standing(rules: Rules, status: DriftTriggerStatus, observation: Observation) -> Decision:
    """What a probe says: how things stand, without deciding."""
    what = compared(rules, observation)
    if is_drifted(status):
        return Decision(reason=Reason.DRIFTED, message=f"{what}; the episode stays open")
    return Decision(reason=Reason.AWAITING_TICK, message=f"{what}; the next tick decides")


def _chain(
    rules: Rules, status: DriftTriggerStatus, observation: Observation, verdict: Verdict
) -> Decision:
    what = compared(rules, observation)
    if not is_drifted(status):
        return _not_drifted(rules, status, verdict, what)
    for check in _CHECKS:
        decision = check(rules, status, observation, verdict)
        if decision is not None:
            message = f"{what}; {decision.message}"
            return replace(decision, verdict=verdict, message=message)
    return Decision(
        action=Action.RETRAIN,
        reason=Reason.RETRAINING_REQUESTED,
        message=what,
        verdict=verdict,
    )


def _not_drifted(rules: Rules, status: DriftTriggerStatus, verdict: Verdict, what: str) -> Decision:
    if status.window:
        count = f"{breach_count(status)} of {rules.required} breaches in the last {rules.window}"
        return Decision(reason=Reason.BREACHING, message=f"{what}; {count}", verdict=verdict)
    if verdict is Verdict.IN_BAND:
        band = f"between clearThreshold {format_value(rules.clear_threshold)} and threshold"
        return Decision(reason=Reason.IN_BAND, message=f"{what}; {band}", verdict=verdict)
    return Decision(reason=Reason.BELOW_THRESHOLD, message=what, verdict=verdict)


def _template_refused(
    rules: Rules, status: DriftTriggerStatus, _observation: Observation, _verdict: Verdict
) -> Decision | None:
    if not template_refused(rules, status):
        return None
    return Decision(reason=Reason.JOB_REFUSED, message="the API server refuses the Job template")


def template_refused(rules: Rules, status: DriftTriggerStatus) -> bool:
    """Whether execution found that the API server refuses this generation's Job."""
    for condition in status.conditions:
        if condition.type == ConditionType.TEMPLATE_VALID:
            is_ours = condition.observed_generation == rules.generation
            return condition.status == "False" and is_ours
    return False


def _attempts_left(
    rules: Rules, status: DriftTriggerStatus, _observation: Observation, _verdict: Verdict
) -> Decision | None:
    episode = status.episode
    if episode is None or not rules.max_attempts or episode.attempts < rules.max_attempts:
        return None
    if status.active:
        return Decision(
            reason=Reason.RETRAINING_ACTIVE,
            message=f"{_names(status.active)} has not ended; it is the last of "
            f"{rules.max_attempts} attempts",
        )
    why = _why_it_did_not_help(rules, status)
    return Decision(
        reason=Reason.ATTEMPTS_EXHAUSTED,
        message=f"{episode.attempts} of {rules.max_attempts} attempts used in episode "
        f"{episode.number}; {why}; nothing more until the episode clears",
    )


def _intent_open(
    _rules: Rules, status: DriftTriggerStatus, _observation: Observation, _verdict: Verdict
) -> Decision | None:
    if status.pending is None:
        return None
    return Decision(
        reason=Reason.RETRAINING_REQUESTED, message=f"{status.pending.name} is being created"
    )


def _concurrency(
    rules: Rules, status: DriftTriggerStatus, _observation: Observation, _verdict: Verdict
) -> Decision | None:
    blocking = status.active
    if rules.concurrency is ConcurrencyPolicy.ALLOW:
        # Under Allow one that has no Job yet still blocks: intents don't pile up behind a limit.
        blocking = tuple(active for active in status.active if not active.started)
    if not blocking:
        return None
    return Decision(reason=Reason.RETRAINING_ACTIVE, message=f"{_names(blocking)} has not ended")


def _why_it_did_not_help(rules: Rules, status: DriftTriggerStatus) -> str:
    last = status.last_retraining
    if last is None or last.result != RetrainingResult.COMPLETED:
        return "failing: the last Job did not complete"
    if last.score_after is None:
        return "the last Job completed, and no score after its cooldown is known yet"
    after = format_value(last.score_after)
    if verdict_of(rules, last.score_after) is Verdict.BREACH:
        return (
            f"ineffective: the last Job completed and the score after it, {after}, still breaches"
        )
    return f"the last Job completed, and the score after it was {after}"


def _names(active: tuple[Active, ...]) -> str:
    return ", ".join(entry.name for entry in active[:3])


def _cooldown(
    rules: Rules, status: DriftTriggerStatus, observation: Observation, _verdict: Verdict
) -> Decision | None:
    since = cooldown_since(rules, status)
    if since is None:
        return None
    # Not even without a cooldown does evidence as old as the last end ask for the next start.
    if observation.tick > since and observation.tick >= since + rules.cooldown:
        return None
    until = since + rules.cooldown
    left = format_duration(until - observation.tick)
    return Decision(
        reason=Reason.COOLING_DOWN,
        message=f"cooling down until {format_instant(until)} ({left} left)",
        next_at=until,
    )


def cooldown_since(rules: Rules, status: DriftTriggerStatus) -> datetime | None:
    """Return the instant that the cooldown counts from, None if there was no retraining."""
    last = status.last_retraining
    if rules.concurrency is ConcurrencyPolicy.FORBID:
        return parse_instant(last.completion_time) if last is not None else None
    starts = [active.time for active in status.active if active.time]
    starts += [last.time] if last is not None and last.time else []
    return max((parse_instant(start) for start in starts), default=None)


def _breach_now(
    rules: Rules, status: DriftTriggerStatus, _observation: Observation, verdict: Verdict
) -> Decision | None:
    if verdict is Verdict.BREACH and breach_count(status) >= rules.required:
        return None
    if verdict is Verdict.BREACH:
        count = f"{breach_count(status)} of {rules.required} breaches in the last {rules.window}"
        return Decision(reason=Reason.DRIFTED, message=f"the episode is open; {count}")
    clear = format_value(rules.clear_threshold)
    return Decision(reason=Reason.DRIFTED, message=f"the episode is open until beyond {clear}")


def _score_after(
    rules: Rules, status: DriftTriggerStatus, observation: Observation
) -> DriftTriggerStatus:
    """Take the first score at or after completion + cooldown as what the retraining achieved."""
    last = status.last_retraining
    if last is None or last.score_after is not None or observation.outcome is not Outcome.SCORE:
        return status
    if observation.tick < parse_instant(last.completion_time) + rules.cooldown:
        return status
    return replace(status, last_retraining=replace(last, score_after=observation.score))


_CHECKS = (
    _intent_open,
    _template_refused,
    _attempts_left,
    _concurrency,
    _cooldown,
    _breach_now,
)


def evidence_of(
    rules: Rules, status: DriftTriggerStatus, observation: Observation, *, time: datetime
) -> Evidence:
    """Write down why, so that the decision can be repeated.

    Args:
        rules: The trigger's rules.
        status: The status that the decision made (its window).
        observation: The deciding answer.
        time: The tick, or for a Manual retraining the time it was asked for.
    """
    return Evidence(
        source=rules.source_name,
        query=rules.query,
        time=format_instant(time),
        outcome=observation.outcome,
        threshold=rules.threshold,
        comparison=rules.comparison,
        score=observation.score if observation.outcome is Outcome.SCORE else None,
        value=observation.value,
        series=observation.series,
        window=status.window,
        warnings=observation.warnings,
    )


def _with_intent(
    rules: Rules,
    status: DriftTriggerStatus,
    observation: Observation,
    decision: Decision,
    *,
    uid: str,
) -> DriftTriggerStatus:
    episode = status.episode
    if episode is None:  # pragma: no cover - a retraining for drift has an episode by the chain
        return status
    sequence = status.retrainings + 1
    attempt = episode.attempts + 1
    of = f" of {rules.max_attempts}" if rules.max_attempts else ""
    pending = Pending(
        name=child_name(rules.name, uid, sequence),
        cause=Cause.DRIFT,
        generation=rules.generation,
        model=rules.model,
        episode=episode.number,
        attempt=attempt,
        dry_run=rules.dry_run,
        reason=f"{decision.message} (episode {episode.number}, attempt {attempt}{of})",
        evidence=evidence_of(rules, status, observation, time=observation.tick),
    )
    if not rules.dry_run:
        episode = replace(episode, attempts=attempt)
    return replace(status, episode=episode, retrainings=sequence, pending=pending)
