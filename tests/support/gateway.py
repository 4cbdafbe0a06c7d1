"""What stands before Prometheus on many platforms: tokens, tenants, and an endpoint for tokens.

It also does what real ones do to the careless: an error page repeats the header that was sent.
"""

import base64
import http.client
import json
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass
class Gateway:
    """A gateway that runs; a context manager.

    Args:
        upstream: URL of the Prometheus behind it.
        tokens: Bearer tokens that it lets in; None lets everybody in.
        clients: Clients of the token endpoint, `/token`, with their secrets.
        lifetime_seconds: How long a token of the endpoint is good for.
        headers: Headers that a request must have.
        parameters: Parameters that a request must have in its URL.
        hangs: Whether it takes requests and never answers.
        asked: Path of each request.
    """

    upstream: str
    tokens: set[str] | None = None
    clients: dict[str, str] = field(default_factory=dict)
    lifetime_seconds: int = 3600
    headers: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    hangs: bool = False
    asked: list[str] = field(default_factory=list)
    issued: list[str] = field(default_factory=list)

    def __enter__(self) -> "Gateway":
        gateway = self

        class Handler(_Handler):
            of = gateway

        self._closed = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def address(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def issue(self) -> str:
        """Make a token that is let in."""
        token = f"issued-token-{len(self.issued)}-5Hw3"
        self.issued.append(token)
        self.tokens = {*(self.tokens or ()), token}
        return token

    def hang(self) -> None:
        """Wait until the end."""
        self._closed.wait()


class _Handler(BaseHTTPRequestHandler):
    of: Gateway
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        self._handle()

    def do_GET(self) -> None:
        self._handle()

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.of.asked.append(self.path)
        if self.of.hangs:
            self.of.hang()
        elif self.path == "/token":
            self._token(parse_qs(body.decode()))
        elif why := self._refusal():
            self._answer(401, f"<h1>{why}</h1> you sent {self.headers.get('Authorization')}")
        else:
            self._forward(body)

    def _refusal(self) -> str:
        kind, _, token = (self.headers.get("Authorization") or "").partition(" ")
        if self.of.tokens is not None and (kind != "Bearer" or token not in self.of.tokens):
            return "this token is not known"
        for name, value in self.of.headers.items():
            if self.headers.get(name) != value:
                return f"this {name} is not known"
        given = parse_qs(urlsplit(self.path).query)
        for name, value in self.of.parameters.items():
            if given.get(name) != [value]:
                return f"{name} must be {value}"
        return ""

    def _token(self, form: dict[str, list[str]]) -> None:
        coded = (self.headers.get("Authorization") or "").removeprefix("Basic ")
        name, _, secret = base64.b64decode(coded).decode().partition(":")
        if form.get("grant_type") != ["client_credentials"]:
            self._say(400, {"error": "unsupported_grant_type"})
        elif self.of.clients.get(unquote(name), object()) != unquote(secret):
            self._say(401, {"error": "invalid_client", "error_description": f"not {coded}"})
        else:
            lifetime = self.of.lifetime_seconds
            self._say(200, {"access_token": self.of.issue(), "expires_in": lifetime})

    def _forward(self, body: bytes) -> None:
        upstream = urlsplit(self.of.upstream)
        connection = http.client.HTTPConnection(upstream.netloc, timeout=10)
        headers = {"Content-Type": self.headers.get("Content-Type") or "text/plain"}
        connection.request(self.command, upstream.path + self.path, body, headers)
        reply = connection.getresponse()
        self._answer(reply.status, reply.read(), kind=reply.headers.get("Content-Type", ""))
        connection.close()

    def _say(self, status: int, answer: dict[str, Any]) -> None:
        self._answer(status, json.dumps(answer), kind="application/json")

    def _answer(self, status: int, body: str | bytes, *, kind: str = "text/html") -> None:
        content = body.encode() if isinstance(body, str) else body
        with suppress(BrokenPipeError, ConnectionResetError):  # who asked has gone
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)


def wait_until_asked(gateway: Gateway, *, within_seconds: float = 15.0) -> None:
    """Wait until somebody has asked it."""
    deadline = time.monotonic() + within_seconds
    while not gateway.asked:
        assert time.monotonic() < deadline
        time.sleep(0.02)
