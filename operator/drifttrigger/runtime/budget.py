"""Limits on what one process does to a cluster: API writes a second, Jobs started a minute."""

import asyncio
import heapq
from collections import Counter, deque
from enum import IntEnum
from itertools import count

from drifttrigger.clients.clock import Clock
from drifttrigger.runtime.views import Key

_MINUTE = 60.0
_LONGEST_WAIT = 300.0
_LONGEST_DEBT_SECONDS = 10.0
_FORGOTTEN = 10.0


class Priority(IntEnum):
    """What a write is for, most urgent first."""

    INTENT = 0
    SPEC_ERROR = 1
    OUTCOME = 2
    HEARTBEAT = 3


class WriteBudget:
    """A token bucket that all writes share; intents never wait, the rest queue by priority.

    Args:
        clock: The clock.
        per_second: Writes a second; as many may come at once.
        heartbeats_per_second: Of these, how many may be heartbeats.
    """

    def __init__(
        self, clock: Clock, *, per_second: float, heartbeats_per_second: float = 2.5
    ) -> None:
        self._clock = clock
        self._rate = per_second
        self._tokens = per_second
        self._filled_at = clock.monotonic()
        self._heartbeat_rate = heartbeats_per_second
        self._heartbeat_at = clock.monotonic()
        self._waiting: list[tuple[Priority, int]] = []
        self._order = count()

    async def take(self, priority: Priority) -> None:
        """Take one write; waits for its turn unless it is an intent."""
        if priority is Priority.INTENT:
            # A crowd of intents may not keep the rest waiting for minutes: the debt is bounded.
            self._tokens = max(self._fill() - 1, -_LONGEST_DEBT_SECONDS * self._rate)
            return
        ticket = (priority, next(self._order))
        heapq.heappush(self._waiting, ticket)
        try:
            while not (self._waiting[0] == ticket and self._fill() >= 1):
                missing = max(0.0, 1 - self._tokens) / self._rate
                await asyncio.sleep(max(0.005, missing))
            self._tokens -= 1
        finally:
            self._waiting.remove(ticket)
            heapq.heapify(self._waiting)

    def take_now(self) -> bool:
        """Take one write if nobody waits and there is room; never waits."""
        if self._waiting or self._fill() < 1:
            return False
        self._tokens -= 1
        return True

    def take_early(self) -> bool:
        """Take one write ahead of those who wait; never waits.

        Not while a quarter of a second's worth is owed already. For what others wait to hear: a
        trigger shows Deferred once its Retraining says so.
        """
        if self._fill() <= -self._rate / 4:
            return False
        self._tokens -= 1
        return True

    def has_heartbeat(self) -> bool:
        """Whether it is time for a heartbeat at all: a quick no for nearly everybody."""
        return self._clock.monotonic() >= self._heartbeat_at

    def take_heartbeat(self) -> bool:
        """Take one heartbeat if there is room now; heartbeats never wait."""
        now = self._clock.monotonic()
        if now < self._heartbeat_at or not self.take_now():
            return False
        self._heartbeat_at = max(now - 1.0, self._heartbeat_at) + 1.0 / self._heartbeat_rate
        return True

    def _fill(self) -> float:
        now = self._clock.monotonic()
        self._tokens = min(self._rate, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        return self._tokens


class StartRate:
    """Jobs started in the last minute, shared out evenly over namespaces while they are scarce.

    Args:
        clock: The clock.
        per_minute: Jobs that this process may start in any 60 seconds.
    """

    def __init__(self, clock: Clock, *, per_minute: int) -> None:
        self._clock = clock
        self._limit = per_minute
        self._starts: deque[tuple[float, Key]] = deque()
        self._waiting: dict[Key, float] = {}

    def wait_seconds(self, key: Key) -> float:
        """Return 0 to start now (and count it), else when to ask again.

        Args:
            key: The Retraining that asks; it keeps its place while it asks again in time, and its
                leave for a minute.
        """
        now = self._clock.monotonic()
        while self._starts and now - self._starts[0][0] >= _MINUTE:
            self._starts.popleft()
        if any(started == key for _, started in self._starts):
            return 0.0
        self._waiting = {k: due for k, due in self._waiting.items() if now < due + _FORGOTTEN}
        self._waiting[key] = now
        behind = self._place(key) - (self._limit - len(self._starts))
        if behind < 0:
            del self._waiting[key]
            self._starts.append((now, key))
            return 0.0
        rounds, slot = divmod(behind, self._limit)
        freed_at = self._starts[slot][0] + _MINUTE if slot < len(self._starts) else now + _MINUTE
        wait = min(_LONGEST_WAIT, max(0.1, freed_at - now) + rounds * _MINUTE)
        self._waiting[key] = now + wait
        return wait

    def started(self, key: Key) -> None:
        """Count a start from the moment that its Job is there, not from the leave."""
        others = [start for start in self._starts if start[1] != key]
        self._starts = deque([*others, (self._clock.monotonic(), key)])

    def _place(self, key: Key) -> int:
        """Count who goes before: the next of a namespace with fewer starts in this minute."""
        turns = Counter(namespace for _, (namespace, _) in self._starts)
        ranks: list[int] = []
        mine = 0
        for waiting in self._waiting:
            rank = turns[waiting[0]]
            turns[waiting[0]] += 1
            if waiting == key:
                mine = len(ranks)
            ranks.append(rank)
        return sum((rank, n) < (ranks[mine], mine) for n, rank in enumerate(ranks))
