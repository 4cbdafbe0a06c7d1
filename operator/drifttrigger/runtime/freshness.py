"""A monotonic deadline since a read: whoever was paused for longer decides again."""

from drifttrigger.api.errors import ConflictError
from drifttrigger.clients.clock import Clock

DEADLINE_SECONDS = 10.0


class Freshness:
    """The age of what a write is based on.

    Args:
        clock: Where monotonic time comes from.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._read_at = clock.monotonic()

    def check(self) -> None:
        """Look right before sending.

        Raises:
            ConflictError: The read is more than 10 seconds old.
        """
        age = self._clock.monotonic() - self._read_at
        if age > DEADLINE_SECONDS:
            raise ConflictError(f"what this write rests on was read {age:.1f} s ago")
