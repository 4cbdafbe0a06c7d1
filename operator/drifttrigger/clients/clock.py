"""The one place that the present and randomness come from."""

import random
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where `now` comes from."""

    def now(self) -> datetime:
        """Return the present, aware, UTC; may jump when the clock is set."""

    def monotonic(self) -> float:
        """Return seconds that never go back; only differences mean something."""

    def jitter(self) -> float:
        """Return a random number in [0, 1)."""


class SystemClock:
    """The clock of this machine."""

    def now(self) -> datetime:
        """Return the present, aware, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    def jitter(self) -> float:
        """Return a random number in [0, 1)."""
        return random.random()  # noqa: S311 - spreads retries, protects nothing
