"""Which request meets which fault: a plan drawn from a seed, and counted.

Each kind of request (`patch drifttriggers/status`, `watch jobs`, `query`) has a random stream of
its own, so that its i-th request meets the same fault in every run of a seed, however the kinds
are interleaved. Faults are dealt from a shuffled deck, so that a kind meets every fault that it
can meet before it meets one again.
"""

import random
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Fault(StrEnum):
    """What can happen to a request."""

    DELAY = "delay"
    RESET_BEFORE = "reset before sending"
    RESET_AFTER = "reset after commit"
    HANG_BEFORE = "hang before commit"
    HANG_AFTER = "hang after commit"
    LATE = "commit after the client gave up"
    CONFLICT = "409"
    GONE = "410"
    GONE_IN_STREAM = "410 in the stream"
    TOO_MANY = "429"
    INTERNAL = "500"
    INTERNAL_AFTER = "500 after commit"
    UNAVAILABLE = "503"
    PAGE = "a web page"
    TRUNCATED = "truncated JSON"
    NOT_A_NUMBER = "NaN"


_ANY = (
    Fault.DELAY,
    Fault.RESET_BEFORE,
    Fault.HANG_BEFORE,
    Fault.TOO_MANY,
    Fault.INTERNAL,
    Fault.UNAVAILABLE,
)
_LOST_REPLIES = (Fault.RESET_AFTER, Fault.HANG_AFTER, Fault.LATE, Fault.INTERNAL_AFTER)
_CAN_MEET: Mapping[str, tuple[Fault, ...]] = {
    "get": _ANY,
    "list": (*_ANY, Fault.GONE),
    "watch": (*_ANY, Fault.RESET_AFTER, Fault.GONE, Fault.GONE_IN_STREAM),
    "create": (*_ANY, *_LOST_REPLIES, Fault.CONFLICT),
    "patch": (*_ANY, *_LOST_REPLIES, Fault.CONFLICT),
    "update": (*_ANY, *_LOST_REPLIES, Fault.CONFLICT),
    "delete": (*_ANY, *_LOST_REPLIES, Fault.CONFLICT),
    "query": (*_ANY, Fault.PAGE, Fault.TRUNCATED, Fault.NOT_A_NUMBER),
}
RATES: Mapping[str, float] = {
    "get": 0.03,
    "list": 0.1,
    "watch": 0.4,
    "create": 0.25,
    "patch": 0.15,
    "update": 0.15,
    "delete": 0.3,
    "query": 0.04,
    "create selfsubjectaccessreviews": 0.01,  # one that fails ends the process at its start
}


def seeded(seed: str) -> random.Random:
    """Make a random stream that its seed repeats."""
    return random.Random(seed)  # noqa: S311 - it protects nothing


@dataclass(frozen=True, slots=True)
class Injection:
    """One fault for one request.

    Args:
        fault: What happens.
        seconds: How long, for those that last.
    """

    fault: Fault
    seconds: float = 0.0


@dataclass
class FaultPlan:
    """Deals faults to requests.

    Args:
        seed: Repeats the plan.
        rates: Probability of a fault, by kind of request or by its verb.
        hang_seconds: How long a request hangs; longer than its client waits.
        longest_delay_seconds: Of a delay.
    """

    seed: str
    rates: Mapping[str, float] = field(default_factory=lambda: RATES)
    hang_seconds: float = 9.0
    longest_delay_seconds: float = 2.0
    is_on: bool = True
    requests: Counter[str] = field(default_factory=Counter)
    injected: Counter[tuple[str, Fault]] = field(default_factory=Counter)
    _random: dict[str, random.Random] = field(default_factory=dict)
    _decks: dict[str, list[Fault]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def draw(self, kind: str) -> Injection | None:
        """Say what happens to the next request of a kind; None lets it through."""
        with self._lock:
            self.requests[kind] += 1
            stream = self._random.setdefault(kind, seeded(f"{self.seed}/{kind}"))
            verb = kind.split()[0]
            hit = stream.random() < self.rates.get(kind, self.rates.get(verb, 0.0))
            if not hit or not self.is_on:
                return None
            fault = self._deal(kind, verb, stream)
            seconds = self.hang_seconds
            if fault is Fault.DELAY:
                seconds = stream.uniform(0.05, self.longest_delay_seconds)
            elif verb == "watch" and fault in (Fault.RESET_AFTER, Fault.GONE_IN_STREAM):
                seconds = stream.uniform(0.0, self.longest_delay_seconds)
            return Injection(fault, seconds)

    def count(self, kind: str, fault: Fault) -> None:
        """Count a fault that was really injected."""
        with self._lock:
            self.injected[kind, fault] += 1

    def by_fault(self) -> Counter[Fault]:
        """Count injected faults by what they were."""
        return self._counted(1)

    def by_kind(self) -> Counter[str]:
        """Count injected faults by kind of request."""
        return self._counted(0)

    def total(self) -> int:
        """Count all injected faults."""
        with self._lock:
            return self.injected.total()

    def _counted(self, part: int) -> Counter:
        with self._lock:
            counted: Counter = Counter()
            for key, number in self.injected.items():
                counted[key[part]] += number
            return counted

    def _deal(self, kind: str, verb: str, stream: random.Random) -> Fault:
        deck = self._decks.setdefault(kind, [])
        if not deck:
            deck += _CAN_MEET[verb]
            stream.shuffle(deck)
        return deck.pop()
