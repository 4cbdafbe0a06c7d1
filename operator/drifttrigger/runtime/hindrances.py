"""What keeps a trigger from being evaluated, said in its conditions and nowhere else."""

from msgspec.structs import replace

from drifttrigger.api.reasons import ConditionType, Reason
from drifttrigger.api.v1alpha1 import Condition
from drifttrigger.clients.clock import Clock
from drifttrigger.core import conditions
from drifttrigger.core.decide import template_refused
from drifttrigger.core.rules import Rules
from drifttrigger.core.status import meaning
from drifttrigger.runtime.announce import Announcer
from drifttrigger.runtime.budget import Priority, WriteBudget
from drifttrigger.runtime.deferred import DeferredWrites
from drifttrigger.runtime.freshness import Freshness
from drifttrigger.runtime.intents import Intents
from drifttrigger.runtime.records import Record


class Hindrances:
    """Writes conditions that come without an evaluation.

    Args:
        intents: The writes of detection.
        clock: The clock.
        budget: API writes.
        deferred: Status writes that may wait.
        announcer: Tells transitions.
    """

    def __init__(
        self,
        intents: Intents,
        clock: Clock,
        *,
        budget: WriteBudget,
        deferred: DeferredWrites,
        announcer: Announcer,
    ) -> None:
        self._intents = intents
        self._clock = clock
        self._budget = budget
        self._deferred = deferred
        self._announcer = announcer

    async def unusable(self, record: Record) -> None:
        """Say that the spec can't be used."""
        view = record.view
        changed = conditions.unusable(
            view.status,
            reason=Reason.SPEC_INVALID,
            message=view.problem,
            generation=view.generation,
            now=self._clock.now(),
        )
        await self._say(record, changed, Priority.SPEC_ERROR)

    async def template(self, record: Record, rules: Rules) -> None:
        """Carry execution's verdict on the Job template over to Ready and Stalled, at once."""
        view = record.view
        ready = conditions.find(view.status.conditions, ConditionType.READY)
        said = ready is not None and ready.reason == Reason.JOB_REFUSED
        refused = template_refused(rules, view.status)
        if said and not refused:
            record.probed = 0  # asked again at once, so that Ready tells how things stand
            record.must_probe = True
        if refused and not said:
            changed = conditions.job_refused(rules, view.status, now=self._clock.now())
            await self._say(record, changed, Priority.SPEC_ERROR)

    async def suspended(self, record: Record, rules: Rules) -> None:
        """Say that the trigger is suspended."""
        changed = conditions.suspended(rules, record.view.status, now=self._clock.now())
        record.reason = Reason.SUSPENDED
        await self._say(record, changed, Priority.OUTCOME)

    async def cannot_record(
        self, record: Record, reason: Reason, message: str, *, stalled: bool = False
    ) -> None:
        """Say that a decision can't be written down."""
        await record.reload(self._intents, self._clock)
        view = record.view
        changed = conditions.cannot_record(
            view.status,
            reason=reason,
            message=message,
            stalled=stalled,
            generation=view.generation,
            now=self._clock.now(),
        )
        await self._say(record, changed, Priority.OUTCOME)

    async def _say(
        self, record: Record, changed: tuple[Condition, ...], priority: Priority
    ) -> None:
        view = record.view
        status = replace(record.base(view), conditions=changed, observed_generation=view.generation)
        if meaning(status) == meaning(view.status):
            self._deferred.forget(view.key)
            return
        if not self._budget.take_now():
            self._deferred.put(record, view, status, priority)
            return
        self._deferred.forget(view.key)
        fresh = Freshness(self._clock)
        record.see(await self._intents.commit(view, status, fresh=fresh), self._clock.now())
        self._announcer.conditions(record)
