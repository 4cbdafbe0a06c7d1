"""A Prometheus-compatible server as users declare it: inline, MetricsSource, ClusterMetricsSource.

One block and one meaning wherever it stands. It names Secrets and ConfigMaps and never holds what
is in them; `clients.secrets` reads those when they are used.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Value(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, gc=False
):
    """A value as the API server holds it: camelCase, absent where it is the default.

    Never part of a cycle, so the garbage collector need not walk it: at 10,000 triggers it would
    walk over a hundred thousand of them, again and again.
    """


class Batching(StrEnum):
    """Whether queries may share a request."""

    AUTO = "Auto"
    DISABLED = "Disabled"


class SourceKind(StrEnum):
    """The kinds that `sourceRef` may name."""

    METRICS_SOURCE = "MetricsSource"
    CLUSTER_METRICS_SOURCE = "ClusterMetricsSource"


class KeyRef(Value, frozen=True, kw_only=True):
    """One key of a Secret or ConfigMap."""

    name: str
    key: str


class SecretValue(Value, frozen=True, kw_only=True):
    """A value that is in a Secret."""

    secret_key_ref: KeyRef


class CertificateBundle(Value, frozen=True, kw_only=True):
    """Certificates in PEM; exactly one of the two."""

    config_map_key_ref: KeyRef | None = None
    secret_key_ref: KeyRef | None = None


class Header(Value, frozen=True, kw_only=True):
    """A header of every request; exactly one of the two values."""

    name: str
    value: str | None = None
    value_from: SecretValue | None = None


class QueryParameter(Value, frozen=True, kw_only=True):
    """A parameter that is added to every query."""

    name: str
    value: str


class BasicAuth(Value, frozen=True, kw_only=True):
    """User and password (RFC 7617)."""

    username: str
    password_from: SecretValue


class BearerAuth(Value, frozen=True, kw_only=True):
    """A token that is in a Secret (RFC 6750)."""

    token_from: SecretValue


class OAuth2(Value, frozen=True, kw_only=True):
    """A token by client credentials (RFC 6749, section 4.4)."""

    token_url: str = msgspec.field(name="tokenURL")
    client_id: str = msgspec.field(name="clientID")
    client_secret_from: SecretValue
    scopes: tuple[str, ...] = ()


class Auth(Value, frozen=True, kw_only=True):
    """Who we are to the server; exactly one of them."""

    basic: BasicAuth | None = None
    bearer: BearerAuth | None = None
    oauth2: OAuth2 | None = None


class ClientCertificate(Value, frozen=True, kw_only=True):
    """A kubernetes.io/tls Secret whose certificate is shown to the server."""

    secret_name: str


class Tls(Value, frozen=True, kw_only=True):
    """How the server's certificate is checked, and what we show."""

    ca_from: CertificateBundle | None = None
    client_certificate: ClientCertificate | None = None
    server_name: str = ""
    insecure_skip_verify: bool = False


class PrometheusServer(Value, frozen=True, kw_only=True):
    """A Prometheus-compatible server."""

    address: str
    timeout: str = "10s"
    headers: tuple[Header, ...] = ()
    query_parameters: tuple[QueryParameter, ...] = ()
    auth: Auth | None = None
    tls: Tls | None = None
    batching: Batching = Batching.AUTO


class SourceRef(Value, frozen=True, kw_only=True):
    """A source by name; a MetricsSource is of the trigger's own namespace."""

    kind: SourceKind = SourceKind.CLUSTER_METRICS_SOURCE
    name: str


class LabelRequirement(Value, frozen=True, kw_only=True):
    """One expression of a label selector."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


class LabelSelector(Value, frozen=True, kw_only=True):
    """A label selector; an empty one selects all."""

    match_labels: dict[str, str] = msgspec.field(default_factory=dict)
    match_expressions: tuple[LabelRequirement, ...] = ()


class AllowedNamespaces(Value, frozen=True, kw_only=True):
    """Whose triggers may use a cluster's source: named, or selected by the namespace's labels."""

    names: tuple[str, ...] = ()
    selector: LabelSelector | None = None


class MetricsSourceSpec(PrometheusServer, frozen=True, kw_only=True):
    """The spec of a MetricsSource: a server block."""


class ClusterMetricsSourceSpec(PrometheusServer, frozen=True, kw_only=True):
    """The spec of a ClusterMetricsSource; absent allowedNamespaces allow none."""

    allowed_namespaces: AllowedNamespaces | None = None
