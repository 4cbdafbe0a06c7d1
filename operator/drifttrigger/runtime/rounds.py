"""Ticks of many calm triggers at once: one task, a few requests, and a loop over the answers.

Nearly every tick finds what the one before found. Triggers whose newest evaluation changed nothing
and that have no other business are asked together; those that are just as before stay calm, and are
done. All others get a pass of their own right away, as any trigger does, with the answer in hand.
Whatever is decided, written or told is decided, written and told there.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from drifttrigger.clients.clock import Clock
from drifttrigger.core.observation import Answer
from drifttrigger.core.rules import Rules
from drifttrigger.runtime.evaluation import Evaluation, question_of
from drifttrigger.runtime.records import InHand, Record
from drifttrigger.runtime.views import Key
from drifttrigger.sources.base import Question, Source

_LOG = logging.getLogger(__name__)


class _Asked(msgspec.Struct, frozen=True, gc=False):
    """A trigger whose tick is asked about."""

    place: int
    record: Record
    rules: Rules
    tick: datetime
    following: datetime | None
    question: Question


class Rounds:
    """Passes over many calm triggers; see the module.

    Args:
        records: All triggers.
        owns: Whether the trigger with a UID is this replica's.
        evaluation: Says whether an answer changes anything.
        source: The metrics servers.
        clock: The clock.
    """

    def __init__(
        self,
        records: Mapping[Key, Record],
        owns: Callable[[str], bool],
        evaluation: Evaluation,
        source: Source,
        clock: Clock,
    ) -> None:
        self._records = records
        self._owns = owns
        self._evaluation = evaluation
        self._source = source
        self._clock = clock

    def suits(self, key: Key) -> bool:
        """Whether there is nothing to do about a trigger but to ask about its next tick."""
        record = self._records.get(key)
        return record is not None and record.is_calm()

    async def look(self, keys: Sequence[Key]) -> list[float | None]:
        """Ask about the ticks of triggers; returns when each is due again, monotonic."""
        now = self._clock.now()
        # Whoever is not passed over here is due at once, and then no longer suits.
        dues: list[float | None] = [self._clock.monotonic()] * len(keys)
        asked: list[_Asked] = []
        for place, key in enumerate(keys):
            record = self._records.get(key)
            if record is None or not self._owns(record.view.uid):
                dues[place] = None
                continue
            rules, ticks = record.view.rules, self._ticks_of(record, now)
            if rules is None or ticks is None:
                record.calm = None
                continue
            question = question_of(record, rules, ticks[0])
            asked.append(_Asked(place, record, rules, *ticks, question))
        started = self._clock.monotonic()
        answers = await self._answers([one.question for one in asked])
        present, monotonic = self._clock.now(), self._clock.monotonic()
        for one, answer in zip(asked, answers, strict=True):
            if self._stays_calm(one, answer, late=now - one.tick, seconds=monotonic - started):
                dues[one.place] = _next_due(one, present, monotonic)
            else:
                one.record.calm = None
                one.record.in_hand = InHand(one.tick, answer) if answer is not None else None
        return dues

    async def _answers(self, questions: list[Question]) -> list[Answer | None]:
        try:
            return await self._source.ask_together(questions)
        except Exception:
            # The edge of many triggers' work: each is asked alone, and meets its own trouble there.
            _LOG.exception("asking together failed unexpectedly")
            return [None] * len(questions)

    def _stays_calm(
        self, one: _Asked, answer: Answer | None, *, late: timedelta, seconds: float
    ) -> bool:
        if answer is None:
            return False
        try:
            return self._evaluation.stays_calm(
                one.record, one.rules, answer, one.tick, late=late, seconds=seconds
            )
        except Exception:
            # The edge of one trigger's work: its own pass meets the defect again and backs off.
            view = one.record.view
            keys = {"namespace": view.namespace, "object": view.name}
            _LOG.exception("an answer could not be settled", extra=keys)
            return False

    def _ticks_of(self, record: Record, now: datetime) -> tuple[datetime, datetime | None] | None:
        """Return the tick to ask about and the one after it, None where it takes a closer look."""
        rules = record.view.rules
        if rules is None or not record.is_calm() or record.asked_tick is None:
            return None
        schedule = rules.schedule
        tick = schedule.following(record.asked_tick)
        if tick is None or tick > now or now - tick > rules.deadline:
            return None
        following = schedule.following(tick)
        # Where one was skipped, a pass of its own counts it as missed.
        return (tick, following) if following is None or following > now else None


def _next_due(one: _Asked, now: datetime, monotonic: float) -> float | None:
    """Return when the next tick is due; it may have come while the answer was long."""
    if one.following is None:
        return None
    return monotonic + max(0.0, (one.following - now).total_seconds())
