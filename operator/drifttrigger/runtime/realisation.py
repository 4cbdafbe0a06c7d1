"""Execution's side of "exactly one Job per Retraining".

```
Pending --right to run, gates--> Starting --create Job--> target.uid --> Running … --> final
   |                                                            (also JobPending, JobSuspended)
   +--> Deferred (start rate), DryRun, Superseded
```

One pass reads the Retraining, then its trigger live, then the Job live, in this order, and makes at
most one step. Only a Retraining that is bound in the trigger's `active` by its UID, or that was
claimed or has its target already, may run; one that `pending` names waits; any other ends as
Superseded. The Job has the Retraining's own name, so that two writers can't make two; a Job of ours
that is not its Retraining's target is a stray and is deleted by uid. Nothing else ever deletes a
Job.
"""

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from enum import Enum
from typing import Protocol

import msgspec

from drifttrigger.api.errors import (
    AlreadyExists,
    ForbiddenError,
    NamespaceGone,
    NotFoundError,
    PermanentError,
    QuotaExceeded,
    TransientError,
    UnknownOutcome,
)
from drifttrigger.api.reasons import SENTENCES, ConditionType, Reason
from drifttrigger.api.v1alpha1 import LABEL_ACTIVE, Cause, Condition, RetrainingStatus
from drifttrigger.clients.clock import Clock
from drifttrigger.clients.kube import RETRAININGS, KubeApi
from drifttrigger.core.conditions import with_conditions
from drifttrigger.core.manual import hold_of
from drifttrigger.core.observation import clean
from drifttrigger.core.status import merge_patch, to_json
from drifttrigger.core.times import format_instant, parse_instant
from drifttrigger.runtime import faults
from drifttrigger.runtime.budget import Priority, WriteBudget
from drifttrigger.runtime.freshness import Freshness
from drifttrigger.runtime.intents import Intents
from drifttrigger.runtime.views import Key, RetrainingView, TriggerView, decode_retraining
from drifttrigger.targets.base import Launcher, Running

_LOG = logging.getLogger(__name__)
REFUSALS_RETRIED = timedelta(hours=1)
RETRY_SECONDS = 5.0
NOTE_SECONDS = 10.0
_CROWD_SECONDS = 30.0
_QUOTA_SECONDS = 30.0
HOLD_SECONDS = 60.0
NAMESPACE_SECONDS = 60.0
START_RATE = "StartRate: this process has started as many Jobs as it may in a minute"
FINAL: dict[Reason, str] = {
    Reason.COMPLETED: "True",
    Reason.DRY_RUN: "True",
    Reason.JOB_FAILED: "False",
    Reason.JOB_DELETED: "False",
    Reason.JOB_NOT_CREATED: "False",
    Reason.SUPERSEDED: "False",
}


class Right(Enum):
    """What a Retraining may do."""

    RUN = "run"
    WAIT = "wait"
    END = "end"


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What one pass did.

    Attributes:
        view: The Retraining after the pass; None when it is gone.
        trigger: The trigger as it was read; None when it is gone.
        changed: Whether Succeeded changed (an Event, a log and an audit line are due).
        stray_deleted: Name of a stray Job that was deleted.
        look_again_in_seconds: When to pass again without an event; None for never.
    """

    view: RetrainingView | None = None
    trigger: TriggerView | None = None
    changed: bool = False
    stray_deleted: str = ""
    look_again_in_seconds: float | None = None


class Pass(msgspec.Struct, frozen=True, kw_only=True):
    """What one pass has read, and when.

    Attributes:
        view: The Retraining.
        trigger: Its trigger; None when it is gone.
        now: The present, at the first read.
        fresh: Age of the first read.
    """

    view: RetrainingView
    trigger: TriggerView | None
    now: datetime
    fresh: Freshness

    def step(self, *, look_again_in_seconds: float | None = None) -> Step:
        """End the pass without a write."""
        return Step(
            view=self.view, trigger=self.trigger, look_again_in_seconds=look_again_in_seconds
        )


class StartGate(Protocol):
    """Leave to start one more Job now."""

    def wait_seconds(self, key: Key) -> float:
        """Return 0 to start now (and count it), else when to ask again."""

    def started(self, key: Key) -> None:
        """Take note that the Job is there."""


def right_of(view: RetrainingView, trigger: TriggerView | None) -> Right:
    """Tell whether a Retraining may run (pure).

    A claimed one was bound when it was claimed, and its Job may be on its way: it runs, even if its
    trigger was deleted or its status emptied since.
    """
    if view.status.target is not None or view.reason is Reason.STARTING:
        return Right.RUN
    if trigger is None:
        return Right.END
    status = trigger.status
    if any(entry.uid == view.uid for entry in status.active):
        return Right.RUN
    ours = view.spec.trigger_ref.uid == trigger.uid
    if ours and status.pending is not None and status.pending.name == view.name:
        return Right.WAIT
    return Right.END


def is_over(view: RetrainingView, trigger: TriggerView | None) -> bool:
    """Whether the episode or the trigger that asked for a Retraining is no more (pure).

    A trigger that was made again counts its episodes anew, so their numbers tell nothing.
    """
    if trigger is None or trigger.uid != view.spec.trigger_ref.uid:
        return True
    if view.spec.cause is Cause.MANUAL:
        return False
    episode = trigger.status.episode
    return episode is None or episode.number != view.spec.episode


class Realisation:
    """One pass over one Retraining.

    Args:
        kube: The API server.
        launcher: Starts Jobs.
        clock: The clock.
        gate: The start rate.
        budget: API writes: what starts or ends a Retraining never waits, the rest does.
        on_refused: Told that the API server refuses a Job for good, with its words.
    """

    def __init__(
        self,
        kube: KubeApi,
        launcher: Launcher,
        clock: Clock,
        *,
        gate: StartGate,
        budget: WriteBudget,
        on_refused: Callable[[RetrainingView, str], Awaitable[None]],
    ) -> None:
        self._kube = kube
        self._on_refused = on_refused
        self._budget = budget
        self._launcher = launcher
        self._clock = clock
        self._gate = gate
        self._intents = Intents(kube, clock)

    async def run(self, key: Key) -> Step:
        """Read everything in order and make at most one step."""
        fresh = Freshness(self._clock)
        now = self._clock.now()
        try:
            view = decode_retraining(await self._kube.get(RETRAININGS, *key))
        except NotFoundError:
            return Step()
        trigger = await self._intents.read((view.namespace, view.spec.trigger_ref.name))
        job = await self._launcher.find(view.namespace, view.name, now=now)
        at = Pass(view=view, trigger=trigger, now=now, fresh=fresh)
        ours = job if job is not None and job.owner_uid == view.uid else None
        if view.is_final:
            return await self._finish(at, ours)
        if view.status.target is not None:
            return await self._follow(at, job)
        right = right_of(view, trigger)
        if right is Right.WAIT:
            return at.step(look_again_in_seconds=RETRY_SECONDS)
        claimed = view.reason is Reason.STARTING
        if ours is not None and right is Right.RUN:
            return await self._record_target(at, ours)
        if right is Right.END or (is_over(view, trigger) and not claimed):
            why = "the decision was never bound, or its episode is over"
            return await self._end(at, Reason.SUPERSEDED, why)
        return await self._start(at)

    async def _start(self, at: Pass) -> Step:
        """Pass the gates, claim, create the Job."""
        view, trigger = at.view, at.trigger
        if view.is_deleting:
            return at.step()
        if view.spec.dry_run:
            return await self._end(at, Reason.DRY_RUN, SENTENCES[Reason.DRY_RUN])
        if view.reason is Reason.STARTING:
            if wait := self._gate.wait_seconds(view.key):
                return at.step(look_again_in_seconds=wait)
        else:
            hold = hold_of(trigger.hold if trigger else None, now=at.now)
            if hold is not None:
                step = await self._note(at, Reason.PENDING, hold.text())
                wait = min(HOLD_SECONDS, max(1.0, (hold.until - at.now).total_seconds()))
                return msgspec.structs.replace(step, look_again_in_seconds=wait)
            wait = self._gate.wait_seconds(view.key)
            if wait > 0:
                step = await self._note(at, Reason.DEFERRED, START_RATE)
                if step.look_again_in_seconds:
                    # Spread, since a crowd that looks in one second finds room for few notes.
                    wait = min(wait, _CROWD_SECONDS * (0.5 + self._clock.jitter()))
                return msgspec.structs.replace(step, look_again_in_seconds=wait)
            start = view.status.start_time or format_instant(at.now)
            status = msgspec.structs.replace(view.status, start_time=start)
            status = _with_reason(status, Reason.STARTING, SENTENCES[Reason.STARTING], now=at.now)
            await self._budget.take(Priority.INTENT)
            view = await self._patch(view, status, fresh=at.fresh)
            faults.point("claimed")
        return await self._create(msgspec.structs.replace(at, view=view))

    async def _create(self, at: Pass) -> Step:
        view = at.view
        at.fresh.check()
        try:
            job = await self._launcher.start(
                view.spec, name=view.name, namespace=view.namespace, uid=view.uid, now=at.now
            )
        except AlreadyExists as error:
            existing = await self._launcher.find(view.namespace, view.name, now=at.now)
            if existing is None or existing.is_being_deleted:
                return at.step(look_again_in_seconds=RETRY_SECONDS)
            if existing.owner_uid != view.uid:
                return await self._refuse(at, str(error))
            job = existing
        except NamespaceGone:
            return at.step(look_again_in_seconds=NAMESPACE_SECONDS)
        except UnknownOutcome:
            return at.step(look_again_in_seconds=1.0)
        except QuotaExceeded as error:
            # Surely not created: right to run, hold and start rate are looked at anew.
            return await self._retry(at, str(error), Reason.PENDING, _QUOTA_SECONDS)
        except TransientError as error:
            return await self._retry(at, str(error), Reason.STARTING, RETRY_SECONDS * 2)
        except (PermanentError, ForbiddenError) as error:
            return await self._refuse(at, str(error))
        self._gate.started(view.key)
        faults.point("job-created")
        return await self._record_target(at, job)

    async def _retry(self, at: Pass, why: str, reason: Reason, seconds: float) -> Step:
        """Keep a Retraining that is refused for now; give up after an hour."""
        start = at.view.status.start_time
        if start and at.now - parse_instant(start) >= REFUSALS_RETRIED:
            return await self._end(at, Reason.JOB_NOT_CREATED, why)
        step = await self._note(at, reason, why)
        return msgspec.structs.replace(step, look_again_in_seconds=seconds)

    async def _refuse(self, at: Pass, why: str) -> Step:
        """End a Retraining whose Job the API server refuses for good; its trigger is told first."""
        await self._on_refused(at.view, clean(why))
        return await self._end(at, Reason.JOB_NOT_CREATED, why)

    async def _record_target(self, at: Pass, job: Running) -> Step:
        """Write target.uid, once; from here on only its end matters."""
        if job.is_being_deleted and job.ended_at is None:
            return at.step(look_again_in_seconds=RETRY_SECONDS)
        status = msgspec.structs.replace(at.view.status, target=job.target)
        if not status.start_time:
            status = msgspec.structs.replace(status, start_time=format_instant(at.now))
        status = _with_reason(status, Reason.RUNNING, "the Job was created", now=at.now)
        await self._budget.take(Priority.INTENT)
        view = await self._patch(at.view, status, fresh=at.fresh)
        faults.point("recorded")
        return Step(view=view, trigger=at.trigger, changed=True, look_again_in_seconds=0.0)

    async def _follow(self, at: Pass, job: Running | None) -> Step:
        """Carry the Job's state over to its Retraining."""
        target = at.view.status.target
        if job is None or target is None or job.target.uid != target.uid:
            return await self._end(at, Reason.JOB_DELETED, "the Job was deleted before it ended")
        if job.ended_at is not None:
            return await self._end(at, job.reason, job.message, ended_at=job.ended_at)
        step = await self._note(at, job.reason, job.message)
        if job.look_again_at is None:
            return step
        wait = max(1.0, (job.look_again_at - at.now).total_seconds())
        return msgspec.structs.replace(step, look_again_in_seconds=wait)

    async def _finish(self, at: Pass, ours: Running | None) -> Step:
        """After the outcome is recorded: delete a stray, let the TTL run, drop the label."""
        view, stray = at.view, ""
        target = view.status.target
        if ours is not None and (target is None or target.uid != ours.target.uid):
            at.fresh.check()
            await self._launcher.discard(ours, view.namespace)
            stray = ours.target.name
        elif ours is not None and view.is_labelled_active:
            try:
                await self._launcher.settle(view.spec, ours, view.namespace)
            except (PermanentError, ForbiddenError) as error:
                # The outcome is recorded; that the Job is not cleaned up must not keep it active.
                _LOG.warning("the Job's TTL can't be set: %s", error, extra={"object": view.name})
        if view.is_labelled_active:
            # On this very object: a wrong uid is not refused, a stale resourceVersion is, and one
            # of the same name that was made since must keep its label.
            metadata = {"uid": view.uid, "resourceVersion": view.resource_version}
            patch = {"metadata": {**metadata, "labels": {LABEL_ACTIVE: None}}}
            at.fresh.check()
            await self._kube.patch(RETRAININGS, view.namespace, view.name, patch)
        return Step(view=view, trigger=at.trigger, stray_deleted=stray)

    async def _note(self, at: Pass, reason: Reason, message: str) -> Step:
        """Write an unfinished reason, if it is another than before."""
        before = at.view.succeeded
        message = clean(message)
        if before is not None and before.reason == reason and before.message == message:
            return at.step()
        if not self._budget.take_early():
            spread = 0.5 + self._clock.jitter()  # each look costs three reads
            return at.step(look_again_in_seconds=NOTE_SECONDS * spread)
        status = _with_reason(at.view.status, reason, message, now=at.now)
        view = await self._patch(at.view, status, fresh=at.fresh)
        changed = before is None or before.reason != reason
        return Step(view=view, trigger=at.trigger, changed=changed)

    async def _end(
        self, at: Pass, reason: Reason, message: str, *, ended_at: datetime | None = None
    ) -> Step:
        """Write the outcome; the pass that follows drops the label."""
        status = _with_reason(at.view.status, reason, message, now=at.now)
        end = format_instant(ended_at or at.now)
        status = msgspec.structs.replace(status, completion_time=end)
        await self._budget.take(Priority.INTENT)
        view = await self._patch(at.view, status, fresh=at.fresh)
        return Step(view=view, trigger=at.trigger, changed=True, look_again_in_seconds=0.0)

    async def _patch(
        self, view: RetrainingView, status: RetrainingStatus, *, fresh: Freshness
    ) -> RetrainingView:
        """Write a status if the Retraining is still as it was read."""
        patch = {
            "metadata": {"uid": view.uid, "resourceVersion": view.resource_version},
            "status": merge_patch(to_json(view.status), to_json(status)),
        }
        fresh.check()
        body = await self._kube.patch(
            RETRAININGS, view.namespace, view.name, patch, subresource="status"
        )
        return decode_retraining(body)


def _with_reason(
    status: RetrainingStatus, reason: Reason, message: str, *, now: datetime
) -> RetrainingStatus:
    condition = Condition(
        type=ConditionType.SUCCEEDED,
        status=FINAL.get(reason, "Unknown"),
        reason=reason,
        message=clean(message),
        observed_generation=1,
    )
    conditions = with_conditions(status.conditions, (condition,), now=now)
    return msgspec.structs.replace(status, conditions=conditions)
