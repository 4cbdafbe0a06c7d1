"""Asking many questions in one request, with the answers that each would get alone.

```
ask -> may it join?  no  -> alone (equal questions share one request) -> learn what it is like
                     yes -> the open batch of its instant -> flush -> one request
  answered                         -> each its own answer
  QueryError, Malformed, TooLarge  -> halves, down to single queries
  too late                         -> each alone, and smaller batches for a while
  the server's own trouble         -> the same failure for all
```

A query joins once it has succeeded alone: that shows that it is one complete expression, what its
type is, what it warns of and that it is quick. What breaks a batch is asked alone for a while.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime

import msgspec
from msgspec.structs import replace

from drifttrigger.api.errors import TransientError
from drifttrigger.api.reasons import Outcome
from drifttrigger.clients.clock import Clock
from drifttrigger.core.observation import Answer
from drifttrigger.sources.answers import Joined
from drifttrigger.sources.joining import (
    LABEL,
    MOST_BYTES,
    MOST_QUERIES,
    WRAPPING_BYTES,
    Member,
    joined,
)

_GATHER_SECONDS = 0.01
"""How long a batch stays open: what is due in the same slot asks within one turn of the loop."""
_QUICK = 0.1
"""Part of the timeout that a query may take alone and still join."""
_ALONE_SECONDS = 600.0
_DISTRUST_SECONDS = 3600.0
_WARNED_SECONDS = 3600.0
_IDLE_SECONDS = 7200.0
_FEWEST = 8
_PROMQL = "PromQL "
_SPLITS = frozenset({Outcome.QUERY_ERROR, Outcome.TOO_LARGE, Outcome.MALFORMED})

_SERVERS = frozenset({Outcome.UNREACHABLE, Outcome.UNAUTHORIZED})
"""Failures that say nothing of the query, unless it was too late."""

AskAlone = Callable[[str, datetime], Awaitable[Answer]]
AskJoined = Callable[[str, datetime, int], Awaitable[Joined | Answer]]


class _Known(msgspec.Struct, gc=False):
    """What a query has shown of itself when it was asked alone.

    Attributes:
        is_good: It has succeeded alone, and may be joined.
        alone_until: Monotonic time until which it stays alone all the same.
        checked_at: Monotonic time of the answer that warnings and infos are of.
    """

    is_good: bool = False
    is_scalar: bool = False
    alone_until: float = 0.0
    checked_at: float = 0.0
    asked_at: float = 0.0
    warnings: tuple[str, ...] = ()
    infos: tuple[str, ...] = ()


class _Batch:
    """What is asked about one instant and not yet sent."""

    def __init__(self) -> None:
        self.waiting: dict[str, asyncio.Future[Answer]] = {}
        self.size = 0


class Desk:
    """Takes the questions to one connection.

    Args:
        alone: Sends one query.
        together: Sends a joined expression of so many members.
        clock: The clock.
        timeout_seconds: Of one request.
        joins: Whether this server takes joined expressions.
        most_bytes: Length of a joined expression that it takes.
        on_batch: Told the size of each batch that is sent.
    """

    def __init__(
        self,
        alone: AskAlone,
        together: AskJoined,
        clock: Clock,
        *,
        timeout_seconds: float,
        joins: bool,
        most_bytes: Callable[[], int] = lambda: MOST_BYTES,
        on_batch: Callable[[int], None],
    ) -> None:
        self._ask_alone = alone
        self._ask_together = together
        self._clock = clock
        self._quick_seconds = timeout_seconds * _QUICK
        self._joins = joins
        self._most_bytes = most_bytes
        self._on_batch = on_batch
        self._limit = MOST_QUERIES
        self._known: dict[str, _Known] = {}
        self._open: dict[datetime, _Batch] = {}
        self._under_way: dict[tuple[str, datetime], asyncio.Task[Answer]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._pruned_at = clock.monotonic()

    async def ask(self, query: str, at: datetime, *, alone: bool = False) -> Answer:
        """Ask one query about one instant."""
        known = self._known.setdefault(query, _Known())
        known.asked_at = self._clock.monotonic()
        if alone or not self._may_join(known):
            return await self._alone(query, at)
        batch = self._open.get(at)
        if batch is None:
            batch = self._open[at] = _Batch()
            asyncio.get_running_loop().call_later(_GATHER_SECONDS, self._flush, at, batch)
        if query not in batch.waiting:
            size = len(query.encode()) + WRAPPING_BYTES
            is_full = len(batch.waiting) >= self._limit or batch.size + size > self._most_bytes()
            if is_full and batch.waiting:
                self._flush(at, batch)
                return await self.ask(query, at)
            batch.waiting[query] = asyncio.get_running_loop().create_future()
            batch.size += size
        # Equal questions wait for the same answer: one who leaves takes nobody along.
        return await asyncio.shield(batch.waiting[query])

    def _may_join(self, known: _Known) -> bool:
        """Whether a query may share a request now."""
        return self._joins and known.is_good and known.alone_until <= self._clock.monotonic()

    async def ask_together(self, queries: Sequence[str], at: datetime) -> list[Answer | None]:
        """Ask many queries about one instant, if they may be joined.

        Returns:
            The answer of each in order; None where `ask` has to find it.
        """
        now = self._clock.monotonic()
        joinable: dict[str, None] = {}
        for query in queries:
            known = self._known.get(query)
            if known is not None and self._may_join(known):
                known.asked_at = now
                joinable[query] = None
        found: dict[str, Answer] = {}
        parts = list(self._parts(list(joinable)))
        if len(parts) == 1:
            await self._ask_part(parts[0], at, found)
        else:
            await asyncio.gather(*(self._ask_part(part, at, found) for part in parts))
        self._prune()
        return [found.get(query) for query in queries]

    def _parts(self, queries: Sequence[str]) -> Iterator[list[str]]:
        """Cut queries into requests that the server takes."""
        most, part, size = self._most_bytes(), list[str](), 0
        for query in queries:
            more = len(query.encode()) + WRAPPING_BYTES
            if part and (len(part) >= self._limit or size + more > most):
                yield part
                part, size = [], 0
            part.append(query)
            size += more
        if part:
            yield part

    async def _ask_part(self, queries: list[str], at: datetime, answers: dict[str, Answer]) -> None:
        """Send one request, and take from it what is as sure as asking alone."""
        if len(queries) == 1:
            answers[queries[0]] = await self._alone(queries[0], at)
            return
        found = await self._send(queries, at)
        if isinstance(found, Joined):
            answers.update(self._sure(queries, found))
        elif found.is_late and not found.is_held:
            for query in queries:  # each shows alone whether it is the slow one
                self._known[query].is_good = False
        elif found.failure not in _SPLITS:
            answers.update(dict.fromkeys(queries, found))

    def distrust(self, query: str) -> None:
        """Ask a query alone for an hour."""
        known = self._known.setdefault(query, _Known())
        known.alone_until = self._clock.monotonic() + _DISTRUST_SECONDS

    # Alone.

    async def _alone(self, query: str, at: datetime) -> Answer:
        """Ask a query alone; equal questions share the request."""
        key = (query, at)
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.create_task(self._learn(query, at))
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        return await asyncio.shield(task)

    async def _learn(self, query: str, at: datetime) -> Answer:
        answer = await self._ask_alone(query, at)
        self._prune()
        now = self._clock.monotonic()
        known = self._known.setdefault(query, _Known())
        if answer.failure is not None:
            is_servers = answer.failure in _SERVERS or answer.is_servers
            if answer.is_late or not is_servers:
                known.is_good = False
            if answer.failure in _SPLITS and not is_servers and known.alone_until:
                _keep_alone(known, now)  # it broke a batch once, and is not good yet
            return answer
        uses_label = any(LABEL in sample.labels for sample in answer.samples)
        is_quick = answer.seconds <= self._quick_seconds
        known.is_good = is_quick and not uses_label and not _is_partial(answer)
        known.is_scalar = answer.is_scalar
        known.warnings, known.infos, known.checked_at = answer.warnings, answer.infos, now
        return answer

    # Together.

    def _flush(self, at: datetime, batch: _Batch) -> None:
        """Send a batch, once."""
        if self._open.get(at) is batch:
            del self._open[at]
        waiting, batch.waiting = batch.waiting, {}
        if not waiting:
            return
        task = asyncio.create_task(self._settle(list(waiting), at, waiting))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._prune()

    async def _settle(
        self, queries: Sequence[str], at: datetime, waiting: dict[str, asyncio.Future[Answer]]
    ) -> None:
        """Answer every query of a batch, whatever happens."""
        try:
            await self._resolve(queries, at, waiting)
        finally:
            for query in queries:
                if not waiting[query].done():  # cancelled, or a defect: nobody waits for ever
                    waiting[query].set_exception(TransientError("a batch broke off"))

    async def _resolve(
        self, queries: Sequence[str], at: datetime, waiting: dict[str, asyncio.Future[Answer]]
    ) -> None:
        if len(queries) == 1:
            await self._resolve_alone(queries[0], at, waiting)
            return
        found = await self._send(queries, at)
        if isinstance(found, Joined):
            await self._deliver(queries, at, found, waiting)
        elif found.is_late and not found.is_held:
            # Somebody is slow, or all together are: alone shows who, and costs nobody the tick.
            await self._resolve_each(queries, at, waiting)
        elif found.failure in _SPLITS and not await self._is_everybodys(found, queries[0], at):
            half = len(queries) // 2
            await asyncio.gather(
                self._resolve(queries[:half], at, waiting),
                self._resolve(queries[half:], at, waiting),
            )
        else:
            for query in queries:
                _give(waiting[query], found)

    async def _send(self, queries: Sequence[str], at: datetime) -> Joined | Answer:
        """Send a joined expression, and learn how long the next one may be."""
        self._on_batch(len(queries))
        members = [Member(query, self._known[query].is_scalar) for query in queries]
        found = await self._ask_together(joined(members), at, len(members))
        if isinstance(found, Joined):
            self._limit = min(MOST_QUERIES, self._limit + _FEWEST)
        elif found.is_late and not found.is_held:
            self._limit = max(_FEWEST, len(queries) // 4)
        elif found.failure is Outcome.TOO_LARGE:
            self._limit = max(_FEWEST, len(queries) // 2)
        return found

    async def _is_everybodys(self, found: Answer, query: str, at: datetime) -> bool:
        """Whether a failure that the server calls its own meets a query that is alone, too."""
        return found.is_servers and (await self._alone(query, at)).is_servers

    async def _resolve_each(
        self, queries: Sequence[str], at: datetime, waiting: dict[str, asyncio.Future[Answer]]
    ) -> None:
        await asyncio.gather(*(self._resolve_alone(query, at, waiting) for query in queries))

    async def _resolve_alone(
        self, query: str, at: datetime, waiting: dict[str, asyncio.Future[Answer]]
    ) -> None:
        answer = await self._alone(query, at)
        if answer.failure in _SPLITS:  # it is what broke the batch
            _keep_alone(self._known[query], self._clock.monotonic())
        _give(waiting[query], answer)

    async def _deliver(
        self,
        queries: Sequence[str],
        at: datetime,
        found: Joined,
        waiting: dict[str, asyncio.Future[Answer]],
    ) -> None:
        """Give each its answer; who is not sure of it asks alone."""
        sure = self._sure(queries, found)
        for query, answer in sure.items():
            _give(waiting[query], answer)
        unsure = [query for query in queries if query not in sure]
        await self._resolve_each(unsure, at, waiting)

    def _sure(self, queries: Sequence[str], found: Joined) -> dict[str, Answer]:
        """Return the answers that each would get alone; whose a warning is shows only there."""
        if found.is_partial or any(not w.startswith(_PROMQL) for w in found.warnings):
            return {}
        now = self._clock.monotonic()
        sure: dict[str, Answer] = {}
        for query, answer in zip(queries, found.answers, strict=True):
            known = self._known[query]
            is_stale = bool(found.warnings) and now - known.checked_at > _WARNED_SECONDS
            # A failure of one member (a histogram, a value that is none) says how it is alone.
            if not is_stale and answer.failure is None:
                warnings = known.warnings if found.warnings else ()
                sure[query] = replace(answer, warnings=warnings, infos=known.infos, is_batched=True)
        return sure

    def _prune(self) -> None:
        """Forget queries that nobody asks any more, now and then."""
        now = self._clock.monotonic()
        if now - self._pruned_at < _IDLE_SECONDS / 2:
            return
        self._pruned_at = now
        since = now - _IDLE_SECONDS
        self._known = {
            query: known for query, known in self._known.items() if known.asked_at > since
        }


def _keep_alone(known: _Known, now: float) -> None:
    known.alone_until = max(known.alone_until, now + _ALONE_SECONDS)


def _give(future: asyncio.Future[Answer], answer: Answer) -> None:
    if not future.done():
        future.set_result(answer)


def _is_partial(answer: Answer) -> bool:
    """Whether the server called the answer partial: such answers are told apart alone."""
    return answer.is_partial or any(not w.startswith(_PROMQL) for w in answer.warnings)
