"""HTTP to metrics servers: bounded in time and size, no redirects, no proxies from the environment.

The answer is capped after decompression, so that a small body can't unfold into a large one.
"""

import asyncio
import ssl
from collections.abc import Mapping
from enum import Enum

import aiohttp
import msgspec

from drifttrigger.api.errors import TransientError

MAX_BYTES = 8 * 1024 * 1024
_CHUNK = 64 * 1024


class HttpProblem(Enum):
    """Why there is no reply."""

    CONNECT = "connect"
    TLS = "tls"
    TIMEOUT = "timeout"
    TOO_LARGE = "too large"
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


class HttpReply(msgspec.Struct, frozen=True):
    """A whole reply: status, headers in lower case, decompressed body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpClient:
    """A pool of connections to metrics servers; one for the process."""

    def __init__(self, *, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(
        self, method: str, url: str, *, form: Mapping[str, str], timeout_seconds: float
    ) -> HttpReply:
        """Send one request, form-encoded (POST) or in the query string (GET).

        Raises:
            HttpFailure: There is no whole reply within time and size.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                headers={"User-Agent": "drifttrigger", "Accept": "application/json"},
            )
        try:
            async with asyncio.timeout(timeout_seconds):
                async with self._session.request(
                    method,
                    url,
                    data=form if method == "POST" else None,
                    params=form if method == "GET" else None,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=None),
                ) as response:
                    body = await self._read(response)
                    headers = {name.lower(): value for name, value in response.headers.items()}
                    return HttpReply(response.status, headers, body)
        except TimeoutError as error:
            raise HttpFailure(
                HttpProblem.TIMEOUT, f"no whole answer within {timeout_seconds:g} s"
            ) from error
        except (aiohttp.ClientError, ssl.SSLError, OSError, ValueError) as error:
            raise _failure_of(error) from error

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


def _failure_of(error: Exception) -> HttpFailure:
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return HttpFailure(HttpProblem.TLS, f"TLS: {error}")
    if isinstance(error, aiohttp.ClientConnectorError):
        return HttpFailure(HttpProblem.CONNECT, f"can't connect: {error.os_error or error}")
    if isinstance(error, aiohttp.InvalidURL):
        return HttpFailure(HttpProblem.CONNECT, f"no URL: {error}")
    return HttpFailure(HttpProblem.PROTOCOL, f"{type(error).__name__}: {error}")
