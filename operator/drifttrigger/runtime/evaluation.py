"""One evaluation: ask at the tick's own time, decide, write what is worth a write.

The decision is made on one snapshot of the trigger and committed on that very snapshot: whatever
changed meanwhile makes the write a conflict, and the tick is decided again.
"""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from drifttrigger.api.errors import ConflictError
from drifttrigger.api.reasons import Outcome, Reason
from drifttrigger.api.v1alpha1 import DriftTriggerStatus, Verdict
from drifttrigger.clients.clock import Clock
from drifttrigger.core import conditions
from drifttrigger.core.decide import Action, Decision, decide, judge
from drifttrigger.core.episode import is_drifted, verdict_of
from drifttrigger.core.observation import Answer, Observation, observe
from drifttrigger.core.rules import Rules
from drifttrigger.core.schedule import ticks_between
from drifttrigger.core.status import meaning
from drifttrigger.core.times import parse_instant
from drifttrigger.runtime.announce import Announcer
from drifttrigger.runtime.budget import Priority, WriteBudget
from drifttrigger.runtime.deferred import DeferredWrites
from drifttrigger.runtime.freshness import Freshness
from drifttrigger.runtime.intents import Intents
from drifttrigger.runtime.metrics import Metrics
from drifttrigger.runtime.records import Calm, Record, last_evaluation, next_retry
from drifttrigger.runtime.views import TriggerView
from drifttrigger.sources.base import Question, Source

_LOG = logging.getLogger(__name__)
_HEARTBEAT = timedelta(seconds=60)
_NEWS = timedelta(seconds=3)


class Decided(msgspec.Struct, frozen=True, gc=False):
    """A decision and the snapshot that it rests on."""

    view: TriggerView
    status: DriftTriggerStatus
    decision: Decision


class Evaluation:
    """Asks and decides; see the module.

    Args:
        intents: The writes of detection.
        source: The metrics servers.
        clock: The clock.
        budget: API writes.
        deferred: Status writes that may wait.
        announcer: Events, logs and the audit trail.
        metrics: Counters.

    Attributes:
        owns: Whether the trigger with a UID is this replica's.
    """

    def __init__(
        self,
        intents: Intents,
        source: Source,
        clock: Clock,
        *,
        budget: WriteBudget,
        deferred: DeferredWrites,
        announcer: Announcer,
        metrics: Metrics,
    ) -> None:
        self._intents = intents
        self._source = source
        self._clock = clock
        self._budget = budget
        self._deferred = deferred
        self._announcer = announcer
        self._metrics = metrics
        self.owns: Callable[[str], bool] = lambda _: True

    async def run(self, record: Record, rules: Rules) -> None:
        """Ask if a tick, a probe or a retry is due, and settle what the answer means."""
        now = self._clock.now()
        tick = record.due_tick(rules, now)
        if tick is None and not record.wants_probe():
            record.retry = None
            return
        retry = record.retry
        waits = retry is not None and self._clock.monotonic() < retry.at
        if retry is not None and waits and (retry.is_patient or retry.tick == tick):
            return
        observation = await self._ask(record, rules, tick, now)
        fresh = Freshness(self._clock)
        record.observation = observation
        if not self.owns(record.view.uid):
            return  # the answer was long in coming: the trigger may be another replica's by now
        if record.view.rules != rules:
            return  # edited while the server was asked: the edit's own probe comes next
        if observation.is_batched and self._would_fire(record, rules, observation):
            observation = await self._confirm(record, rules, observation)
            fresh = Freshness(self._clock)
            record.observation = observation
            if record.view.rules != rules:
                return
        await self._settle(record, rules, observation, fresh, now)

    def _would_fire(self, record: Record, rules: Rules, observation: Observation) -> bool:
        if judge(rules, observation) is not Verdict.BREACH:
            return False
        view = record.view
        _, decision = decide(rules, record.base(view), observation, uid=view.uid)
        return decision.action is Action.RETRAIN

    async def _confirm(self, record: Record, rules: Rules, observation: Observation) -> Observation:
        """Ask the query alone before it fires: that answer is the evidence."""
        question = replace(question_of(record, rules, observation.tick), alone=True)
        alone = observe(rules, await self._source.ask(question), observation.tick)
        if not alone.outcome.is_error and (alone.outcome, alone.value, alone.series) != (
            observation.outcome,
            observation.value,
            observation.series,
        ):
            _LOG.warning(
                "alone the query says %s %s, in a batch %s %s; it is asked alone from now on",
                alone.outcome,
                alone.value,
                observation.outcome,
                observation.value,
                extra={"namespace": record.view.namespace, "object": record.view.name},
            )
            await self._source.distrust(question)
        return alone

    async def _ask(
        self, record: Record, rules: Rules, tick: datetime | None, now: datetime
    ) -> Observation:
        # Probes of one second share a request, as ticks do.
        at = tick if tick is not None else now.replace(microsecond=0)
        if tick is not None and tick != record.asked_tick:
            self._metrics.lateness((now - tick).total_seconds())
            if record.asked_tick is not None:
                self._metrics.missed(ticks_between(rules.schedule, record.asked_tick, tick))
            record.asked_tick = tick
        in_hand, record.in_hand = record.in_hand, None
        started = self._clock.monotonic()
        if in_hand is not None and in_hand.tick == tick:
            answer = in_hand.answer
        else:
            answer = await self._source.ask(question_of(record, rules, at))
        observation = observe(rules, answer, at, is_probe=tick is None)
        self._metrics.evaluated(observation, seconds=self._clock.monotonic() - started)
        return observation

    async def _settle(
        self,
        record: Record,
        rules: Rules,
        observation: Observation,
        fresh: Freshness,
        asked_at: datetime,
    ) -> None:
        """Decide, write what is worth it, tell."""
        now = self._clock.now()
        good = conditions.is_good(rules, observation)
        health = record.health.after(good=good, generation=rules.generation, now=now)
        decided = await self._decide(record, rules, observation)
        decision = _shown(decided.decision, record)
        if self._is_as_before(record, observation, decided):
            record.has_heartbeat = self._may_beat(record.view, rules)
            if not record.has_heartbeat:
                record.retry = None
                self._leave_as_before(record, observation, decided)
                return
        changed = conditions.evaluated(
            rules, decided.status, observation, decision, health, now=now
        )
        evaluation = last_evaluation(observation, decision.message, asked_at)
        status = replace(decided.status, last_evaluation=evaluation, conditions=changed)
        await self._note_score_after(decided.view, rules, status)
        await self._write(record, rules, Decided(decided.view, status, decision), fresh)
        self._remember(record, rules, observation, health, Decided(record.view, status, decision))
        self._metrics.decided(decision)
        self._announcer.evaluated(record, observation, decision)
        is_told = meaning(status) == meaning(record.view.status)
        record.calm = _calm_of(record, decided, observation) if is_told and good else None

    def stays_calm(
        self,
        record: Record,
        rules: Rules,
        answer: Answer,
        tick: datetime,
        *,
        late: timedelta,
        seconds: float,
    ) -> bool:
        """Settle an answer that changes nothing; one that may is left as it is.

        Args:
            record: A calm trigger.
            rules: Its rules when it was asked.
            answer: The answer about the tick.
            tick: The tick.
            late: How late it was asked.
            seconds: How long the answer took.

        Returns:
            Whether all is done.
        """
        view = record.view
        if view.rules is not rules or not record.is_owned or not self.owns(view.uid):
            return False
        observation = observe(rules, answer, tick)
        decided = Decided(view, *decide(rules, record.base(view), observation, uid=view.uid))
        if decided.decision.action is Action.RETRAIN or not self._is_as_before(
            record, observation, decided
        ):
            return False
        record.has_heartbeat = self._may_beat(view, rules)
        if record.has_heartbeat:
            return False
        self._metrics.lateness(late.total_seconds())
        self._metrics.evaluated(observation, seconds=seconds)
        record.asked_tick = tick
        record.observation = observation
        self._leave_as_before(record, observation, decided)
        return True

    def _leave_as_before(self, record: Record, observation: Observation, decided: Decided) -> None:
        record.last_tick = max(record.last_tick, decided.status.last_tick)
        record.worst_score = _worst(decided.status)
        decision = _shown(decided.decision, record)
        self._metrics.decided(decision)
        self._announcer.unchanged(record, observation, decision)

    def _is_as_before(self, record: Record, observation: Observation, decided: Decided) -> bool:
        """Whether the status says all of this already, but for the number and its time.

        True only after an evaluation that found so in full, on the very same snapshot: the same
        outcome, verdict and reason leave the same conditions.
        """
        return (
            record.calm is not None
            and record.calm == _calm_of(record, decided, observation)
            and _state(decided.status) == _state(decided.view.status)
        )

    def _may_beat(self, view: TriggerView, rules: Rules) -> bool:
        """Take a heartbeat if it is due and there is room."""
        budget = self._budget
        return (
            budget.has_heartbeat() and self._heartbeat_due(view, rules) and budget.take_heartbeat()
        )

    async def _decide(self, record: Record, rules: Rules, observation: Observation) -> Decided:
        view = record.view
        status, decision = decide(rules, record.base(view), observation, uid=view.uid)
        if decision.action is not Action.RETRAIN or view.status.retrainings:
            return Decided(view, status, decision)
        await record.confirm_no_history(self._intents, self._clock)
        view = record.view
        if view.rules != rules:
            raise ConflictError("the trigger was edited while it was decided")
        return Decided(view, *decide(rules, record.base(view), observation, uid=view.uid))

    async def _note_score_after(
        self, view: TriggerView, rules: Rules, status: DriftTriggerStatus
    ) -> None:
        """Write on the last Retraining what it achieved, before its trigger forgets to."""
        last, before = status.last_retraining, view.status.last_retraining
        if last is None or last.score_after is None or before is None or last == before:
            return
        await self._budget.take(Priority.INTENT)
        breach = verdict_of(rules, last.score_after) is Verdict.BREACH
        await self._intents.record_score_after(
            view, last.name, last.score_after, still_breaching=breach
        )

    async def _write(
        self, record: Record, rules: Rules, decided: Decided, fresh: Freshness
    ) -> None:
        view, status = decided.view, decided.status
        has_heartbeat, record.has_heartbeat = record.has_heartbeat, False
        if meaning(status) == meaning(view.status):
            self._deferred.forget(view.key)  # what waits there is no longer so
        if meaning(status) != meaning(view.status):
            if _is_urgent(view.status, status):
                await self._budget.take(Priority.INTENT)
            elif not self._budget.take_now():
                self._deferred.put(record, view, status, Priority.OUTCOME)
                return
        elif self._news_due(view, status):
            if not self._budget.take_now():
                return
        elif not has_heartbeat and not self._may_beat(view, rules):
            return
        self._deferred.forget(view.key)
        record.see(await self._intents.commit(view, status, fresh=fresh), self._clock.now())

    def _news_due(self, view: TriggerView, status: DriftTriggerStatus) -> bool:
        """Whether the answer has another name than the one that status shows, for a while now."""
        old, new = view.status.last_evaluation, status.last_evaluation
        if old is None or new is None or old.outcome is new.outcome:
            return False
        return self._clock.now() - parse_instant(old.time) >= _NEWS

    def _heartbeat_due(self, view: TriggerView, rules: Rules) -> bool:
        last = view.status.last_evaluation
        if last is None:
            return True
        least = max(_HEARTBEAT, rules.schedule.shortest_wait())
        return self._clock.now() - parse_instant(last.time) >= least

    def _remember(
        self,
        record: Record,
        rules: Rules,
        observation: Observation,
        health: conditions.Health,
        decided: Decided,
    ) -> None:
        status = decided.status
        record.health = health
        record.reason = decided.decision.reason
        record.last_tick = max(record.last_tick, status.last_tick)
        record.worst_score = _worst(status)
        failed = observation.outcome.is_error
        record.retry = next_retry(record, observation, self._clock) if failed else None
        if observation.is_probe and not failed:
            record.probed = rules.generation
            record.must_probe = False


def question_of(record: Record, rules: Rules, at: datetime) -> Question:
    """Put the question of a trigger about an instant."""
    return Question(
        source=rules.source,
        namespace=record.view.namespace,
        query=rules.query,
        at=at - rules.query_offset,
    )


def _shown(decision: Decision, record: Record) -> Decision:
    """Say Deferred instead of Active where the Retraining waits for a limit (display only)."""
    if decision.reason is Reason.RETRAINING_ACTIVE and record.is_deferred:
        return replace(decision, reason=Reason.DEFERRED)
    return decision


def _calm_of(record: Record, decided: Decided, observation: Observation) -> Calm | None:
    """Say what an evaluation was like; None for one that is never passed over."""
    if observation.outcome is not Outcome.SCORE or observation.message or observation.is_probe:
        return None
    view, decision = record.view, decided.decision
    shown = view.status.last_evaluation
    if shown is None or shown.outcome is not Outcome.SCORE:
        return None  # that there is a score again is news, which may have to wait a moment
    return Calm(
        resource_version=view.resource_version,
        generation=view.generation,
        reason=decision.reason,
        verdict=decision.verdict,
        is_deferred=record.is_deferred,
    )


def _worst(status: DriftTriggerStatus) -> float | None:
    return status.episode.worst_score if status.episode is not None else None


def _state(status: DriftTriggerStatus) -> tuple[object, ...]:
    """Return what `meaning` compares, but for conditions."""
    episode = status.episode
    return (
        status.observed_generation,
        status.window,
        status.episodes,
        status.retrainings,
        status.pending,
        status.last_retraining,
        status.active,
        status.last_manual,
        status.spec_hash,
        None if episode is None else (episode.number, episode.since, episode.attempts),
    )


def _is_urgent(old: DriftTriggerStatus, new: DriftTriggerStatus) -> bool:
    """Whether a decision rests on what changed; all else is for people, and may wait its turn."""
    return _decisive(old) != _decisive(new)


def _decisive(status: DriftTriggerStatus) -> tuple[object, ...]:
    episode = status.episode
    return (
        status.pending,
        status.window,
        status.episodes,
        status.retrainings,
        status.last_retraining,
        is_drifted(status),
        episode.attempts if episode is not None else 0,
    )
