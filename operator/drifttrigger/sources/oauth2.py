"""Tokens by OAuth 2.0 client credentials (RFC 6749, section 4.4).

A token is kept until shortly before it expires. Only `Credentials` asks, under its lock, so that at
most one refresh is under way.
"""

import base64
import ssl
from urllib.parse import quote

import msgspec
import orjson

from drifttrigger.api.errors import CredentialError
from drifttrigger.api.servers import OAuth2
from drifttrigger.clients.clock import Clock
from drifttrigger.clients.http import HttpClient, HttpFailure, HttpReply, HttpRequest
from drifttrigger.core.observation import clean

TIMEOUT_SECONDS = 10.0
DEFAULT_LIFETIME_SECONDS = 300.0
"""Where the server does not say (`expires_in` is only recommended)."""
_EARLY = 0.1
_EARLY_AT_MOST_SECONDS = 30.0
_SHORTEST_SECONDS = 1.0


class _Token(msgspec.Struct, frozen=True):
    text: str
    secret: str
    until: float


class TokenSource:
    """Fetches and keeps the token of one client.

    Args:
        oauth2: The client, and where its tokens come from.
        http: Connections.
        clock: The clock.
    """

    def __init__(self, oauth2: OAuth2, http: HttpClient, clock: Clock) -> None:
        self._oauth2 = oauth2
        self._http = http
        self._clock = clock
        self._token: _Token | None = None
        self._in_body = False

    def lifetime_seconds(self) -> float:
        """Return how long the present token is good for; 0 without one."""
        return max(0.0, self._token.until - self._clock.monotonic()) if self._token else 0.0

    async def token(self, secret: str, *, tls: ssl.SSLContext | None, renew: bool) -> str:
        """Return a token that has not expired.

        Args:
            secret: The client's secret, as it is now.
            tls: SSL context of the token endpoint; None for the system's certificates.
            renew: Fetch a new one, since the server refused the present one.

        Raises:
            CredentialError: The endpoint does not answer, or refuses the client, or answers with
                no token.
        """
        token = self._token
        is_same = token is not None and token.secret == secret
        if token is not None and is_same and not renew and self.lifetime_seconds() > 0:
            return token.text
        self._token = None
        reply = await self._ask(secret, tls)
        if reply.status in (400, 401) and not self._in_body:
            # Some servers take the client's secret in the body only (RFC 6749, section 2.3.1).
            self._in_body = True
            again = await self._ask(secret, tls)
            self._in_body = again.status == 200
            reply = again if again.status == 200 else reply
        self._token = self._read(reply, secret)
        return self._token.text

    async def _ask(self, secret: str, tls: ssl.SSLContext | None) -> HttpReply:
        form = {"grant_type": "client_credentials"}
        if self._oauth2.scopes:
            form["scope"] = " ".join(self._oauth2.scopes)
        headers: list[tuple[str, str]] = []
        if self._in_body:
            form |= {"client_id": self._oauth2.client_id, "client_secret": secret}
        else:
            headers.append(("Authorization", f"Basic {self._coded(secret)}"))
        request = HttpRequest(
            method="POST",
            url=self._oauth2.token_url,
            form=form,
            headers=headers,
            tls=tls,
            timeout_seconds=TIMEOUT_SECONDS,
        )
        try:
            return await self._http.send(request)
        except HttpFailure as failure:
            # Not chained: the error may repeat what was sent.
            told = self._without_secrets(str(failure), secret)
            raise CredentialError(f"auth.oauth2.tokenURL: {clean(told)}") from None

    def _coded(self, secret: str) -> str:
        pair = f"{quote(self._oauth2.client_id, safe='')}:{quote(secret, safe='')}"
        return base64.b64encode(pair.encode()).decode()

    def _without_secrets(self, text: str, secret: str) -> str:
        for hidden in (self._coded(secret), quote(secret, safe=""), secret):
            text = text.replace(hidden, "[hidden]")
        return text

    def _read(self, reply: HttpReply, secret: str) -> _Token:
        try:
            answer = orjson.loads(reply.body)
        except orjson.JSONDecodeError:
            answer = None
        answer = answer if isinstance(answer, dict) else {}
        text = answer.get("access_token")
        if reply.status != 200 or not isinstance(text, str) or not text.isprintable() or not text:
            said = answer.get("error") or f"HTTP {reply.status}"
            told = f"{said} {answer.get('error_description') or ''}"
            detail = clean(self._without_secrets(told, secret), limit=200)
            raise CredentialError(f"auth.oauth2.tokenURL gave no token: {detail}")
        lifetime = answer.get("expires_in")
        if isinstance(lifetime, bool) or not isinstance(lifetime, int | float) or lifetime <= 0:
            lifetime = DEFAULT_LIFETIME_SECONDS
        early = min(_EARLY_AT_MOST_SECONDS, lifetime * _EARLY)
        lasts = max(_SHORTEST_SECONDS, min(float(lifetime), 86_400.0) - early)
        return _Token(text, secret, self._clock.monotonic() + lasts)
