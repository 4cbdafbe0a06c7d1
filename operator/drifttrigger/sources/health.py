"""When a server is asked again after it failed: exponential, 1 s to 2 min, with jitter.

Two of these stand before each request. What fails to connect, or fails three different queries in a
row, is the address; what is refused (401, 403, 429) is the address with those credentials. While
one backs off, nobody sends; after it, one request tries for all.
"""

from drifttrigger.api.reasons import Outcome
from drifttrigger.clients.clock import Clock

FIRST_SECONDS = 1.0
_TRYING_SECONDS = 5.0
"""While one request tries for all, which may take as long as its timeout."""
LONGEST_SECONDS = 120.0
LONGEST_WISH_SECONDS = 300.0
QUERIES_IN_A_ROW = 3


class Refusal(Exception):  # noqa: N818 - a "no" that is expected
    """A request is not sent now.

    Args:
        outcome: What the failure was called that is waited for to pass.
        message: Its words.
        seconds: When to come again.
    """

    def __init__(self, outcome: Outcome, message: str, seconds: float) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.seconds = seconds


class Backoff:
    """A circuit breaker with one trial at a time.

    Args:
        clock: The clock.
        outcome: What those are told who are not admitted, unless a failure says another.
    """

    def __init__(self, clock: Clock, *, outcome: Outcome) -> None:
        self._clock = clock
        self._usual = outcome
        self._outcome = outcome
        self._failures = 0
        self._until = 0.0
        self._is_trying = False
        self.message = ""

    @property
    def is_open(self) -> bool:
        """Whether the last that was heard is a failure."""
        return self._failures > 0

    def admit(self) -> bool:
        """Let a request pass, or not.

        Returns:
            Whether it is the one that tries for all; hand that to `release`.

        Raises:
            Refusal: Not now.
        """
        if not self._failures:
            return False
        self.check()
        self._is_trying = True
        return True

    def check(self) -> None:
        """Look again after a wait, for a request that was admitted and does not try for all.

        Raises:
            Refusal: Not now.
        """
        left = self._until - self._clock.monotonic()
        if self._failures and (left > 0 or self._is_trying):
            wait = _TRYING_SECONDS if self._is_trying else FIRST_SECONDS
            raise Refusal(self._outcome, self.message, max(left, wait))

    def release(self, *, tried: bool) -> None:
        """Say that a request that was admitted is over, however."""
        if tried:
            self._is_trying = False

    def failed(
        self, message: str, *, outcome: Outcome | None = None, wish_seconds: float | None = None
    ) -> None:
        """Back off.

        Args:
            message: What happened.
            outcome: What that is called; None for the usual.
            wish_seconds: When the server wishes to be asked again (Retry-After).
        """
        self.message, self._outcome = message, outcome or self._usual
        if self._failures and self._clock.monotonic() < self._until:
            return  # one of several that were under way together: they count once
        self._failures += 1
        seconds = min(LONGEST_SECONDS, FIRST_SECONDS * 2 ** min(self._failures - 1, 10))
        seconds *= 0.75 + 0.5 * self._clock.jitter()
        if wish_seconds is not None:
            seconds = max(seconds, min(wish_seconds, LONGEST_WISH_SECONDS))
        self._until = self._clock.monotonic() + seconds

    def succeeded(self) -> None:
        """Close the circuit."""
        self._failures = 0
        self._until = 0.0


class Sickness:
    """Tells a server that hangs from a query that does.

    A query that times out is its own trouble. Three different ones in a row are the server's.
    """

    def __init__(self) -> None:
        self._queries: set[str] = set()

    def failed(self, query: str) -> bool:
        """Count a query that timed out; returns whether that makes it the server's trouble."""
        self._queries.add(query)
        return len(self._queries) >= QUERIES_IN_A_ROW

    def succeeded(self) -> None:
        """Forget: the server answers."""
        self._queries.clear()
