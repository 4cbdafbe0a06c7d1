"""The seam between detection and any metrics server."""

from datetime import datetime
from typing import Protocol

import msgspec

from drifttrigger.api.servers import PrometheusServer, SourceRef
from drifttrigger.core.observation import Answer


class Question(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One instant query.

    Attributes:
        source: Whom to ask: a server block, or a reference that somebody above resolves.
        namespace: Whose Secrets and ConfigMaps the block names, or whose reference it is.
        query: The expression.
        at: The instant that it is evaluated at (queryOffset already taken off).
        alone: Whether it must not share a request with others.
    """

    source: PrometheusServer | SourceRef
    namespace: str
    query: str
    at: datetime
    alone: bool = False


class Source(Protocol):
    """Answers questions; never raises for anything that a server may do."""

    async def ask(self, question: Question) -> Answer:
        """Ask, and hand over what the server said or the failure it met."""

    async def distrust(self, question: Question) -> None:
        """Ask that query alone from now on: a batched answer was not what it says alone."""
