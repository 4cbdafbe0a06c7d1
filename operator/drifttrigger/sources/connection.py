"""One server with one set of credentials: bounded requests, health, and what each request carries.

`Endpoint` is the address: its slots, and the backoff that all share who ask it. `Connection` adds
the credentials and the backoff of those who show them.
"""

import asyncio
from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from drifttrigger.api.errors import CredentialError
from drifttrigger.api.reasons import Outcome
from drifttrigger.api.servers import PrometheusServer, Tls
from drifttrigger.clients.clock import Clock
from drifttrigger.clients.http import HttpClient, HttpFailure, HttpProblem, HttpReply, HttpRequest
from drifttrigger.core.times import format_duration, parse_duration
from drifttrigger.sources.credentials import Carrier, Material
from drifttrigger.sources.health import Backoff, Sickness

_WANTS_GET = (405, 501)
_REFUSES_CREDENTIALS = (401, 403)
_TOO_MANY = 429


class Endpoint:
    """An address that is asked, and how it has been lately.

    Args:
        clock: The clock.
        slots: Requests under way at once.
    """

    def __init__(self, clock: Clock, *, slots: int) -> None:
        self.slots = asyncio.Semaphore(slots)
        self.backoff = Backoff(clock, outcome=Outcome.UNREACHABLE)
        self.sickness = Sickness()
        self.is_get_only = False


class _Call(msgspec.Struct, frozen=True):
    """What is to be sent, and whether it tries for all who show these credentials."""

    method: str
    path: str
    form: Mapping[str, str]
    tried: bool


class Exchanged(msgspec.Struct, frozen=True):
    """A reply, and how to blot out what was sent with the request."""

    reply: HttpReply
    material: Material
    seconds: float


class Connection:
    """Asks one server with one set of credentials.

    Args:
        server: The server block.
        endpoint: The address, shared with other connections to it.
        credentials: What requests carry.
        http: Sends them.
        clock: The clock.
    """

    def __init__(
        self,
        server: PrometheusServer,
        endpoint: Endpoint,
        credentials: Carrier,
        http: HttpClient,
        clock: Clock,
    ) -> None:
        self.server = server
        self.endpoint = endpoint
        self.backoff = Backoff(clock, outcome=Outcome.UNAUTHORIZED)
        timeout = parse_duration(server.timeout, field="timeout")
        self.timeout_seconds = timeout.total_seconds()
        self.asked_at = clock.monotonic()
        self._timeout = format_duration(timeout)
        self._clock = clock
        self._credentials = credentials
        self._http = http
        self._url = server.address.rstrip("/")
        self._parameters = tuple((p.name, p.value) for p in server.query_parameters)
        self._server_name = (server.tls or Tls()).server_name

    @property
    def error(self) -> str:
        """What is wrong with the server or with our credentials; empty when nothing is known."""
        for backoff in (self.endpoint.backoff, self.backoff):
            if backoff.is_open:
                return backoff.message
        return ""

    async def exchange(self, path: str, form: Mapping[str, str], *, method: str = "") -> Exchanged:
        """Send one request when its turn comes, and judge from the reply how the server is.

        Args:
            path: Below the address, as in `/api/v1/query`.
            form: Its parameters; `query` tells queries apart, and `timeout` is added to it.
            method: GET where POST is no choice; empty for POST where the server takes it.

        Raises:
            Refusal: The server or the credentials back off; nothing was sent.
            CredentialError: A credential can't be read; nothing was sent.
            HttpFailure: No whole reply came.
        """
        self.asked_at = self._clock.monotonic()
        call = _Call(method, path, form, self.backoff.admit())
        try:
            exchanged = await self._exchange(call)
        except HttpFailure as failure:
            self._judge_failure(failure, form)
            raise
        except CredentialError as error:
            self.backoff.failed(str(error))
            raise
        finally:
            self.backoff.release(tried=call.tried)
        self._judge(exchanged, form)
        return exchanged

    async def _exchange(self, call: _Call) -> Exchanged:
        """Send; where the credentials are refused, read them again and send once more."""
        material = await self._material()
        try:
            exchanged = await self._in_turn(call, material)
        except HttpFailure as failure:
            if not self._may_refuse(failure):
                raise
            renewed = await self._material(refused=material)
            if renewed is material:
                raise
            return await self._in_turn(call, renewed)
        if exchanged.reply.status not in _REFUSES_CREDENTIALS or not self._has_credentials():
            return exchanged
        renewed = await self._material(refused=material)
        return exchanged if renewed is material else await self._in_turn(call, renewed)

    async def _material(self, *, refused: Material | None = None) -> Material:
        """Get what to send. No slot of the server is held: only these credentials wait for it."""
        try:
            async with asyncio.timeout(self.timeout_seconds):
                return await self._credentials.material(refused=refused)
        except TimeoutError as error:
            within = f"within {self.timeout_seconds:g} s"
            raise CredentialError(f"the credentials could not be had {within}") from error

    async def _in_turn(self, call: _Call, material: Material) -> Exchanged:
        """Send when a slot is free, if nothing was learned meanwhile that speaks against it."""
        async with self.endpoint.slots:
            if not call.tried:
                self.backoff.check()
            tries_server = self.endpoint.backoff.admit()
            try:
                async with asyncio.timeout(self.timeout_seconds):
                    return await self._send(call, material)
            except TimeoutError as error:
                raise HttpFailure(
                    HttpProblem.TIMEOUT, f"no whole answer within {self.timeout_seconds:g} s"
                ) from error
            finally:
                self.endpoint.backoff.release(tried=tries_server)

    def _may_refuse(self, failure: HttpFailure) -> bool:
        """Whether a failure may be how the server refuses our certificate, or shows a new one."""
        tls = self.server.tls
        if failure.problem is HttpProblem.HUNG_UP:
            return tls is not None and tls.client_certificate is not None
        return failure.problem is HttpProblem.TLS

    def _has_credentials(self) -> bool:
        server = self.server
        return (
            server.auth is not None
            or server.tls is not None
            or any(header.value_from is not None for header in server.headers)
        )

    async def _send(self, call: _Call, material: Material) -> Exchanged:
        method = call.method or ("GET" if self.endpoint.is_get_only else "POST")
        started = self._clock.monotonic()
        try:
            reply = await self._http.send(self._request(method, call, material))
            if method == "POST" and reply.status in _WANTS_GET:
                self.endpoint.is_get_only = True
                reply = await self._http.send(self._request("GET", call, material))
        except HttpFailure as failure:
            # Not chained: the error may repeat what was sent.
            raise HttpFailure(failure.problem, material.redact(str(failure))) from None
        seconds = self._clock.monotonic() - started
        return Exchanged(_without_secrets(reply, material), material, seconds)

    def _request(self, method: str, call: _Call, material: Material) -> HttpRequest:
        form = call.form
        return HttpRequest(
            method=method,
            url=self._url + call.path,
            form={**form, "timeout": self._timeout} if "query" in form else form,
            parameters=self._parameters,
            headers=material.headers,
            tls=material.tls,
            server_name=self._server_name,
            # The whole exchange has one timeout, in `exchange`; this one only must not be shorter.
            timeout_seconds=self.timeout_seconds,
        )

    # Whose trouble is it?

    def _judge_failure(self, failure: HttpFailure, form: Mapping[str, str]) -> None:
        message = str(failure)
        match failure.problem:
            case HttpProblem.CONNECT | HttpProblem.TLS:
                self.endpoint.backoff.failed(message)
            case HttpProblem.TIMEOUT | HttpProblem.PROTOCOL | HttpProblem.HUNG_UP:
                self._sick(form, message)
            case HttpProblem.TOO_LARGE:
                self._well()

    def _judge(self, exchanged: Exchanged, form: Mapping[str, str]) -> None:
        reply = exchanged.reply
        message = f"HTTP {reply.status}: {said(reply)}"
        if reply.status in _REFUSES_CREDENTIALS:
            self.backoff.failed(message)
            self.endpoint.backoff.succeeded()
        elif reply.status == _TOO_MANY:
            wish = retry_after(reply)
            self.backoff.failed(message, outcome=Outcome.UNREACHABLE, wish_seconds=wish)
            self.endpoint.backoff.succeeded()
        elif reply.status >= 500 and not reply.body.lstrip().startswith(b"{"):
            self._sick(form, message)
        else:
            self._well()

    def _sick(self, form: Mapping[str, str], message: str) -> None:
        is_known = self.endpoint.backoff.is_open
        if self.endpoint.sickness.failed(form.get("query", "")) or is_known:
            self.endpoint.backoff.failed(message)

    def _well(self) -> None:
        self.backoff.succeeded()
        self.endpoint.backoff.succeeded()
        self.endpoint.sickness.succeeded()


def _without_secrets(reply: HttpReply, material: Material) -> HttpReply:
    """Blot out of a refusal what was sent, before anybody cuts it: half a secret is one too."""
    if reply.status < 300 or not material.hidden:
        return reply
    text = material.redact(reply.body.decode(errors="replace"))
    return replace(reply, body=text.encode())


def said(reply: HttpReply) -> str:
    """Return the beginning of a body, for people."""
    return reply.body[:300].decode(errors="replace").strip() or "no body"


def retry_after(reply: HttpReply) -> float | None:
    """Read Retry-After, seconds; dates are ignored."""
    text = reply.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) <= 5 else None
