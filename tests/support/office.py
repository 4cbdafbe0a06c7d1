"""A desk that joins questions, before a metrics server that says what a test wants."""

import asyncio
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from drifttrigger.core.observation import Answer, Sample
from drifttrigger.sources.answers import Joined
from drifttrigger.sources.batching import Desk
from drifttrigger.sources.joining import LABEL
from support.builders import START
from support.clock import FakeClock

TIMEOUT = 10.0
MEMBER = re.compile(r"label_replace\((?:vector\()?\(\n(.*?)\n\)\)?, \"" + LABEL, re.DOTALL)


def good(text: str, **fields: Any) -> Answer:
    return Answer(samples=(Sample({"said": text}, "1"),), **fields)


def names(number: int) -> list[str]:
    """Name so many queries."""
    return [f"q{n}" for n in range(number)]


def says(answers: list[Answer]) -> list[str]:
    """Read from good answers whose they are."""
    return [answer.samples[0].labels["said"] for answer in answers]


class Server:
    """Answers like a metrics server: each query by its name, a batch by its members.

    Attributes:
        single: Every query that was asked alone, in order.
        batches: The members of every joined request, in order.
        answers: What a query says instead of a plain score, alone and in a batch.
        breaks: What a batch says that holds such a query; it says well alone.
    """

    def __init__(self) -> None:
        self.single: list[str] = []
        self.batches: list[list[str]] = []
        self.answers: dict[str, Answer] = {}
        self.breaks: dict[str, Answer] = {}
        self.warnings: tuple[str, ...] = ()
        self.is_partial = False
        self.whole: Callable[[list[str]], Answer | None] = lambda _: None
        self.gate = asyncio.Event()
        self.gate.set()
        self.defect: Exception | None = None

    async def alone(self, query: str, at: datetime) -> Answer:
        self.single.append(query)
        await self.gate.wait()
        return self.answers.get(query, good(query))

    async def together(self, expression: str, at: datetime, number: int) -> Joined | Answer:
        members = MEMBER.findall(expression)
        assert len(members) == number
        self.batches.append(members)
        await self.gate.wait()
        if self.defect is not None:
            raise self.defect
        whole = self.whole(members)
        if whole is not None:
            return whole
        for query in members:
            broken = self.breaks.get(query, self.answers.get(query, good(query)))
            if broken.failure is not None:
                return broken
        found = tuple(replace(self.answers.get(q, good(q)), warnings=(), infos=()) for q in members)
        return Joined(found, self.warnings, self.is_partial)


class Office:
    """A desk before a server, and who asks."""

    def __init__(self, *, joins: bool = True) -> None:
        self.clock = FakeClock()
        self.server = Server()
        self.sizes: list[int] = []
        self.desk = Desk(
            self.server.alone,
            self.server.together,
            self.clock,
            timeout_seconds=TIMEOUT,
            joins=joins,
            on_batch=self.sizes.append,
        )
        self._instant = 0

    def next_instant(self) -> datetime:
        self._instant += 1
        return START + timedelta(seconds=self._instant)

    async def ask(self, *queries: str, at: datetime | None = None) -> list[Answer]:
        """Ask queries about one instant, all at once."""
        at = at or self.next_instant()
        async with asyncio.timeout(5):
            return list(await asyncio.gather(*(self.desk.ask(query, at) for query in queries)))

    async def ask_together(self, *queries: str, at: datetime | None = None) -> list[Answer]:
        """Ask as a round does: together, and then the usual way for what is left."""
        at = at or self.next_instant()
        async with asyncio.timeout(5):
            found = await self.desk.ask_together(queries, at)
            left = [query for query, answer in zip(queries, found, strict=True) if answer is None]
            others = iter(await asyncio.gather(*(self.desk.ask(query, at) for query in left)))
            return [answer if answer is not None else next(others) for answer in found]

    async def introduce(self, *queries: str) -> None:
        """Let queries show what they are, and forget that they were asked."""
        await self.ask(*queries)
        self.forget()

    def forget(self) -> None:
        self.server.single.clear()
        self.server.batches.clear()
        self.sizes.clear()
