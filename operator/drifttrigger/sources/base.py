"""The seam between detection and any metrics server."""

from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from drifttrigger.core.observation import Answer


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One instant query.

    Attributes:
        address: Base URL of the server.
        query: The expression.
        at: The instant that it is evaluated at (queryOffset already taken off).
        timeout: For the whole request.
    """

    address: str
    query: str
    at: datetime
    timeout: timedelta


class Source(Protocol):
    """Answers questions; never raises for anything that a server may do."""

    async def ask(self, question: Question) -> Answer:
        """Ask, and hand over what the server said or the failure it met."""
