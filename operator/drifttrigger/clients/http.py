"""HTTP to metrics servers: bounded in time and size, no redirects, guarded addresses.

The answer is capped after decompression, so that a small body can't unfold into a large one.
Proxies of the environment are used only when switched on: through one, addresses can't be checked.
"""

import asyncio
import re
import ssl
from collections.abc import Mapping, Sequence
from enum import Enum

import aiohttp
import msgspec
from yarl import URL

from drifttrigger.api.errors import TransientError
from drifttrigger.clients.guard import GuardedSockets, runs_in_a_pod

MAX_BYTES = 8 * 1024 * 1024
_CHUNK = 64 * 1024
Pairs = Sequence[tuple[str, str]]
_FORM: Pairs = (("Content-Type", "application/x-www-form-urlencoded"),)
_OPENSSL = re.compile(r"\[[A-Z]+: [A-Z0-9_]+\] | ?\(_ssl\.c:\d+\)")
_REFUSED = "the server refuses our certificate, see tls.clientCertificate"
_TLS_HINTS = {
    "alert certificate required": "the server wants tls.clientCertificate",
    "alert unknown ca": _REFUSED,
    "alert bad certificate": _REFUSED,
    "alert certificate unknown": _REFUSED,
    "alert certificate expired": _REFUSED,
    "issuer certificate": "name its authority with tls.caFrom",
    "self-signed certificate": "name its authority with tls.caFrom",
    "certificate is not valid for": "name it as its certificate does, with tls.serverName",
    "wrong version number": "is it plain http?",
}


class HttpProblem(Enum):
    """Why there is no reply."""

    CONNECT = "connect"
    TLS = "tls"
    TIMEOUT = "timeout"
    TOO_LARGE = "too large"
    HUNG_UP = "hung up"
    PROTOCOL = "protocol"


class HttpFailure(TransientError):  # noqa: N818 - the name is the meaning
    """There is no whole reply.

    Args:
        problem: What kind of failure it was.
        message: What happened, for people.
    """

    def __init__(self, problem: HttpProblem, message: str) -> None:
        super().__init__(message)
        self.problem = problem


class HttpRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request.

    Attributes:
        method: GET or POST.
        url: Where to, without a query.
        form: Sent in the body (POST) or behind the parameters in the URL (GET).
        parameters: Sent in the URL, whatever the method.
        headers: More headers.
        timeout_seconds: For the whole request, to the last byte.
        tls: How the server is checked; None for the system's certificates.
        server_name: Name that the server's certificate has to show; empty for the URL's host.
    """

    method: str
    url: str
    timeout_seconds: float
    form: Mapping[str, str] = {}
    parameters: Pairs = ()
    headers: Pairs = ()
    tls: ssl.SSLContext | None = None
    server_name: str = ""


class HttpReply(msgspec.Struct, frozen=True):
    """A whole reply: status, headers in lower case, decompressed body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpClient:
    """A pool of connections to metrics servers; one for the process.

    Args:
        max_bytes: Cap of an answer, after decompression.
        loopback: Whether loopback may be asked; by default wherever this is no pod.
        trust_env: Whether proxies of the environment are used.
    """

    def __init__(
        self,
        *,
        max_bytes: int = MAX_BYTES,
        loopback: bool | None = None,
        trust_env: bool = False,
    ) -> None:
        self._max_bytes = max_bytes
        self._loopback = not runs_in_a_pod() if loopback is None else loopback
        self._trust_env = trust_env
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(self, request: HttpRequest) -> HttpReply:
        """Send one request and read the whole reply.

        Raises:
            HttpFailure: There is no whole reply within time and size.
        """
        is_post = request.method == "POST"
        parameters = [*request.parameters, *(() if is_post else request.form.items())]
        try:
            url = URL(request.url).with_query(parameters) if parameters else URL(request.url)
            async with (
                asyncio.timeout(request.timeout_seconds),
                self._opened().request(
                    request.method,
                    url,
                    data=_form_of(request.form) if is_post else None,
                    headers=(*request.headers, *(_FORM if is_post else ())),
                    ssl=request.tls or True,
                    server_hostname=request.server_name or None,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=None),
                ) as response,
            ):
                body = await self._read(response)
                headers = {name.lower(): value for name, value in response.headers.items()}
                return HttpReply(response.status, headers, body)
        except TimeoutError as error:
            raise HttpFailure(
                HttpProblem.TIMEOUT, f"no whole answer within {request.timeout_seconds:g} s"
            ) from error
        except (aiohttp.ClientError, ssl.SSLError, OSError, ValueError) as error:
            raise _failure_of(error, is_tls=request.url.startswith("https:")) from error

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0, socket_factory=GuardedSockets(loopback=self._loopback)
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=self._trust_env,
                headers={"User-Agent": "drifttrigger", "Accept": "application/json"},
            )
        return self._session

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        chunks: list[bytes] = []
        size = 0
        async for chunk in response.content.iter_chunked(_CHUNK):
            size += len(chunk)
            if size > self._max_bytes:
                response.close()
                raise HttpFailure(
                    HttpProblem.TOO_LARGE, f"the answer is larger than {self._max_bytes} bytes"
                )
            chunks.append(chunk)
        return b"".join(chunks)


def _form_of(form: Mapping[str, str]) -> bytes:
    """Encode a form; a joined expression is long, and yarl does it nine times as fast as urllib."""
    return URL().with_query(form).raw_query_string.encode()


def _failure_of(error: Exception, *, is_tls: bool) -> HttpFailure:
    tls = _tls_error(error)
    if tls:
        return HttpFailure(HttpProblem.TLS, f"TLS: {_in_words(tls)}")
    if isinstance(error, aiohttp.ClientConnectorError):
        return HttpFailure(HttpProblem.CONNECT, f"can't connect: {error.os_error or error}")
    if isinstance(error, aiohttp.InvalidURL):
        return HttpFailure(HttpProblem.CONNECT, f"no URL: {error}")
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError):
        # In TLS 1.3 a server refuses a client only after the handshake, and may close the
        # connection so quickly that its alert is lost.
        hint = "; over TLS that may mean that it wants another tls.clientCertificate"
        return HttpFailure(
            HttpProblem.HUNG_UP, f"the server hung up before it answered{hint * is_tls}"
        )
    return HttpFailure(HttpProblem.PROTOCOL, f"{type(error).__name__}: {error}")


def _in_words(text: str) -> str:
    """Take OpenSSL's file names off, and say what to do where that is known."""
    text = _OPENSSL.sub("", text).rstrip(". ")
    hint = next((hint for words, hint in _TLS_HINTS.items() if words in text), "")
    return f"{text}; {hint}" if hint else text


def _tls_error(error: BaseException) -> str:
    """Say what is wrong with TLS; a server that wants a certificate says so after the handshake."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return str(error.certificate_error)
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return str(error.os_error)
    if isinstance(error, ssl.SSLError):
        return str(error)
    return _tls_error(error.__cause__) if error.__cause__ is not None else ""
