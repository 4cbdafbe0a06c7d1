"""The detection controller: from a due slot to a decision that is written down.

```
slot due -> gather: the trigger's record, its answer, clock.now()                     (evaluation)
         -> core.decide(…) -> Decision                                                (core)
         -> record: status if it changed in meaning (or the heartbeat's turn)         (evaluation)
         -> act: nothing, or intent -> create Retraining -> confirm                   (intents)
         -> Event, log line, metrics -> next tick
```

One pass is level-triggered: it looks at what is there and does what is due, the unfinished first.
It may be repeated, interrupted or run by two replicas at any point.
"""

import logging
from collections.abc import Callable
from datetime import timedelta

from msgspec.structs import replace

from drifttrigger.api.errors import (
    ConflictError,
    DriftTriggerError,
    ForbiddenError,
    NamespaceGone,
    NotFoundError,
    PermanentError,
    TransientError,
)
from drifttrigger.api.reasons import ConditionType, Reason
from drifttrigger.api.v1alpha1 import ConcurrencyPolicy
from drifttrigger.clients.clock import Clock
from drifttrigger.clients.kube import KubeApi
from drifttrigger.core import conditions
from drifttrigger.core.manual import decide_manual, hold_of
from drifttrigger.core.rules import Rules
from drifttrigger.core.times import format_instant, parse_instant
from drifttrigger.runtime import faults
from drifttrigger.runtime.announce import Announcer, server_of
from drifttrigger.runtime.budget import Priority, WriteBudget
from drifttrigger.runtime.deferred import DeferredWrites
from drifttrigger.runtime.evaluation import Evaluation
from drifttrigger.runtime.freshness import Freshness
from drifttrigger.runtime.hindrances import Hindrances
from drifttrigger.runtime.history import clean_history
from drifttrigger.runtime.intents import Intents, NameTaken
from drifttrigger.runtime.metrics import Metrics
from drifttrigger.runtime.records import Record, first_record
from drifttrigger.runtime.rounds import Rounds
from drifttrigger.runtime.views import Key, RetrainingView, TriggerView, tells_more
from drifttrigger.runtime.worklist import Worklist
from drifttrigger.sources.base import Source

_LOG = logging.getLogger(__name__)
_DECIDE_AGAIN = 5
_UNFINISHED_SECONDS = 5.0
_LANE_WIDTH = 600
"""Passes under way at once for one metrics server: some batches, and no crowd of tasks."""
_CLOCK_AHEAD = timedelta(minutes=10)


class Detection:
    """Evaluates triggers and writes decisions down.

    Args:
        kube: The API server.
        source: The metrics servers.
        clock: The clock.
        budget: API writes.
        announcer: Events, logs and the audit trail.
        metrics: Counters.
        concurrency: Passes under way at once; most of them wait for a metrics server.

    Attributes:
        records: All triggers, those of other replicas too.
        owns: Whether the trigger with a UID is this replica's.
    """

    def __init__(
        self,
        kube: KubeApi,
        source: Source,
        clock: Clock,
        *,
        budget: WriteBudget,
        announcer: Announcer,
        metrics: Metrics,
        concurrency: int = 4096,
    ) -> None:
        self._kube = kube
        self._clock = clock
        self._budget = budget
        self._announcer = announcer
        self._metrics = metrics
        self._intents = Intents(kube, clock)
        self.deferred = DeferredWrites(self._intents, clock, budget=budget, announcer=announcer)
        self._hindrances = Hindrances(
            self._intents, clock, budget=budget, deferred=self.deferred, announcer=announcer
        )
        self._evaluation = Evaluation(
            self._intents,
            source,
            clock,
            budget=budget,
            deferred=self.deferred,
            announcer=announcer,
            metrics=metrics,
        )
        self.records: dict[Key, Record] = {}
        self.owns: Callable[[str], bool] = lambda _: True
        self._evaluation.owns = lambda uid: self.owns(uid)
        self.work = Worklist(
            self._pass,
            clock,
            concurrency=concurrency,
            lane_of=self._lane_of,
            lane_width=_LANE_WIDTH,
            together=Rounds(
                self.records, lambda uid: self.owns(uid), self._evaluation, source, clock
            ),
        )

    def _lane_of(self, key: Key) -> object:
        """Name the server that a trigger waits for; a slow one delays its own triggers only."""
        record = self.records.get(key)
        if record is None or record.view.rules is None:
            return None
        return server_of(record.view, record.view.rules)

    # What the feed tells.

    def on_trigger(self, view: TriggerView) -> None:
        """Take a newer snapshot; wake the trigger if anything but our own status changed."""
        record = self.records.get(view.key)
        if record is None or record.view.uid != view.uid:
            self._begin(view)
            self.work.wake(view.key)
            return
        if int(view.resource_version) <= int(record.view.resource_version):
            return
        before = record.view
        record.see(view, self._clock.now())
        if tells_more(before, view):
            record.must_release = True
            self.work.wake(view.key)

    def _begin(self, view: TriggerView) -> None:
        """Make a new record of a trigger; what was known of another one is forgotten."""
        record = first_record(view, self._clock.now())
        record.is_owned = self.owns(view.uid)
        self.records[view.key] = record

    def on_trigger_gone(self, key: Key, uid: str) -> None:
        """Forget a deleted trigger."""
        record = self.records.get(key)
        if record is not None and record.view.uid == uid:
            record.is_owned = False
            self.deferred.forget(key)
            del self.records[key]
            self.work.drop(key)

    def on_retraining(self, key: Key, *, is_ended: bool, is_deferred: bool) -> None:
        """Look at the trigger of a Retraining that ended, vanished or began to wait."""
        record = self.records.get(key)
        if record is None:
            return
        started_matters = (
            record.view.rules is not None
            and record.view.rules.concurrency is ConcurrencyPolicy.ALLOW
            and any(not entry.started for entry in record.view.status.active)
        )
        record.is_deferred = is_deferred
        if is_ended or started_matters:
            record.must_release = True
            record.must_clean = True
            self.work.wake(key)

    def on_shards(self) -> None:
        """Take up triggers that became this replica's; forget what is known of others'.

        A record begins anew: what another replica has done meanwhile is in the status.
        """
        for key, record in self.records.items():
            is_owned = self.owns(record.view.uid)
            if is_owned == record.is_owned:
                if is_owned:
                    self.work.wake(key)  # it may have been turned away meanwhile
                continue
            self.deferred.forget(key)
            record.is_owned = False  # for a pass that still holds it
            self._begin(record.view)
            if is_owned:
                self.work.wake(key)
            else:
                self.work.drop(key)

    def on_source(self, uses: Callable[[Rules, str], bool]) -> None:
        """Ask at once for the triggers whose source came, changed or went.

        Args:
            uses: Says of rules and a namespace whether they mean that source.
        """
        for key, record in self.records.items():
            rules = record.view.rules
            if rules is not None and uses(rules, record.view.namespace):
                if record.retry is not None:
                    record.retry = replace(record.retry, at=self._clock.monotonic())
                record.must_probe = True
                self.work.wake(key)

    # One pass.

    async def _pass(self, key: Key) -> float | None:
        record = self.records.get(key)
        if record is None or not self.owns(record.view.uid):
            return None
        view = record.view
        try:
            await self._look(record)
        except ConflictError as error:
            _LOG.debug("decided again: %s", error, extra=_extra(view))
            return await self._reload(record)
        except NotFoundError:
            return await self._reload(record)
        except (TransientError, ForbiddenError) as error:
            _LOG.warning("will be tried again: %s", error, extra=_extra(view))
            return self._back_off(record)
        except DriftTriggerError:
            _LOG.exception("the pass over a trigger failed", extra=_extra(view))
            return self._back_off(record)
        except Exception:
            # The edge of one trigger's work: a defect met here must not stop the others.
            _LOG.exception("the pass over a trigger failed unexpectedly", extra=_extra(view))
            return self._back_off(record)
        record.write_backoff = 0
        return self._next_look(record)

    async def _look(self, record: Record) -> None:
        """Do what is due, the unfinished first."""
        await self._mend_clock(record)
        if not record.is_adopted:
            await self._adopt(record)
        if record.view.status.pending is not None:
            await self._carry_out(record)
        if record.view.is_deleting:
            return
        if record.must_release:
            await self._release(record)
        rules = record.view.rules
        if rules is None:
            await self._hindrances.unusable(record)
            return
        await self._answer_manual(record, rules)
        if rules.suspend:
            await self._hindrances.suspended(record, rules)
        else:
            await self._hindrances.template(record, rules)
            await self._evaluation.run(record, rules)
            if record.view.status.pending is not None:
                faults.point("intent-written")
                await self._carry_out(record)
        if record.must_clean:
            await self._clean(record)

    async def _clean(self, record: Record) -> None:
        record.must_clean = False
        try:
            is_more_left = await clean_history(self._kube, record.view)
        except DriftTriggerError as error:
            _LOG.warning("the history was not cleaned: %s", error, extra=_extra(record.view))
            is_more_left = True
        record.must_clean = record.must_clean or is_more_left

    def _next_look(self, record: Record) -> float | None:
        """Return the monotonic time of the next pass: a tick, a retry, or unfinished business."""
        if record.view.is_deleting:
            return None
        waits = [_UNFINISHED_SECONDS] if record.must_release or record.must_clean else []
        rules = record.view.rules
        monotonic, now = self._clock.monotonic(), self._clock.now()
        if rules is not None and not rules.suspend:
            following = rules.schedule.following(now)
            if record.retry is not None:
                waits.append(max(0.0, record.retry.at - monotonic))
            elif record.wants_probe() or record.due_tick(rules, now) is not None:
                waits.append(0.0)
            if following is not None and not (record.retry and record.retry.is_patient):
                waits.append((following - now).total_seconds())
        return monotonic + max(0.0, min(waits)) if waits else None

    def _back_off(self, record: Record) -> float:
        record.write_backoff += 1
        seconds = min(60.0, 2.0 ** min(record.write_backoff - 1, 6))
        return self._clock.monotonic() + seconds * (0.75 + 0.5 * self._clock.jitter())

    async def _reload(self, record: Record) -> float | None:
        """Read T again and look at once; after repeated conflicts, with backoff."""
        try:
            view = await self._intents.read(record.view.key)
        except DriftTriggerError as error:
            _LOG.warning("can't read the trigger: %s", error, extra=_extra(record.view))
            return self._back_off(record)
        if view is None:
            self.on_trigger_gone(record.view.key, record.view.uid)
            return None
        if view.uid != record.view.uid:
            self._begin(view)
            return self._clock.monotonic()
        record.see(view, self._clock.now())
        record.must_release = True
        record.write_backoff += 1
        if record.write_backoff > _DECIDE_AGAIN:
            return self._back_off(record)
        return self._clock.monotonic()

    async def _mend_clock(self, record: Record) -> None:
        """Take back a lastTick from the future: a clock was ahead, and has been put right."""
        view = record.view
        newest = max(record.last_tick, view.status.last_tick)
        if not newest:
            return
        now = self._clock.now()
        if parse_instant(newest) <= now + _CLOCK_AHEAD:
            return
        record.last_tick = min(record.last_tick, format_instant(now + _CLOCK_AHEAD))
        if not view.status.last_tick or parse_instant(view.status.last_tick) <= now + _CLOCK_AHEAD:
            return
        record.last_tick = ""
        fresh = await record.reload(self._intents, self._clock)
        view = record.view
        _LOG.warning("lastTick lies in the future and is set to now", extra=_extra(view))
        status = replace(view.status, last_tick=format_instant(now))
        await self._budget.take(Priority.INTENT)
        record.see(await self._intents.commit(view, status, fresh=fresh), self._clock.now())

    # Unfinished business.

    async def _adopt(self, record: Record) -> None:
        """Take up what lies under the name of a trigger without history."""
        if record.view.status.retrainings:
            record.is_adopted = True
            return
        fresh = await record.reload(self._intents, self._clock)
        view = record.view
        if view.status.retrainings:  # decided meanwhile: what the LIST finds may be its intent
            record.is_adopted = True
            return
        status = await self._intents.adopt(view)
        if status != view.status:
            await self._budget.take(Priority.INTENT)
            record.see(await self._intents.commit(view, status, fresh=fresh), self._clock.now())
            record.must_release = True
        record.is_adopted = True

    async def _carry_out(self, record: Record) -> None:
        fresh = Freshness(self._clock)
        pending = record.view.status.pending
        await self._budget.take(Priority.INTENT)
        try:
            record.see(await self._intents.carry_out(record.view, fresh=fresh), self._clock.now())
        except NameTaken as error:
            await self._hindrances.cannot_record(record, Reason.NAME_TAKEN, str(error))
            raise TransientError(str(error)) from error
        except NamespaceGone as error:
            status = replace(record.view.status, pending=None)
            record.see(
                await self._intents.commit(record.view, status, fresh=fresh), self._clock.now()
            )
            _LOG.info("the intent is dropped: %s", error, extra=_extra(record.view))
            return
        except PermanentError as error:
            await self._hindrances.cannot_record(
                record, Reason.CANNOT_RECORD, str(error), stalled=True
            )
            raise TransientError(str(error)) from error
        except (TransientError, ForbiddenError) as error:
            await self._hindrances.cannot_record(record, Reason.CANNOT_RECORD, str(error))
            raise TransientError(str(error)) from error
        ready = conditions.find(record.view.status.conditions, ConditionType.READY)
        if ready is not None and ready.reason in (Reason.CANNOT_RECORD, Reason.NAME_TAKEN):
            record.must_probe = True  # asked at once, so that Ready tells how things stand
        if pending is not None and any(a.name == pending.name for a in record.view.status.active):
            self._announcer.retraining_created(record.view, pending)

    async def _release(self, record: Record) -> None:
        """Take out of active what has ended; one that fails half way is due as before."""
        record.must_release = False  # what ends meanwhile sets it again
        try:
            if record.view.status.active:
                await self._take_out(record)
        except BaseException:
            record.must_release = True
            raise

    async def _take_out(self, record: Record) -> None:
        fresh = await record.reload(self._intents, self._clock)
        if not record.view.status.active:
            return
        rules = record.view.rules
        starts = rules is not None and rules.concurrency is ConcurrencyPolicy.ALLOW
        await self._budget.take(Priority.INTENT)
        view = record.view
        found = await self._intents.release(
            view, record.base(view), now=self._clock.now(), fresh=fresh, starts=starts
        )
        record.see(found.view, self._clock.now())
        record.must_release = record.must_release or found.waits
        for name in found.vanished:
            self._announcer.vanished(record.view, name)
        for retraining in found.ended:
            self._metrics.retraining_ended(retraining)
            self._announcer.released(record.view, retraining)

    # What a person says.

    async def _answer_manual(self, record: Record, rules: Rules) -> None:
        view, now = record.view, self._clock.now()
        hold = hold_of(view.hold, now=now)
        if hold is not None and not hold.is_readable and record.hold_warned != view.hold:
            record.hold_warned = view.hold
            self._announcer.hold_unreadable(view, hold)
        if view.trigger_now is None or view.is_deleting:
            return
        answer = decide_manual(
            rules,
            record.base(view),
            view.trigger_now,
            hold=hold,
            observation=record.observation,
            uid=view.uid,
            now=now,
        )
        if answer is None:
            return
        if not view.status.retrainings:
            await record.confirm_no_history(self._intents, self._clock)
        fresh = await record.reload(self._intents, self._clock)
        if record.view.resource_version != view.resource_version:
            raise ConflictError("the trigger changed while a request by hand was looked at")
        status, reason, message = answer
        await self._budget.take(Priority.INTENT)
        record.see(await self._intents.commit(view, status, fresh=fresh), self._clock.now())
        self._announcer.manual(record.view, reason, message)
        if record.view.status.pending is not None:
            faults.point("intent-written")
            await self._carry_out(record)


def _extra(view: TriggerView | RetrainingView) -> dict[str, object]:
    return {"namespace": view.namespace, "object": view.name}
