"""Status writes that may wait: what people read, and no decision rests on.

Under a mass event thousands of triggers change their conditions at once. Their passes must not
queue for the write budget, since a pass that waits holds a slot that another trigger's tick needs.
So a pass leaves its status here and goes on; one task writes them, the most urgent first. A newer
status of the same trigger takes the place of an older one. What was written meanwhile by others
stays: only conditions and the newest answer are carried over to the newest snapshot.
"""

import asyncio
import heapq
import logging
from itertools import count

import msgspec

from drifttrigger.api.errors import ConflictError, DriftTriggerError, NotFoundError, TransientError
from drifttrigger.api.reasons import ConditionType
from drifttrigger.api.v1alpha1 import DriftTriggerStatus
from drifttrigger.clients.clock import Clock
from drifttrigger.runtime.announce import Announcer
from drifttrigger.runtime.budget import Priority, WriteBudget
from drifttrigger.runtime.freshness import Freshness
from drifttrigger.runtime.intents import Intents
from drifttrigger.runtime.records import Record
from drifttrigger.runtime.views import Key, TriggerView

_LOG = logging.getLogger(__name__)
_CONFLICT_SECONDS = 0.2
_REFUSED_SECONDS = 1.0


class _Waiting(msgspec.Struct, frozen=True):
    record: Record
    view: TriggerView
    status: DriftTriggerStatus
    order: tuple[Priority, int]


class DeferredWrites:
    """Writes statuses that may wait.

    Args:
        intents: The writes of detection.
        clock: The clock.
        budget: API writes.
        announcer: Told after each write.
    """

    def __init__(
        self, intents: Intents, clock: Clock, *, budget: WriteBudget, announcer: Announcer
    ) -> None:
        self._intents = intents
        self._clock = clock
        self._budget = budget
        self._announcer = announcer
        self._waiting: dict[Key, _Waiting] = {}
        self._heap: list[tuple[tuple[Priority, int], Key]] = []
        self._numbers = count()
        self._any = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(
        self, record: Record, view: TriggerView, status: DriftTriggerStatus, priority: Priority
    ) -> None:
        """Leave a status to be written; an older one of the same trigger gives up its place."""
        before = self._waiting.get(view.key)
        if before is not None and before.order[0] <= priority:
            order = before.order
        else:
            order = (priority, next(self._numbers))
            heapq.heappush(self._heap, (order, view.key))
        self._waiting[view.key] = _Waiting(record, view, status, order)
        self._any.set()

    def forget(self, key: Key) -> None:
        """Drop what waits for a trigger: something newer was written."""
        self._waiting.pop(key, None)

    async def flush(self) -> bool:
        """Write the most urgent one; tell whether there was one."""
        while self._heap:
            order, key = heapq.heappop(self._heap)
            waiting = self._waiting.get(key)
            if waiting is None or waiting.order != order:
                continue
            del self._waiting[key]
            view = waiting.record.view
            if not waiting.record.is_owned:
                continue  # deleted, or another replica's
            if (view.uid, view.generation) != (waiting.view.uid, waiting.view.generation):
                continue  # edited meanwhile: the edit is asked for at once and says how it stands
            await self._write(waiting, view)
            return True
        self._any.clear()
        return False

    async def run(self) -> None:
        """Write what waits until cancelled."""
        while True:
            await self._any.wait()
            await self._budget.take(self._heap[0][0][0] if self._heap else Priority.OUTCOME)
            try:
                await self.flush()
            except Exception:
                # The edge of one trigger's status: what is wrong with it must not stop the others.
                _LOG.exception("a status was not written")

    async def _write(self, waiting: _Waiting, view: TriggerView) -> None:
        record, status = waiting.record, _carried_over(waiting.status, view.status)
        try:
            written = await self._intents.commit(view, status, fresh=Freshness(self._clock))
        except NotFoundError:
            return
        except ConflictError:
            # The watch brings what is there now; a newer status that waits by then goes first.
            if view.key not in self._waiting:
                self.put(record, waiting.view, waiting.status, Priority.OUTCOME)
            if record.view is view:
                await asyncio.sleep(_CONFLICT_SECONDS)  # nothing newer is known yet
            return
        except TransientError as error:
            _LOG.debug("a status is written later: %s", error, extra={"object": view.name})
            if view.key not in self._waiting:
                self.put(record, waiting.view, waiting.status, Priority.OUTCOME)
            await asyncio.sleep(_REFUSED_SECONDS)
            return
        except DriftTriggerError as error:
            _LOG.warning("a status can't be written: %s", error, extra={"object": view.name})
            return
        record.see(written, self._clock.now())
        self._announcer.conditions(record)


def _carried_over(said: DriftTriggerStatus, now: DriftTriggerStatus) -> DriftTriggerStatus:
    """Put what people read of one status onto what is written now."""
    ours = {ConditionType.READY, ConditionType.DRIFTED, ConditionType.STALLED}
    others = tuple(c for c in now.conditions if c.type not in ours)
    return msgspec.structs.replace(
        now,
        observed_generation=said.observed_generation,
        spec_hash=said.spec_hash,
        last_evaluation=said.last_evaluation,
        last_tick=max(now.last_tick, said.last_tick),
        conditions=tuple(c for c in said.conditions if c.type in ours) + others,
    )
