"""The way to the API server: the `kubernetes` package logs in, aiohttp and orjson carry.

Kubeconfigs, exec plugins, OIDC and in-cluster tokens that are re-read are the package's. Its own
requests take several times the CPU (docs/adr/0005), and its typed models refuse valid user
templates, so bodies go as they are.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import orjson
from kubernetes.aio import client, config
from multidict import CIMultiDict
from yarl import URL

from drifttrigger import __version__
from drifttrigger.api.errors import UsageError

Query = Sequence[tuple[str, str]]
JSON = "application/json"
_CONNECTIONS = 64
_TIMEOUT = aiohttp.ClientTimeout(total=None)
"""Whoever asks says how long; a watch has no end."""


async def _log_in(
    configuration: client.Configuration, *, kubeconfig: str | None, context: str | None
) -> None:
    named = kubeconfig or context or os.environ.get("KUBECONFIG")
    if not named and os.environ.get("KUBERNETES_SERVICE_HOST"):
        config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call] # the package is untyped here
        return
    await config.load_kube_config(  # type: ignore[no-untyped-call] # the package is untyped here
        config_file=kubeconfig, context=context, client_configuration=configuration
    )


def _proxy_of(url: str) -> str | None:
    """Return the proxy that the environment has for a URL."""
    parts = urlsplit(url)
    is_bypassed = proxy_bypass(parts.hostname or "")
    return None if is_bypassed else getproxies().get(parts.scheme)


class Transport:
    """Logged-in requests to one API server.

    Args:
        configuration: What the log-in found.

    Attributes:
        host: Address of the API server, maybe with a path, without a slash at its end.
        tls: How its certificate is checked, and the client's own.
        headers: Sent with every request, beside the token.
    """

    def __init__(self, configuration: client.Configuration) -> None:
        self._configuration = configuration
        self.host = str(configuration.host).rstrip("/")
        self.tls = client.ApiClient(configuration).rest_client.ssl_context
        self.headers: CIMultiDict[str] = CIMultiDict({"User-Agent": f"drifttrigger/{__version__}"})
        # Looked up once: aiohttp's `trust_env` would ask a thread for it at every request.
        self._proxy = str(configuration.proxy or "") or _proxy_of(self.host)
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    async def log_in(
        cls, *, kubeconfig: str | None = None, context: str | None = None
    ) -> "Transport":
        """Log in: the kubeconfig named, else KUBECONFIG, else in-cluster, else ~/.kube/config.

        Raises:
            UsageError: There is none of them, or it can't be used.
        """
        configuration = client.Configuration()
        try:
            await _log_in(configuration, kubeconfig=kubeconfig, context=context)
            return cls(configuration)
        except (config.ConfigException, OSError, TypeError, ValueError, KeyError) as error:
            raise UsageError(
                f"no cluster to talk to: {error}; set KUBECONFIG or pass --kubeconfig"
            ) from error

    async def authorization(self) -> str | None:
        """Return the Authorization header as it is now; a token that expires is had anew."""
        token = (await self._configuration.auth_settings()).get("BearerToken")
        return str(token["value"]) if token is not None else None

    def session(
        self, *, limit: int = 0, middlewares: Sequence[aiohttp.ClientMiddlewareType] = ()
    ) -> aiohttp.ClientSession:
        """Open connections that are checked as the log-in says; they carry no token yet.

        Args:
            limit: Connections at once; 0 for any number.
            middlewares: What stands between a request and the connection.
        """
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=limit, ssl=self.tls),
            middlewares=middlewares,
            cookie_jar=aiohttp.DummyCookieJar(),
            proxy=self._proxy,
            timeout=_TIMEOUT,
        )

    async def send(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        body: Any = None,
        headers: Mapping[str, str],
    ) -> aiohttp.ClientResponse:
        """Send one request; the caller bounds the time, and reads or closes the response."""
        sent = CIMultiDict(self.headers)
        sent.update(headers)
        token = await self.authorization()
        if token is not None:
            sent["Authorization"] = token
        if self._session is None:
            self._session = self.session(limit=_CONNECTIONS)
        return await self._session.request(
            method,
            URL(self.host + path).with_query(query),
            data=orjson.dumps(body) if body is not None else None,
            headers=sent,
            server_hostname=self._configuration.tls_server_name or None,
            proxy_headers=self._configuration.proxy_headers,
        )

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None
