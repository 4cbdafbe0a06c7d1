"""What detection keeps in memory of each trigger: one slotted record, never trusted for decisions.

All that a decision rests on is in `view.status`. The record adds what may be lost in a restart
without changing one: when to ask again, how asking has gone, the newest answer for display.
"""

from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from drifttrigger.api.errors import ConflictError
from drifttrigger.api.reasons import ConditionType, Reason
from drifttrigger.api.v1alpha1 import DriftTriggerStatus, LastEvaluation, Verdict
from drifttrigger.clients.clock import Clock
from drifttrigger.core.conditions import Health, find
from drifttrigger.core.observation import Answer, Observation
from drifttrigger.core.rules import Rules
from drifttrigger.core.times import format_instant, format_precise, parse_instant
from drifttrigger.runtime.freshness import Freshness
from drifttrigger.runtime.intents import Intents
from drifttrigger.runtime.views import TriggerView

RETRY_FIRST_SECONDS = 1.0
RETRY_LONGEST_SECONDS = 120.0
NEEDS_EDIT_SECONDS = 300.0


class Retry(msgspec.Struct, frozen=True, gc=False):
    """An ask that ended in an error and is due again.

    Attributes:
        tick: The same evaluation time; None for a probe.
        count: Failures so far.
        at: Monotonic time of the next ask.
        is_patient: Not even a new tick is asked before: only an edit can help, or the server said.
    """

    tick: datetime | None
    count: int
    at: float
    is_patient: bool = False


class Calm(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An evaluation after which status said it all: one that is just like it changes nothing.

    Attributes:
        resource_version: Of the snapshot that it was made on.
        generation: Of the spec.
        reason: What it came to.
        verdict: What its score said.
        is_deferred: Whether a Retraining waited for a limit.
    """

    resource_version: str
    generation: int
    reason: Reason
    verdict: Verdict | None
    is_deferred: bool


class InHand(msgspec.Struct, frozen=True, gc=False):
    """An answer that was asked for together with others', and has not been looked at closely.

    Attributes:
        tick: The tick that it is about.
        answer: What the server said.
    """

    tick: datetime
    answer: Answer


class Record(msgspec.Struct, gc=False):
    """A trigger in memory.

    Attributes:
        view: The newest snapshot.
        not_before: Ticks at or before this instant (creation, last edit) are not asked.
        last_tick: Newest tick that was decided here, written or not; empty for none.
        worst_score: Worst score of the open episode, written with the next write.
        probed: Generation that a probe has answered for.
        is_adopted: Retrainings under the name have been looked for.
        must_release: Something in `active` may have ended.
        write_backoff: Failures in a row of writing or of carrying out an intent.
        asked_tick: Newest tick that was asked here; None for none yet.
        calm: What the newest evaluation was like, if status says all of it.
        in_hand: An answer that the next evaluation need not ask for.
        has_heartbeat: Room for a heartbeat was taken from the budget.
        is_owned: Whether this replica evaluates it.
    """

    view: TriggerView
    not_before: datetime
    last_tick: str = ""
    worst_score: float | None = None
    probed: int = 0
    is_adopted: bool = False
    must_release: bool = True
    must_clean: bool = False
    must_probe: bool = False
    write_backoff: int = 0
    retry: Retry | None = None
    health: Health = Health()
    calm: Calm | None = None
    in_hand: InHand | None = None
    has_heartbeat: bool = False
    observation: Observation | None = None
    reason: Reason = Reason.NOT_YET_EVALUATED
    is_deferred: bool = False
    logged: tuple[str, ...] = ()
    hold_warned: str | None = None
    asked_tick: datetime | None = None
    is_owned: bool = True

    def base(self, view: TriggerView) -> DriftTriggerStatus:
        """Return the status that a decision on this snapshot starts from."""
        status = view.status
        if self.last_tick > status.last_tick:
            status = replace(status, last_tick=self.last_tick)
        if status.episode is not None and self.worst_score is not None:
            status = replace(status, episode=replace(status.episode, worst_score=self.worst_score))
        return status

    def see(self, view: TriggerView, now: datetime) -> None:
        """Take a snapshot of the same object, unless a newer one is known.

        The reply to a write of ours may be read after the watch has told of an edit behind it.
        """
        if int(view.resource_version) < int(self.view.resource_version):
            return
        if view.generation != self.view.generation:
            self.not_before = now
            self.retry = None
            self.write_backoff = 0
            self.must_clean = True
        self.view = view

    async def reload(self, intents: Intents, clock: Clock) -> Freshness:
        """Read T live; what is written next rests on this read.

        Raises:
            ConflictError: It is gone, or another object has its name.
        """
        fresh = Freshness(clock)
        view = await intents.read(self.view.key)
        if view is None or view.uid != self.view.uid:
            raise ConflictError(f"{self.view.name} is gone")
        self.see(view, clock.now())
        return fresh

    async def confirm_no_history(self, intents: Intents, clock: Clock) -> None:
        """Before the first intent ever: T live, then a LIST of what lies under its name.

        Raises:
            ConflictError: There is something, which has to be adopted first.
        """
        await self.reload(intents, clock)
        view = self.view
        if await intents.adopt(view) != view.status:
            self.is_adopted = False
            raise ConflictError("Retrainings of an earlier trigger of this name were found")

    def due_tick(self, rules: Rules, now: datetime) -> datetime | None:
        """Return the tick to ask for now, None when there is none."""
        tick = rules.schedule.latest(now)
        if tick is None or tick <= self.not_before:
            return None
        done = max(self.last_tick, self.view.status.last_tick)
        if done and tick <= parse_instant(done):
            return None
        if now - tick > max(rules.deadline, timedelta(seconds=1)):
            return None
        return tick

    def is_calm(self) -> bool:
        """Whether there is nothing to do but to ask about the next tick.

        What a snapshot asks for was done before the evaluation on it could be called calm.
        """
        return (
            self.calm is not None
            and self.calm.resource_version == self.view.resource_version
            and self.retry is None
            and self.in_hand is None
            and not (self.must_release or self.must_clean or self.must_probe)
        )

    def wants_probe(self) -> bool:
        """Whether the present generation has never been asked for."""
        seen = self.view.status.observed_generation == self.view.generation
        evaluated = seen and self.view.status.last_evaluation is not None
        return self.must_probe or (self.probed != self.view.generation and not evaluated)


def first_record(view: TriggerView, now: datetime) -> Record:
    """Make the record of a trigger that is seen for the first time."""
    status = view.status
    edited = status.observed_generation not in (0, view.generation)
    return Record(
        view=view,
        not_before=now if edited else view.created_at,
        # A status that was ever written was written after looking for Retrainings.
        is_adopted=bool(status.retrainings or status.observed_generation),
        logged=told_of(view) if status.observed_generation else (),
    )


def told_of(view: TriggerView) -> tuple[str, ...]:
    """Return what people have been told who know these conditions: status and reason of each."""
    kinds = (ConditionType.READY, ConditionType.DRIFTED)
    known = (find(view.status.conditions, kind) for kind in kinds)
    return tuple(part for c in known if c is not None for part in (c.status, c.reason))


def next_retry(record: Record, observation: Observation, clock: Clock) -> Retry:
    """Make an errored ask due again: exponential, 1 s to 2 min, with jitter.

    A query that only an edit can cure is asked every 5 minutes: a server upgrade may cure it too.
    """
    tick = None if observation.is_probe else observation.tick
    same = record.retry is not None and record.retry.tick == tick
    if observation.is_held and observation.retry_after_seconds is not None:
        # Nothing was asked: come again when the server is tried again, all spread over a second.
        count = record.retry.count if record.retry is not None and same else 0
        seconds = observation.retry_after_seconds + clock.jitter()
        return Retry(tick, count, clock.monotonic() + seconds)
    count = record.retry.count + 1 if record.retry is not None and same else 1
    seconds = min(RETRY_LONGEST_SECONDS, RETRY_FIRST_SECONDS * 2 ** min(count - 1, 10))
    if observation.needs_edit:
        seconds = NEEDS_EDIT_SECONDS
    if observation.retry_after_seconds is not None:
        seconds = max(seconds, min(observation.retry_after_seconds, NEEDS_EDIT_SECONDS))
    is_patient = observation.needs_edit or observation.retry_after_seconds is not None
    seconds *= (1.0 if is_patient else 0.75) + 0.5 * clock.jitter()
    return Retry(tick, count, clock.monotonic() + seconds, is_patient)


def last_evaluation(observation: Observation, message: str, asked_at: datetime) -> LastEvaluation:
    """Make the status' account of an answer."""
    finite = observation.outcome.value == "Score"
    tick = asked_at if observation.is_probe else observation.tick
    return LastEvaluation(
        time=format_precise(tick) if tick.microsecond else format_instant(tick),
        outcome=observation.outcome,
        score=observation.score if finite else None,
        value=observation.value,
        series=observation.series,
        message=message,
    )
