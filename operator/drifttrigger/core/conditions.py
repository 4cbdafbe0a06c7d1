"""From what is known to the conditions of a DriftTrigger, calmly.

Ready turns False at once only where the spec is at fault or nothing has succeeded since the last
edit; else after 3 failing asks (retries count) and at least 2 minutes. With it Drifted turns
Unknown. Stalled says that only an edit can help. Messages may be a heartbeat old; types, statuses
and reasons never are.
"""

from datetime import datetime, timedelta

import msgspec

from drifttrigger.api.reasons import SENTENCES, ConditionType, Outcome, Reason
from drifttrigger.api.v1alpha1 import Condition, DriftTriggerStatus
from drifttrigger.core.decide import Decision, judge, standing, template_refused
from drifttrigger.core.episode import is_drifted
from drifttrigger.core.observation import Observation, clean
from drifttrigger.core.rules import Rules
from drifttrigger.core.times import format_instant

CALM_ASKS = 3
CALM_TIME = timedelta(minutes=2)


class Health(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How asking has gone lately; kept in memory, so a restart makes conditions calmer, not wilder.

    Attributes:
        failing_asks: Asks in a row that taught nothing usable.
        failing_since: When the first of them was.
        good_generation: The generation for which an ask last succeeded; 0 for none known.
    """

    failing_asks: int = 0
    failing_since: datetime | None = None
    good_generation: int = 0

    def after(self, *, good: bool, generation: int, now: datetime) -> "Health":
        """Count one more ask."""
        if good:
            return Health(good_generation=generation)
        return Health(
            failing_asks=self.failing_asks + 1,
            failing_since=self.failing_since or now,
            good_generation=self.good_generation,
        )

    def is_failing(self, *, generation: int, now: datetime) -> bool:
        """Whether Ready is to say False now."""
        if not self.failing_asks or self.failing_since is None:
            return False
        if self.good_generation != generation:
            return True
        return self.failing_asks >= CALM_ASKS and now - self.failing_since >= CALM_TIME


def is_good(rules: Rules, observation: Observation) -> bool:
    """Whether an ask succeeded: a score, or what a policy of the spec gives a meaning."""
    return observation.outcome is Outcome.SCORE or judge(rules, observation) is not None


def find(conditions: tuple[Condition, ...], kind: ConditionType) -> Condition | None:
    """Return the condition of a type."""
    for condition in conditions:  # a loop: this stands in the way of every evaluation
        if condition.type == kind:
            return condition
    return None


def with_conditions(
    old: tuple[Condition, ...], changes: tuple[Condition, ...], *, now: datetime
) -> tuple[Condition, ...]:
    """Put changed conditions in place of old ones of the same type.

    lastTransitionTime moves only when the status changes (API conventions).
    """
    result = {c.type: c for c in old}
    for change in changes:
        before = result.get(change.type)
        kept = before is not None and before.status == change.status
        since = before.last_transition_time if before and kept else format_instant(now)
        result[change.type] = msgspec.structs.replace(change, last_transition_time=since)
    return tuple(result.values())


def evaluated(
    rules: Rules,
    status: DriftTriggerStatus,
    observation: Observation,
    decision: Decision,
    health: Health,
    *,
    now: datetime,
) -> tuple[Condition, ...]:
    """Make the conditions after an evaluation.

    Args:
        rules: The trigger's rules.
        status: The status that the decision made, with the old conditions.
        observation: The answer.
        decision: What was decided.
        health: How asking has gone, this ask counted.
        now: The present.
    """
    if _was_good(rules, status):
        health = msgspec.structs.replace(health, good_generation=rules.generation)
    failing = observation.needs_edit or health.is_failing(generation=rules.generation, now=now)
    changes = (
        _ready(rules, status, observation, failing=failing),
        _drifted(rules, status, decision, failing=failing),
        _stalled(rules, observation),
    )
    result = with_conditions(status.conditions, changes, now=now)
    if not template_refused(rules, status):
        return result
    return job_refused(rules, msgspec.structs.replace(status, conditions=result), now=now)


def suspended(rules: Rules, status: DriftTriggerStatus, *, now: datetime) -> tuple[Condition, ...]:
    """Make the conditions of a suspended trigger."""
    message = SENTENCES[Reason.SUSPENDED]
    changes = (
        _condition(ConditionType.READY, "True", Reason.SUSPENDED, message, rules.generation),
        _condition(ConditionType.DRIFTED, "Unknown", Reason.SUSPENDED, message, rules.generation),
        _stalled(rules, None),
    )
    return with_conditions(status.conditions, changes, now=now)


def unusable(
    status: DriftTriggerStatus, *, reason: Reason, message: str, generation: int, now: datetime
) -> tuple[Condition, ...]:
    """Make the conditions of a trigger that only an edit can mend."""
    changes = (
        _condition(ConditionType.READY, "False", reason, message, generation),
        _condition(ConditionType.STALLED, "True", reason, message, generation),
        _condition(
            ConditionType.DRIFTED, "Unknown", Reason.AWAITING_TICK, "not evaluated", generation
        ),
    )
    return with_conditions(status.conditions, changes, now=now)


def restated(rules: Rules, status: DriftTriggerStatus, *, now: datetime) -> tuple[Condition, ...]:
    """Bring Drifted up to date after a Retraining began or ended between two ticks."""
    before = find(status.conditions, ConditionType.DRIFTED)
    if before is None or before.status != "True" or not is_drifted(status):
        return status.conditions
    decision = standing(rules, status, now=now)
    reason = Reason.DRIFTED if decision.reason is Reason.JOB_REFUSED else decision.reason
    change = _condition(
        ConditionType.DRIFTED, "True", reason, decision.message, before.observed_generation
    )
    return with_conditions(status.conditions, (change,), now=now)


def job_refused(
    rules: Rules, status: DriftTriggerStatus, *, now: datetime
) -> tuple[Condition, ...]:
    """Make the conditions of a trigger whose Job the API server refuses."""
    refused = find(status.conditions, ConditionType.TEMPLATE_VALID)
    message = refused.message if refused is not None else SENTENCES[Reason.JOB_REFUSED]
    changes = (
        _condition(ConditionType.READY, "False", Reason.JOB_REFUSED, message, rules.generation),
        _condition(ConditionType.STALLED, "True", Reason.JOB_REFUSED, message, rules.generation),
    )
    return with_conditions(status.conditions, changes, now=now)


def cannot_record(
    status: DriftTriggerStatus,
    *,
    reason: Reason,
    message: str,
    stalled: bool,
    generation: int,
    now: datetime,
) -> tuple[Condition, ...]:
    """Make the conditions while an intent can't be carried out."""
    changes = (
        _condition(ConditionType.READY, "False", reason, message, generation),
        _condition(
            ConditionType.STALLED,
            "True" if stalled else "False",
            reason if stalled else Reason.PROGRESSING,
            message if stalled else SENTENCES[Reason.PROGRESSING],
            generation,
        ),
    )
    return with_conditions(status.conditions, changes, now=now)


def _was_good(rules: Rules, status: DriftTriggerStatus) -> bool:
    """Whether Ready tells of a success since the last edit, which a restart does not forget."""
    ready = find(status.conditions, ConditionType.READY)
    return (
        ready is not None
        and (ready.status, ready.reason) == ("True", Reason.EVALUATING)
        and ready.observed_generation == rules.generation
    )


def _ready(
    rules: Rules, status: DriftTriggerStatus, observation: Observation, *, failing: bool
) -> Condition:
    kind, generation = ConditionType.READY, rules.generation
    if failing:
        reason = Reason(observation.outcome.value)
        message = observation.message or SENTENCES[reason]
        return _condition(kind, "False", reason, message, generation)
    if is_good(rules, observation):
        note = f"{observation.outcome}: {observation.message}" if observation.message else ""
        message = note or SENTENCES[Reason.EVALUATING]
        return _condition(kind, "True", Reason.EVALUATING, message, generation)
    before = find(status.conditions, kind)
    if before is not None and before.status == "True" and before.reason == Reason.EVALUATING:
        return msgspec.structs.replace(before, observed_generation=generation)
    message = observation.message or SENTENCES[Reason.NOT_YET_EVALUATED]
    return _condition(kind, "Unknown", Reason.NOT_YET_EVALUATED, message, generation)


def _drifted(
    rules: Rules, status: DriftTriggerStatus, decision: Decision, *, failing: bool
) -> Condition:
    kind, generation = ConditionType.DRIFTED, rules.generation
    if failing:
        return _condition(kind, "Unknown", decision.reason, decision.message, generation)
    before = find(status.conditions, kind)
    if decision.verdict is None:
        return _drifted_without_verdict(status, decision, before, generation)
    state = "True" if is_drifted(status) else "False"
    # That the Job is refused is Ready's to say; of the drift it says only that it is there.
    reason = Reason.DRIFTED if decision.reason is Reason.JOB_REFUSED else decision.reason
    return _condition(kind, state, reason, decision.message, generation)


def _drifted_without_verdict(
    status: DriftTriggerStatus, decision: Decision, before: Condition | None, generation: int
) -> Condition:
    """Hold: what was known stays, unless an edit ended what it was known of."""
    kind = ConditionType.DRIFTED
    if before is not None and before.status == "True" and is_drifted(status):
        return msgspec.structs.replace(before, observed_generation=generation)
    if is_drifted(status):
        return _condition(kind, "True", Reason.DRIFTED, decision.message, generation)
    kept = before is not None and before.status == "False"
    if before is not None and kept and before.observed_generation == generation:
        return before
    return _condition(kind, "Unknown", Reason.AWAITING_TICK, decision.message, generation)


def _stalled(rules: Rules, observation: Observation | None) -> Condition:
    """Say whether only an edit can help: a query that the server calls bad."""
    kind = ConditionType.STALLED
    if observation is not None and observation.needs_edit:
        return _condition(kind, "True", Reason.SPEC_INVALID, observation.message, rules.generation)
    message = SENTENCES[Reason.PROGRESSING]
    return _condition(kind, "False", Reason.PROGRESSING, message, rules.generation)


def _condition(
    kind: ConditionType, status: str, reason: Reason, message: str, generation: int
) -> Condition:
    return Condition(
        type=kind,
        status=status,
        reason=reason,
        message=clean(message),
        observed_generation=generation,
    )
