"""Asking Prometheus and what speaks its API: Thanos, Mimir, VictoriaMetrics.

One `PrometheusSource` for the process: it keeps a connection for each server block, whose health
and credentials are `connection`'s, and a desk that joins questions into batches.
"""

import asyncio
import functools
from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec
from msgspec.structs import replace

from drifttrigger.api.errors import CredentialError
from drifttrigger.api.reasons import Outcome
from drifttrigger.api.servers import Batching, PrometheusServer, SourceRef
from drifttrigger.api.v1alpha1 import ServerInfo
from drifttrigger.clients.clock import Clock
from drifttrigger.clients.http import HttpClient, HttpFailure, HttpProblem, HttpReply
from drifttrigger.clients.secrets import Secrets
from drifttrigger.core.observation import Answer
from drifttrigger.sources.answers import Joined, parse, parse_build_info, parse_joined
from drifttrigger.sources.base import Question
from drifttrigger.sources.batching import Desk
from drifttrigger.sources.connection import Connection, Endpoint
from drifttrigger.sources.credentials import Carrier, Credentials
from drifttrigger.sources.health import Refusal
from drifttrigger.sources.joining import LABEL, MOST_BYTES

MAX_IN_FLIGHT = 8
_PATH = "/api/v1/query"
_BUILD_INFO = "/api/v1/status/buildinfo"
_URL_BYTES = 4096
"""Of a joined expression where it has to go into the URL."""
_TOO_LONG = frozenset({400, 413, 414, 431})
"""What servers and proxies say to requests that are longer than they like."""
_SAYS_WHERE = frozenset({Outcome.UNREACHABLE, Outcome.UNAUTHORIZED})
_IDLE_SECONDS = 7200.0
_SHOWN_SECONDS = 900.0


class _Counter(msgspec.Struct, frozen=True):
    """A connection, and the desk that takes the questions to it."""

    connection: Connection
    desk: Desk


class PrometheusSource:
    """Asks Prometheus-compatible servers.

    Args:
        http: The pool of connections.
        secrets: Reads what server blocks name.
        clock: The clock.
        max_in_flight: Requests under way at once to one server.
        on_request: Told the result of each request that was sent: `ok` or the outcome's name.
        on_batch: Told the size of each batch that was sent.
    """

    def __init__(
        self,
        http: HttpClient,
        secrets: Secrets,
        clock: Clock,
        *,
        max_in_flight: int = MAX_IN_FLIGHT,
        on_request: Callable[[str], None] = lambda _: None,
        on_batch: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._http = http
        self._secrets = secrets
        self._clock = clock
        self._slots = max_in_flight
        self._on_request = on_request
        self._on_batch = on_batch
        self._endpoints: dict[object, Endpoint] = {}
        self._counters: dict[tuple[PrometheusServer, str], _Counter] = {}

    async def ask(self, question: Question) -> Answer:
        """Ask one question at its own instant, in a request with others where that is as good."""
        if not isinstance(question.source, PrometheusServer):
            return unresolved(question.source)
        desk = self._counter(question.source, question.namespace).desk
        return await desk.ask(question.query, question.at, alone=question.alone)

    async def ask_together(self, questions: Sequence[Question]) -> list[Answer | None]:
        """Ask many questions, those to one desk about one instant in as few requests as it takes.

        Returns:
            The answer of each in order; None where `ask` has to find it.
        """
        desks: dict[tuple[int, str], Desk] = {}
        groups: dict[tuple[Desk, datetime], list[int]] = {}
        for place, question in enumerate(questions):
            if not isinstance(question.source, PrometheusServer):
                continue
            # By identity: equal blocks are one value, and hashing a block is dear.
            key = (id(question.source), question.namespace)
            desk = desks.get(key)
            if desk is None:
                desk = desks[key] = self._counter(question.source, question.namespace).desk
            groups.setdefault((desk, question.at), []).append(place)
        answers: list[Answer | None] = [None] * len(questions)

        async def ask(desk: Desk, at: datetime, places: list[int]) -> None:
            found = await desk.ask_together([questions[place].query for place in places], at)
            for place, answer in zip(places, found, strict=True):
                answers[place] = answer

        await asyncio.gather(*(ask(desk, at, places) for (desk, at), places in groups.items()))
        return answers

    async def distrust(self, question: Question) -> None:
        """Ask a query alone from now on: its batched answer was not the one it gives alone."""
        if isinstance(question.source, PrometheusServer):
            self._counter(question.source, question.namespace).desk.distrust(question.query)

    async def ask_through(self, connection: Connection, query: str, at: datetime) -> Answer:
        """Ask one query through a connection."""
        form = {"query": query, "time": f"{at.timestamp():.3f}"}
        return await self.exchange(connection, _PATH, form, parse)

    async def exchange(
        self,
        connection: Connection,
        path: str,
        form: dict[str, str],
        read: Callable[[HttpReply], Answer],
    ) -> Answer:
        """Send one request and read the reply; every failure becomes an Answer with its name."""
        address = connection.server.address
        try:
            exchanged = await connection.exchange(path, form)
        except Refusal as refusal:
            return Answer(
                failure=refusal.outcome,
                message=f"{address}: {refusal}",
                retry_after_seconds=refusal.seconds,
                is_held=True,
            )
        except CredentialError as error:
            return Answer(failure=Outcome.UNAUTHORIZED, message=str(error))
        except HttpFailure as failure:
            too_large = failure.problem is HttpProblem.TOO_LARGE
            outcome = Outcome.TOO_LARGE if too_large else Outcome.UNREACHABLE
            self._on_request(outcome.value)
            is_late = failure.problem is HttpProblem.TIMEOUT
            return Answer(failure=outcome, message=f"{address}: {failure}", is_late=is_late)
        answer = read(exchanged.reply)
        self._on_request(answer.failure.value if answer.failure is not None else "ok")
        redact = exchanged.material.redact
        where = f"{address}: " if answer.failure in _SAYS_WHERE else ""
        return replace(
            answer,
            message=redact(where + answer.message),
            warnings=tuple(redact(text) for text in answer.warnings),
            infos=tuple(redact(text) for text in answer.infos),
            seconds=exchanged.seconds,
        )

    async def tells(self, server: PrometheusServer, namespace: str) -> ServerInfo | None:
        """Ask a server what it is; None where it does not say.

        Prometheus, Thanos, Mimir and others answer at `/api/v1/status/buildinfo`.
        """
        connection = self.connection(server, namespace)
        try:
            exchanged = await connection.exchange(_BUILD_INFO, {}, method="GET")
        except (Refusal, CredentialError, HttpFailure):
            return None  # `ask` says why
        return parse_build_info(exchanged.reply)

    def health(self) -> dict[str, bool]:
        """Tell of each address asked lately whether all is well with it."""
        since = self._clock.monotonic() - _SHOWN_SECONDS
        found: dict[str, bool] = {}
        for counter in self._counters.values():
            if counter.connection.asked_at < since:
                continue
            address = counter.connection.server.address
            found[address] = found.get(address, True) and not counter.connection.error
        return found

    def _drop_idle(self) -> None:
        """Forget connections that nobody has asked for a while: an edit leaves one behind."""
        since = self._clock.monotonic() - _IDLE_SECONDS
        kept = {k: c for k, c in self._counters.items() if c.connection.asked_at >= since}
        if len(kept) < len(self._counters):
            self._counters = kept
            in_use = {id(counter.connection.endpoint) for counter in kept.values()}
            self._endpoints = {k: e for k, e in self._endpoints.items() if id(e) in in_use}

    def connection(self, server: PrometheusServer, namespace: str) -> Connection:
        """Return the connection of a server block, the same for the same block."""
        return self._counter(server, namespace).connection

    def _counter(self, server: PrometheusServer, namespace: str) -> _Counter:
        key = (server, namespace if names_objects(server) else "")
        found = self._counters.get(key)
        if found is None:
            self._drop_idle()
            credentials = Credentials(
                server, namespace, secrets=self._secrets, http=self._http, clock=self._clock
            )
            endpoint = self._endpoint(server, namespace)
            connection = Connection(server, endpoint, credentials, self._http, self._clock)
            found = _Counter(connection, self._open_desk(connection))
            self._counters[key] = found
        return found

    def _open_desk(self, connection: Connection) -> Desk:
        return Desk(
            functools.partial(self.ask_through, connection),
            functools.partial(self._ask_joined, connection),
            self._clock,
            timeout_seconds=connection.timeout_seconds,
            joins=connection.server.batching is Batching.AUTO,
            most_bytes=lambda: _URL_BYTES if connection.endpoint.is_get_only else MOST_BYTES,
            on_batch=self._on_batch,
        )

    async def _ask_joined(
        self, connection: Connection, expression: str, at: datetime, number: int
    ) -> Joined | Answer:
        """Ask a joined expression; the failure of all where there is one."""
        found: list[Joined] = []

        def read(reply: HttpReply) -> Answer:
            """Keep what was joined apart: an Answer is of one query."""
            answer = parse_joined(reply, number, label=LABEL)
            if isinstance(answer, Answer):
                is_refused = reply.status in _TOO_LONG and answer.failure is not Outcome.QUERY_ERROR
                return replace(answer, failure=Outcome.TOO_LARGE) if is_refused else answer
            found.append(answer)
            return Answer(warnings=answer.warnings)

        form = {"query": expression, "time": f"{at.timestamp():.3f}"}
        answer = await self.exchange(connection, _PATH, form, read)
        return replace(found[0], warnings=answer.warnings) if found else answer

    def connect(self, server: PrometheusServer, carrier: Carrier) -> Connection:
        """Make a connection that carries what somebody else says."""
        endpoint = Endpoint(self._clock, slots=self._slots)
        return Connection(server, endpoint, carrier, self._http, self._clock)

    def _endpoint(self, server: PrometheusServer, namespace: str) -> Endpoint:
        whose = namespace if server.tls is not None else ""
        key = (server.address, server.tls, whose)
        if key not in self._endpoints:
            self._endpoints[key] = Endpoint(self._clock, slots=self._slots)
        return self._endpoints[key]


def unresolved(ref: SourceRef) -> Answer:
    """Answer for a reference that leads nowhere."""
    return Answer(
        failure=Outcome.UNREACHABLE, message=f"there is no {ref.kind.value} {ref.name} to ask"
    )


@functools.lru_cache(maxsize=4096)
def names_objects(server: PrometheusServer) -> bool:
    """Whether a block names Secrets or ConfigMaps, which are of one namespace."""
    tls = server.tls
    return (
        server.auth is not None
        or any(header.value_from is not None for header in server.headers)
        or (tls is not None and (tls.ca_from is not None or tls.client_certificate is not None))
    )
