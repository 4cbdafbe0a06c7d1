"""What requests to one server carry: headers, parameters, certificates, tokens.

Values come from the Secrets that the server block names, through `clients.secrets`. They are looked
at again after at most a minute, and at once when the server refuses them, so that a rotation needs
no restart. Every text that a server answers goes through `Material.redact` before anyone sees it.
"""

import asyncio
import base64
import contextlib
import os
import ssl
import tempfile
from collections.abc import Iterator
from typing import Protocol

import msgspec

from drifttrigger.api.errors import CredentialError
from drifttrigger.api.servers import Header, KeyRef, PrometheusServer, SecretValue, Tls
from drifttrigger.clients.clock import Clock
from drifttrigger.clients.http import HttpClient
from drifttrigger.clients.secrets import KEPT_SECONDS, Secrets
from drifttrigger.sources.oauth2 import TokenSource

_SHORTEST_SECRET = 4
_HIDDEN = "[hidden]"


class Material(msgspec.Struct, frozen=True, kw_only=True):
    """What one request carries.

    Attributes:
        headers: Name and value.
        tls: How the server is checked; None for plain HTTP and for the system's certificates.
        hidden: Texts that nobody may see again.
    """

    headers: tuple[tuple[str, str], ...] = ()
    tls: ssl.SSLContext | None = None
    hidden: tuple[str, ...] = ()

    def redact(self, text: str) -> str:
        """Blot out the credentials that a server repeated."""
        for secret in self.hidden:
            text = text.replace(secret, _HIDDEN)
        return text


class Carrier(Protocol):
    """Says what requests to one server carry."""

    async def material(self, *, refused: Material | None = None) -> Material:
        """Return what the next request carries; see `Credentials`."""


class _TlsInputs(msgspec.Struct, frozen=True):
    """What an SSL context is made of, in PEM; empty where there is none."""

    ca: str = ""
    certificate: str = ""
    key: str = ""
    verifies: bool = True


class Credentials:
    """Makes and keeps the material of one server block.

    Args:
        server: The block.
        namespace: Whose Secrets and ConfigMaps it names.
        secrets: Reads them.
        http: For the token endpoint.
        clock: The clock.
    """

    def __init__(
        self,
        server: PrometheusServer,
        namespace: str,
        *,
        secrets: Secrets,
        http: HttpClient,
        clock: Clock,
    ) -> None:
        self._server = server
        self._namespace = namespace
        self._secrets = secrets
        self._clock = clock
        self._lock = asyncio.Lock()
        self._material: Material | None = None
        self._until = 0.0
        self._contexts: dict[_TlsInputs, ssl.SSLContext] = {}
        oauth2 = server.auth.oauth2 if server.auth is not None else None
        self._tokens = TokenSource(oauth2, http, clock) if oauth2 is not None else None

    async def material(self, *, refused: Material | None = None) -> Material:
        """Return what the next request carries.

        Args:
            refused: What the server has just refused: everything is read again, once.

        Raises:
            CredentialError: Something that the block names can't be read, or there is no token.
        """
        if refused is None and self._material is not None and self._clock.monotonic() < self._until:
            return self._material
        async with self._lock:
            is_fresh = self._material is not None and self._clock.monotonic() < self._until
            if self._material is not None and is_fresh and self._material is not refused:
                return self._material  # another request has just read it
            # Whoever asks next reads again if this fails half way.
            self._until = 0.0
            made = await self._make(fresh=refused is not None)
            if made != self._material:
                self._material = made
            self._until = self._clock.monotonic() + self._lifetime()
            return self._material or made

    def _lifetime(self) -> float:
        token = self._tokens.lifetime_seconds() if self._tokens is not None else KEPT_SECONDS
        return min(KEPT_SECONDS, token)

    async def _make(self, *, fresh: bool) -> Material:
        tls = await self._tls_inputs(fresh=fresh)
        headers: list[tuple[str, str]] = []
        hidden: list[str] = []
        for header in self._server.headers:
            value = await self._header(header, fresh=fresh)
            headers.append((header.name, value))
            if header.value_from is not None:
                hidden.append(value)
        authorization, parts = await self._authorization(tls, fresh=fresh)
        if authorization:
            headers.append(("Authorization", authorization))
        hidden += [*parts, authorization.partition(" ")[2]]
        return Material(
            headers=tuple(headers),
            tls=self._context(tls) if self._server.address.startswith("https:") else None,
            # The longest first: one may be the beginning of another.
            hidden=tuple(
                sorted({h for h in hidden if len(h) >= _SHORTEST_SECRET}, key=len, reverse=True)
            ),
        )

    async def _header(self, header: Header, *, fresh: bool) -> str:
        if header.value_from is None:
            return header.value or ""
        return await self._secret(header.value_from, f"headers {header.name}", fresh=fresh)

    async def _authorization(self, tls: _TlsInputs, *, fresh: bool) -> tuple[str, tuple[str, ...]]:
        """Return the header and the secrets that it was made of."""
        auth = self._server.auth
        if auth is None:
            return "", ()
        if auth.basic is not None:
            password = await self._secret(auth.basic.password_from, "auth.basic", fresh=fresh)
            pair = f"{auth.basic.username}:{password}".encode()
            return f"Basic {base64.b64encode(pair).decode()}", (password,)
        if auth.bearer is not None:
            token = await self._secret(auth.bearer.token_from, "auth.bearer", fresh=fresh)
            return f"Bearer {token}", ()
        if auth.oauth2 is None or self._tokens is None:
            return "", ()
        secret = await self._secret(auth.oauth2.client_secret_from, "auth.oauth2", fresh=fresh)
        # The token endpoint is another server: its certificate is always checked.
        context = self._context(_TlsInputs(tls.ca)) if tls.ca else None
        token = await self._tokens.token(secret, tls=context, renew=fresh)
        return f"Bearer {token}", (secret,)

    async def _secret(self, value: SecretValue, what: str, *, fresh: bool) -> str:
        text = await self._secrets.secret(self._namespace, value.secret_key_ref, fresh=fresh)
        if not text or not text.isprintable():
            where = f"key {value.secret_key_ref.key} of Secret {value.secret_key_ref.name}"
            raise CredentialError(f"{what}: {where} is empty or has unprintable characters")
        return text

    # TLS.

    async def _tls_inputs(self, *, fresh: bool) -> _TlsInputs:
        tls = self._server.tls or Tls()
        ca = await self._ca(tls, fresh=fresh)
        if tls.client_certificate is None:
            return _TlsInputs(ca, verifies=not tls.insecure_skip_verify)
        name = tls.client_certificate.secret_name
        certificate, key = [
            await self._secrets.secret(self._namespace, KeyRef(name=name, key=part), fresh=fresh)
            for part in ("tls.crt", "tls.key")
        ]
        if not certificate:
            raise CredentialError(f"tls.clientCertificate: tls.crt of Secret {name} is empty")
        return _TlsInputs(ca, certificate, key, not tls.insecure_skip_verify)

    async def _ca(self, tls: Tls, *, fresh: bool) -> str:
        source = tls.ca_from
        if source is None:
            return ""
        text = ""
        if source.config_map_key_ref is not None:
            ref = source.config_map_key_ref
            text = await self._secrets.config_map(self._namespace, ref, fresh=fresh)
        elif source.secret_key_ref is not None:
            text = await self._secrets.secret(self._namespace, source.secret_key_ref, fresh=fresh)
        if not text.strip():  # else the usual authorities would be trusted
            raise CredentialError("tls.caFrom holds no certificate in PEM: it is empty")
        return text

    def _context(self, inputs: _TlsInputs) -> ssl.SSLContext:
        if inputs not in self._contexts:
            made = make_context(inputs.ca, inputs.certificate, inputs.key, verifies=inputs.verifies)
            if len(self._contexts) >= 2:  # a rotation; connections of the old one run out
                self._contexts.clear()
            self._contexts[inputs] = made
        return self._contexts[inputs]


def make_context(ca: str, certificate: str, key: str, *, verifies: bool) -> ssl.SSLContext:
    """Make an SSL context for clients.

    Args:
        ca: Certificates to trust, in PEM; empty for the system's.
        certificate: Ours, in PEM, with its chain; empty for none.
        key: Its key, in PEM.
        verifies: Whether the server's certificate is checked.

    Raises:
        CredentialError: One of them is no PEM, or the key does not fit.
    """
    try:
        # Bundles have comments in all languages, which ssl does not take.
        pem = ca.encode("ascii", "replace").decode()
        context = ssl.create_default_context(cadata=pem or None)
    except (ssl.SSLError, ValueError) as error:
        raise CredentialError(f"tls.caFrom holds no certificate in PEM: {error}") from error
    if not verifies:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate:
        with _as_file(f"{certificate}\n{key}\n") as path:
            try:
                context.load_cert_chain(path, password="")
            except (ssl.SSLError, OSError, ValueError) as error:
                raise CredentialError(
                    f"tls.clientCertificate: certificate and key can't be used: {error}"
                ) from error
    return context


@contextlib.contextmanager
def _as_file(text: str) -> Iterator[str]:
    """Lend a text as a file, in memory where the system can: ssl reads keys from files only."""
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("drifttrigger"), "w") as file:
            file.write(text)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
        return
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(text)
        file.flush()
        yield file.name
