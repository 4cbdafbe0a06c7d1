"""A small HTTP client for readiness, tokens and Prometheus on loopback.

The operator's own clients are asynchronous and live in another room; starting a cluster needs five
synchronous calls. No proxy is ever used: the servers are on 127.0.0.1.
"""

import http.client
import json
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said.

    Args:
        status: HTTP status.
        body: As it came.
    """

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Rest:
    """A client of one server.

    Args:
        url: `http://` or `https://`, host and port.
        ca_file: What an https server is verified with; None trusts the system's authorities.
        token: Bearer token; None sends none.
    """

    url: str
    ca_file: Path | None = None
    token: str | None = None

    def get(self, path: str) -> Answer:
        """Read."""
        return self.send("GET", path)

    def send(self, method: str, path: str, *, body: object = None) -> Answer:
        """Send one request, with a JSON body when there is one.

        Raises:
            OSError: The server can't be reached, is not who it should be, or did not answer in
                5 seconds.
        """
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        connection = self._connection()
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, body=content, headers=headers)
            response = connection.getresponse()
            return Answer(status=response.status, body=response.read())
        except http.client.HTTPException as error:
            raise ConnectionError(f"{self.url} broke off: {error!r}") from error
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        host = parts.hostname or "127.0.0.1"
        if parts.scheme == "http":
            return http.client.HTTPConnection(host, parts.port, timeout=_TIMEOUT_SECONDS)
        context = ssl.create_default_context(cafile=self.ca_file)
        return http.client.HTTPSConnection(
            host, parts.port, timeout=_TIMEOUT_SECONDS, context=context
        )
