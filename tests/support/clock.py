"""A clock that a test moves by hand."""

import asyncio
from datetime import UTC, datetime, timedelta

from support.builders import START

_real_sleep = asyncio.sleep


class FakeClock:
    """Stands still until it is told to move; its jitter is always the same."""

    def __init__(self, *, jitter: float = 0.5) -> None:
        self._elapsed = 0.0
        self._jitter = jitter

    def now(self) -> datetime:
        """Return the present."""
        return (START + timedelta(seconds=self._elapsed)).astimezone(UTC)

    def monotonic(self) -> float:
        """Return seconds since the clock was made, and a thousand."""
        return 1000.0 + self._elapsed

    def jitter(self) -> float:
        """Return the same number every time."""
        return self._jitter

    def move(self, seconds: float) -> None:
        """Let time pass."""
        self._elapsed += seconds

    async def sleep(self, seconds: float) -> None:
        """Let time pass instead of waiting, and let others run."""
        self.move(seconds)
        await _real_sleep(0)

    @staticmethod
    async def settle() -> None:
        """Let everything run that can, without time passing."""
        for _ in range(20):
            await _real_sleep(0)
