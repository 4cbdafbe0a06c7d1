"""From a trigger to the server that its scores come from, for commands that ask once.

Inline servers without credentials need no cluster. References and credentials are read with the
rights of whoever runs the command. `--address` asks another server without any credential of the
trigger's: a credential is bound to the address it is for. `--via-apiserver` goes through the API
server's service proxy, for a laptop that reaches the cluster but not its services.
"""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click
import msgspec
from msgspec.structs import replace

from drifttrigger.api.errors import CredentialError, UsageError
from drifttrigger.api.servers import PrometheusServer
from drifttrigger.cli.connection import Connection
from drifttrigger.clients.clock import SystemClock
from drifttrigger.clients.http import HttpClient, HttpFailure
from drifttrigger.clients.kube import KubeApi, KubernetesApi
from drifttrigger.clients.secrets import Secrets
from drifttrigger.core.observation import Answer
from drifttrigger.core.rules import Rules
from drifttrigger.core.servers import DEFAULT_SOURCE, check_server
from drifttrigger.sources.credentials import Carrier, Credentials, Material
from drifttrigger.sources.prometheus import PrometheusSource, names_objects
from drifttrigger.sources.references import References

CommandT = TypeVar("CommandT", bound=Callable[..., Any])
_SERVICE = re.compile(r"(?P<name>[a-z0-9-]+)\.(?P<namespace>[a-z0-9-]+)(\.svc(\..*)?)?")
_OPERATOR_NAMESPACE = "drifttrigger-system"


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """How a command reaches the server.

    Attributes:
        address: Ask this server instead; None for the trigger's own.
        via_apiserver: Whether to go through the API server's service proxy.
        operator_namespace: Whose Secrets a ClusterMetricsSource names.
    """

    address: str | None = None
    via_apiserver: bool = False
    operator_namespace: str = _OPERATOR_NAMESPACE


class Reached(msgspec.Struct, frozen=True):
    """A server that can be asked.

    Attributes:
        server: Its block, with the address that is really asked.
        carrier: What requests carry.
        http: Connections.
    """

    server: PrometheusServer
    carrier: Carrier
    http: HttpClient

    async def ask(self, query: str, at: datetime) -> Answer:
        """Ask one instant query."""
        source = PrometheusSource(self.http, Secrets(None, SystemClock()), SystemClock())
        return await source.ask_through(source.connect(self.server, self.carrier), query, at)

    async def material(self) -> Material:
        """Return what requests carry, for clients of other libraries.

        Raises:
            UsageError: A credential can't be had; says why.
        """
        try:
            return await self.carrier.material()
        except (CredentialError, HttpFailure) as error:
            raise UsageError(str(error)) from error


def reach_options(command: CommandT) -> CommandT:
    """Give a command the flags of `Way`; it gets one argument `way` for them."""

    def gather(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
        before = context.params.get("way") or Way()
        given = {str(parameter.name).removeprefix("way_"): value}
        context.params["way"] = replace(before, **given)
        return value

    flags: list[tuple[tuple[str, ...], dict[str, Any]]] = [
        (
            ("--address", "way_address"),
            {"help": "Ask this server instead, without the trigger's credentials."},
        ),
        (
            ("--via-apiserver", "way_via_apiserver"),
            {"is_flag": True, "help": "Reach the server through the API server's proxy."},
        ),
        (
            ("--operator-namespace", "way_operator_namespace"),
            {
                "default": _OPERATOR_NAMESPACE,
                "show_default": True,
                "help": "Namespace of the Secrets that a ClusterMetricsSource names.",
            },
        ),
    ]
    for names, settings in reversed(flags):
        command = click.option(*names, callback=gather, expose_value=False, **settings)(command)
    return command


@asynccontextmanager
async def reached(
    rules: Rules, namespace: str | None, connection: Connection, way: Way
) -> AsyncIterator[Reached]:
    """Find the way to the server of a trigger, and keep it open in the block.

    Args:
        rules: The trigger's rules.
        namespace: The trigger's; None for that of the flags.
        connection: Which cluster, where one is needed.
        way: How to reach the server.

    Raises:
        UsageError: It can't be reached so; says what to do.
    """
    async with AsyncExitStack() as stack:
        http = HttpClient()
        stack.push_async_callback(http.close)
        if way.address is not None:
            if way.via_apiserver:
                raise UsageError("--address and --via-apiserver exclude each other")
            server = _elsewhere(rules.source, way.address)
            yield Reached(server, _credentials(server, "", None, http), http)
            return
        inline = rules.source if isinstance(rules.source, PrometheusServer) else None
        if inline is not None and not names_objects(inline) and not way.via_apiserver:
            yield Reached(inline, _credentials(inline, "", None, http), http)
            return
        cluster = await stack.enter_async_context(connection.open())
        where = namespace or cluster.namespace
        references = References(
            cluster.kube,
            SystemClock(),
            namespace=way.operator_namespace,
            default=DEFAULT_SOURCE,
        )
        resolved = await references.resolve(rules.source, where)
        if isinstance(resolved, Answer):
            raise UsageError(resolved.message)
        server, whose = resolved
        if way.via_apiserver:
            server, carrier = await _proxied(server, cluster.kube)
            yield Reached(server, carrier, http)
            return
        yield Reached(server, _credentials(server, whose, cluster.kube, http), http)


def _credentials(
    server: PrometheusServer, namespace: str, kube: KubeApi | None, http: HttpClient
) -> Credentials:
    clock = SystemClock()
    return Credentials(server, namespace, secrets=Secrets(kube, clock), http=http, clock=clock)


def _elsewhere(source: object, address: str) -> PrometheusServer:
    """Make the block for --address: what chooses the data stays, credentials do not go along."""
    server = PrometheusServer(address=address)
    if isinstance(source, PrometheusServer):
        server = replace(
            server,
            timeout=source.timeout,
            headers=tuple(h for h in source.headers if h.value is not None),
            query_parameters=source.query_parameters,
        )
    check_server(server, field="--address")
    return server


class _Fixed:
    """Carries the same with every request."""

    def __init__(self, material: Material) -> None:
        self._material = material

    async def material(self, *, refused: Material | None = None) -> Material:
        """Return it; there is no other."""
        del refused
        return self._material


async def _proxied(
    server: PrometheusServer, kube: KubernetesApi
) -> tuple[PrometheusServer, Carrier]:
    """Lead a block through the API server's proxy, with our rights there.

    The proxy takes the Authorization header for itself and shows a certificate of its own, so that
    a server with credentials can't be reached so.
    """
    tls = server.tls
    if (
        server.auth is not None
        or any(header.value_from is not None for header in server.headers)
        or (tls is not None and tls.client_certificate is not None)
    ):
        raise UsageError(
            "the API server's proxy does not pass credentials on; use kubectl port-forward and "
            "--address"
        )
    parts = urlsplit(server.address)
    if ".." in parts.path.split("/"):
        raise UsageError(f"{server.address} leads upwards, which the API server's path must not")
    service = _SERVICE.fullmatch(parts.hostname or "")
    if service is None:
        raise UsageError(
            f"{server.address} names no Service (name.namespace), which --via-apiserver needs"
        )
    port = parts.port or (443 if parts.scheme == "https" else 80)
    path = f"/api/v1/namespaces/{service['namespace']}/services"
    path += f"/{parts.scheme}:{service['name']}:{port}/proxy{parts.path.rstrip('/')}"
    token = await kube.transport.authorization()
    headers = [(h.name, h.value or "") for h in server.headers]
    if token is not None:
        headers.append(("Authorization", token))
    material = Material(headers=tuple(headers), tls=kube.transport.tls)
    address = kube.transport.host + path
    return replace(server, address=address, tls=None), _Fixed(material)
