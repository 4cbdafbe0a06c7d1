"""Limits on what one process does to a cluster: API writes a second, Jobs started a minute."""

import asyncio
import heapq
from collections import deque
from enum import IntEnum
from itertools import count

from drifttrigger.clients.clock import Clock


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
        self, clock: Clock, *, per_second: float, heartbeats_per_second: float = 3.0
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
            self._fill()
            self._tokens -= 1
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
    """Jobs started in the last minute, shared out round-robin over namespaces.

    Args:
        clock: The clock.
        per_minute: Jobs that this process may start in any 60 seconds.
    """

    def __init__(self, clock: Clock, *, per_minute: int) -> None:
        self._clock = clock
        self._limit = per_minute
        self._starts: deque[tuple[float, str]] = deque()
        self._asked: dict[str, float] = {}

    def wait_seconds(self, namespace: str) -> float:
        """Return 0 to start now (and count it), else when to ask again.

        When slots are scarce a namespace that has had its share of the last minute waits for others
        that have asked within the last seconds.
        """
        now = self._clock.monotonic()
        while self._starts and now - self._starts[0][0] >= 60.0:
            self._starts.popleft()
        if len(self._starts) >= self._limit:
            self._asked[namespace] = now
            return min(60.0, 60.0 - (now - self._starts[0][0])) + 0.05 * len(self._asked)
        if self._is_greedy(namespace, now):
            self._asked[namespace] = now
            return 0.5
        self._starts.append((now, namespace))
        return 0.0

    def _is_greedy(self, namespace: str, now: float) -> bool:
        """Whether another waiting namespace has had fewer starts."""
        waiting = {n for n, asked in self._asked.items() if now - asked < 70.0}
        self._asked = {n: asked for n, asked in self._asked.items() if n in waiting}
        self._asked.pop(namespace, None)
        mine = sum(n == namespace for _, n in self._starts)
        return any(
            sum(n == other for _, n in self._starts) < mine for other in waiting - {namespace}
        )
