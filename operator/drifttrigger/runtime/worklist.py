"""One timer structure for all objects of a controller: when to look at which, one pass at a time.

A heap of due times and one task that sleeps until the next; no timer or task per object. A key that
is woken while its pass runs is passed again afterwards. Due times are of the monotonic clock.

Keys may have lanes, such as the server that they wait for. A lane that is full keeps its own keys
waiting and nobody else's, and a crowd that is due at once does not become a crowd of tasks.

Keys of one lane that are due at once may be passed over together, by one task for all.
"""

import asyncio
import heapq
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Protocol

from drifttrigger.clients.clock import Clock
from drifttrigger.runtime.views import Key

_LOG = logging.getLogger(__name__)
_LONGEST_SLEEP_SECONDS = 60.0
_GROUP = 200
"""Keys that are passed over together, at most: as many as share a request."""
_GATHER_SECONDS = 0.002
"""What is due in one slot is due within that time, and is then found due all at once."""
_DRAIN_SECONDS = 10.0
"""Longer than any write may take; a question to a slow server may take minutes."""

Handler = Callable[[Key], Awaitable[float | None]]
"""Makes one pass over an object; returns the monotonic time of the next, None for no next."""


class Together(Protocol):
    """Passes over many keys in one task; only those for which that is as good."""

    def suits(self, key: Key) -> bool:
        """Whether a key that is due now may be passed over with others."""

    async def look(self, keys: Sequence[Key]) -> list[float | None]:
        """Make one pass over each; returns the monotonic times of the next in order."""


class Worklist:
    """Passes over keys when they are due.

    Args:
        handler: One pass; an exception that escapes it is a defect and ends `run`.
        clock: The clock.
        concurrency: Passes under way at once.
        lane_of: Lane of a key; all share one without it.
        lane_width: Passes under way at once in one lane.
        together: Passes over many keys; None where each has its own pass.
    """

    def __init__(
        self,
        handler: Handler,
        clock: Clock,
        *,
        concurrency: int,
        lane_of: Callable[[Key], Hashable] = lambda _: None,
        lane_width: int | None = None,
        together: Together | None = None,
    ) -> None:
        self._handler = handler
        self._together = together
        self._lane_of = lane_of
        self._width = lane_width if lane_width is not None else concurrency
        self._lanes: Counter[Hashable] = Counter()
        self._parked: dict[Hashable, list[tuple[float, Key]]] = {}
        self._waits: dict[Key, Hashable] = {}
        self._clock = clock
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, Key]] = []
        self._running: dict[Key, asyncio.Task[None]] = {}
        self._slots = concurrency
        self._places = 0
        self._changed = asyncio.Event()
        self._failure: BaseException | None = None

    def __len__(self) -> int:
        return len(self._due) + len(self._running)

    def wake(self, key: Key, *, at: float | None = None) -> None:
        """Make a key due, now or at a monotonic time; the earlier of two wishes counts."""
        due = self._clock.monotonic() if at is None else at
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            self._waits.pop(key, None)
        elif key not in self._waits:
            return
        # One that waits for a place is looked at again, too: it may have another lane by now.
        heapq.heappush(self._heap, (self._due[key], key))
        self._changed.set()

    def drop(self, key: Key) -> None:
        """Forget a key; a pass that runs is let finish."""
        self._due.pop(key, None)
        self._waits.pop(key, None)

    def lateness_seconds(self) -> float:
        """Return how long the most overdue key has waited."""
        now = self._clock.monotonic()
        return max(0.0, now - min(self._due.values(), default=now))

    async def run(self) -> None:
        """Pass over what is due until cancelled, then let the passes under way finish."""
        try:
            while True:
                self._changed.clear()
                sleep = self._start_due()
                if self._failure is not None:
                    raise self._failure
                try:
                    async with asyncio.timeout(sleep):
                        await self._changed.wait()
                except TimeoutError:
                    continue
        finally:
            await self.drain()

    async def drain(self) -> None:
        """Wait for the passes under way; those that still wait for something are cut off."""
        if self._running:
            await asyncio.wait(list(self._running.values()), timeout=_DRAIN_SECONDS)
        for task in list(self._running.values()):
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    def _start_due(self) -> float:
        """Start what is due and fits; return the seconds to sleep."""
        self._unpark()
        blocked: list[tuple[float, Key]] = []
        groups: dict[Hashable, list[Key]] = {}
        sleep = _LONGEST_SLEEP_SECONDS
        while self._heap and self._places < self._slots:
            due, key = self._heap[0]
            if self._due.get(key) != due:
                heapq.heappop(self._heap)
                continue
            wait = due - self._clock.monotonic()
            if wait > 0:
                sleep = min(sleep, wait + _GATHER_SECONDS)
                break
            heapq.heappop(self._heap)
            if key in self._running:
                blocked.append((due, key))
                continue
            lane = self._lane_of(key)
            if self._lanes[lane] >= self._width:
                self._park(due, key, lane)
                continue
            self._take(key, lane)
            if self._together is not None and self._together.suits(key):
                group = groups.setdefault(lane, [])
                group.append(key)
                if len(group) == _GROUP:
                    self._start(groups.pop(lane), lane)
            else:
                self._start([key], lane)
        for item in blocked:
            heapq.heappush(self._heap, item)
        for lane, keys in groups.items():
            self._start(keys, lane)
        return sleep

    def _take(self, key: Key, lane: Hashable) -> None:
        """Give a key its place."""
        del self._due[key]
        self._waits.pop(key, None)
        self._lanes[lane] += 1
        self._places += 1

    def _start(self, keys: list[Key], lane: Hashable) -> None:
        task = asyncio.create_task(self._pass(keys, lane))
        self._running.update(dict.fromkeys(keys, task))

    def _park(self, due: float, key: Key, lane: Hashable) -> None:
        """Let a key wait for a place in its lane."""
        if self._waits.get(key) != lane:
            self._waits[key] = lane
            heapq.heappush(self._parked.setdefault(lane, []), (due, key))

    def _unpark(self) -> None:
        """Make those due again, in order, whose lanes have places for them."""
        for lane in list(self._parked):
            queue = self._parked[lane]
            places = min(self._width - self._lanes[lane], self._slots - self._places)
            while queue and places > 0:
                due, key = heapq.heappop(queue)
                if self._waits.get(key) != lane or self._due[key] != due:
                    continue  # dropped, started or woken to another lane meanwhile
                del self._waits[key]
                heapq.heappush(self._heap, (due, key))
                if self._lane_of(key) == lane:  # who has left takes no place here
                    places -= 1
            if not queue:
                del self._parked[lane]

    def _leave(self, keys: Sequence[Key], lane: Hashable) -> None:
        """Give places back."""
        for key in keys:
            del self._running[key]
        self._places -= len(keys)
        self._lanes[lane] -= len(keys)
        if not self._lanes[lane]:
            del self._lanes[lane]
        self._changed.set()

    async def _pass(self, keys: list[Key], lane: Hashable) -> None:
        try:
            if self._together is not None and len(keys) > 1:
                dues = await self._together.look(keys)
            else:
                dues = [await self._handler(key) for key in keys]
            for key, again in zip(keys, dues, strict=True):
                if again is not None:
                    self.wake(key, at=again)
        except Exception as error:
            _LOG.exception("a pass failed in a way that its handler does not know")
            self._failure = error
        finally:
            self._leave(keys, lane)
