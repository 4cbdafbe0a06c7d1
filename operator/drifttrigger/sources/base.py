"""The seam between detection and any metrics server."""

from collections.abc import Sequence
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

    async def ask_together(self, questions: Sequence[Question]) -> list[Answer | None]:
        """Ask many at once where that is as good as asking each.

        Returns:
            The answer of each question in order; None where `ask` has to find it.
        """

    async def distrust(self, question: Question) -> None:
        """Ask that query alone from now on: a batched answer was not what it says alone."""
