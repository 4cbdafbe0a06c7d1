"""What a process is told at its start: validated values, printed once, nothing secret."""

import socket
from enum import StrEnum
from pathlib import Path

import msgspec

from drifttrigger.api.errors import UsageError
from drifttrigger.core.servers import DEFAULT_SOURCE

_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class Controller(StrEnum):
    """The two controllers."""

    DETECTION = "detection"
    EXECUTION = "execution"


class LogFormat(StrEnum):
    """How log lines look."""

    JSON = "json"
    TEXT = "text"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of `drifttrigger operator`.

    Attributes:
        controllers: Which controllers this process runs.
        namespaces: The namespaces it looks at; empty for all (needs cluster-wide rights).
        kubeconfig: Path of a kubeconfig; empty for in-cluster, then the default one.
        context: Context of the kubeconfig; empty for the current one.
        metrics_address: host:port of /metrics; empty for none.
        health_address: host:port of /healthz and /readyz; empty for none.
        log_format: json or text.
        log_level: INFO, DEBUG, …
        api_write_budget: Writes a second to the API server, all but intents.
        max_starts_per_minute: Jobs that this process starts in any minute.
        max_in_flight_per_source: Requests under way at once to one metrics server.
        default_source: ClusterMetricsSource of triggers that name no source.
        operator_namespace: Whose Secrets ClusterMetricsSources name; empty for that of the pod.
        lease_namespace: Where replicas announce themselves; empty for the operator's own namespace.
        proxy_from_env: Whether metrics servers are reached through the proxies of the environment.
        identity: Name of this process in Events and logs.
        resync_seconds: Mean time between two comparisons with the API server's lists.
    """

    controllers: tuple[Controller, ...] = (Controller.DETECTION, Controller.EXECUTION)
    namespaces: tuple[str, ...] = ()
    kubeconfig: str = ""
    context: str = ""
    metrics_address: str = "127.0.0.1:9095"
    health_address: str = "127.0.0.1:9096"
    log_format: LogFormat = LogFormat.JSON
    log_level: str = "INFO"
    api_write_budget: float = 20.0
    max_starts_per_minute: int = 20
    max_in_flight_per_source: int = 8
    default_source: str = DEFAULT_SOURCE
    operator_namespace: str = ""
    lease_namespace: str = ""
    proxy_from_env: bool = False
    identity: str = ""
    resync_seconds: float = 180.0

    @property
    def own_namespace(self) -> str:
        """The operator's own namespace."""
        return self.operator_namespace or _namespace_of_pod() or "drifttrigger-system"

    @property
    def name(self) -> str:
        """The identity, by default the host's name."""
        return self.identity or socket.gethostname()


def _namespace_of_pod() -> str:
    """Read in which namespace this pod runs; empty where this is none."""
    return _POD_NAMESPACE.read_text().strip() if _POD_NAMESPACE.is_file() else ""


def split_address(text: str, *, flag: str) -> tuple[str, int]:
    """Split host:port; an empty host means all addresses.

    Raises:
        UsageError: It is no such pair.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"{flag}: {text!r} is no host:port")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - asked for by the empty host
