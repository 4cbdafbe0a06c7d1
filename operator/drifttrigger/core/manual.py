"""What people ask for by annotation: one retraining now, or none for a while.

Annotations, so that GitOps does not fight them; what was answered is remembered in status
(`lastManual`), never in metadata. CRD schemas can't reach annotations, so they are checked here.
"""

from datetime import UTC, datetime, timedelta

import msgspec
from msgspec.structs import replace

from drifttrigger.api.reasons import Outcome, Reason
from drifttrigger.api.v1alpha1 import (
    Cause,
    DriftTriggerStatus,
    LastManual,
    Pending,
)
from drifttrigger.core.decide import evidence_of, template_refused
from drifttrigger.core.naming import child_name
from drifttrigger.core.observation import Observation, clean
from drifttrigger.core.rules import Rules
from drifttrigger.core.times import format_precise, parse_instant

FRESH = timedelta(minutes=10)
FOREVER = datetime.max.replace(tzinfo=UTC)


class Hold(msgspec.Struct, frozen=True):
    """A hold on starting retrainings.

    Attributes:
        until: When it ends; FOREVER without an end.
        reason: Why, in the words of whoever set it.
        is_readable: False when it could not be parsed and therefore holds for ever.
    """

    until: datetime
    reason: str
    is_readable: bool = True

    def text(self) -> str:
        """Say until when, and why."""
        end = "without an end" if self.until == FOREVER else f"until {format_precise(self.until)}"
        return f"held {end}" + (f": {self.reason}" if self.reason else "")


def hold_of(annotation: str | None, *, now: datetime) -> Hold | None:
    """Read the hold annotation: `<until, RFC 3339, or forever> <reason>`; None when none holds."""
    if annotation is None:
        return None
    until_text, _, reason = annotation.strip().partition(" ")
    reason = clean(reason)
    if until_text == "forever":
        return Hold(FOREVER, reason)
    try:
        until = parse_instant(until_text)
    except ValueError:
        return Hold(FOREVER, clean(annotation), is_readable=False)
    return Hold(until, reason) if now < until else None


def decide_manual(
    rules: Rules,
    status: DriftTriggerStatus,
    annotation: str,
    *,
    hold: Hold | None,
    observation: Observation | None,
    uid: str,
    now: datetime,
) -> tuple[DriftTriggerStatus, Reason, str] | None:
    """Answer a `trigger-now` annotation: taken, refused, or (None) answered before.

    Taken when it is at most 10 minutes from now, newer than the last one answered, and nothing is
    active or held. It ignores cooldown, attempts and suspend and uses no attempt.

    Args:
        rules: The trigger's rules.
        status: The status before.
        annotation: Value of the annotation, an RFC 3339 time.
        hold: The hold in force, if any.
        observation: The newest answer, which becomes the evidence; None when there is none.
        uid: UID of the trigger.
        now: The present.

    Returns:
        The new status, the reason (ManualAccepted or ManualRefused) and a sentence.
    """
    last = status.last_manual
    try:
        asked_at = _remembered(parse_instant(annotation.strip()))
    except ValueError:
        text = f"{clean(annotation, limit=64)!r} is no RFC 3339 time"
        if last is not None and last.result == f"Refused: {text}":
            return None
        when = last.time if last is not None else format_precise(datetime.fromtimestamp(0, UTC))
        return _refused(status, when, text)
    if last is not None and asked_at <= parse_instant(last.time):
        return None
    when = format_precise(asked_at)
    if abs(now - asked_at) > FRESH:
        text = f"{when} is more than 10 minutes from now"
        if last is not None and last.result == f"Refused: {text}":
            return None
        # One from the far future must not stand in the way of those that come before it.
        return _refused(status, min(when, format_precise(now)), text)
    if obstacle := _obstacle(rules, status, hold):
        return _refused(status, when, obstacle)
    return _taken(rules, status, observation, asked_at=asked_at, uid=uid)


def _obstacle(rules: Rules, status: DriftTriggerStatus, hold: Hold | None) -> str:
    """Say what stands in the way of a request now; empty for nothing."""
    if status.pending is not None or status.active:
        return "a retraining of this trigger has not ended"
    if hold is not None:
        return hold.text()
    return "the API server refuses the Job template" if template_refused(rules, status) else ""


def _taken(
    rules: Rules,
    status: DriftTriggerStatus,
    observation: Observation | None,
    *,
    asked_at: datetime,
    uid: str,
) -> tuple[DriftTriggerStatus, Reason, str]:
    when = format_precise(asked_at)
    sequence = status.retrainings + 1
    name = child_name(rules.name, uid, sequence)
    seen = observation or Observation(tick=asked_at, outcome=Outcome.NO_DATA)
    pending = Pending(
        name=name,
        cause=Cause.MANUAL,
        generation=rules.generation,
        model=rules.model,
        dry_run=rules.dry_run,
        reason=f"asked for by hand at {when}",
        evidence=evidence_of(rules, status, seen, time=asked_at),
    )
    status = replace(
        status,
        retrainings=sequence,
        pending=pending,
        last_manual=LastManual(time=when, result=f"Accepted: {name}"),
    )
    return status, Reason.MANUAL_ACCEPTED, f"asked for by hand at {when}: {name}"


def recorded_as_done(status: DriftTriggerStatus, annotation: str | None) -> DriftTriggerStatus:
    """Record a `trigger-now` that lay on a trigger when it was first seen, without firing it.

    A restored backup, or a manifest that carries an old request, fires nothing.
    """
    if annotation is None or status.last_manual is not None:
        return status
    try:
        when = format_precise(parse_instant(annotation.strip()))
    except ValueError:
        return status
    result = "Ignored: it was there when the trigger was first seen"
    return replace(status, last_manual=LastManual(time=when, result=result))


def _remembered(instant: datetime) -> datetime:
    """Cut to the milliseconds that status keeps, so that a request is never newer than itself."""
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)


def _refused(
    status: DriftTriggerStatus, when: str, why: str
) -> tuple[DriftTriggerStatus, Reason, str]:
    status = replace(status, last_manual=LastManual(time=when, result=f"Refused: {why}"))
    return status, Reason.MANUAL_REFUSED, why
