"""Server blocks beyond their types: what the definitions' rules say, for files without a cluster.

The API server refuses all of this by CEL. Here it is said once more, since `check -f` knows no API
server and since an older definition may have let something through.
"""

import re
from datetime import timedelta
from urllib.parse import urlsplit

from drifttrigger.api.errors import SpecError
from drifttrigger.api.servers import Auth, Header, PrometheusServer, SourceRef, Tls
from drifttrigger.core.times import parse_duration

DEFAULT_SOURCE = "default"
NO_SOURCE = SourceRef(name="")
"""What a trigger means that names no source: the operator's default one."""
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}", re.ASCII)
_RESERVED_HEADERS = re.compile(
    r"host|authorization|content-.*|transfer-encoding|connection|te|trailer|upgrade|keep-alive"
    r"|proxy-.*|accept-encoding",
    re.IGNORECASE,
)
_RESERVED_PARAMETERS = frozenset({"query", "time", "timeout", "start", "end", "step"})
_TIMEOUT_SECONDS = (1, 120)


def source_name(source: PrometheusServer | SourceRef) -> str:
    """Name where scores come from, for people: the address, or kind and name."""
    if isinstance(source, PrometheusServer):
        return source.address
    return f"{source.kind.value}/{source.name}" if source.name else f"{source.kind.value} (default)"


def source_identity(source: PrometheusServer | SourceRef) -> object:
    """Return what makes a source another one: its change ends an episode.

    Inline that is the address and what chooses the data there (a tenant's header, parameters), not
    how it is reached. By reference it is the reference: whoever moves a shared server to another
    address does not reset every model that it watches.
    """
    if isinstance(source, SourceRef):
        return [source.kind, source.name]
    headers = sorted((h.name.lower(), h.value) for h in source.headers if h.value is not None)
    parameters = [(p.name, p.value) for p in source.query_parameters]
    return [source.address, headers, parameters] if headers or parameters else source.address


def check_server(server: PrometheusServer, *, field: str) -> timedelta:
    """Check a server block.

    Args:
        server: The block.
        field: Where it stands, as in `spec.prometheus`.

    Returns:
        Its timeout.

    Raises:
        SpecError: A field can't be used; names the field.
    """
    _check_url(server.address, f"{field}.address", query=False)
    _check_headers(server.headers, f"{field}.headers")
    for parameter in server.query_parameters:
        if parameter.name in _RESERVED_PARAMETERS:
            raise SpecError(f"{field}.queryParameters", f"{parameter.name} is set by the operator")
    if server.auth is not None:
        _check_auth(server.auth, f"{field}.auth")
    if server.tls is not None:
        _check_tls(server.tls, f"{field}.tls", address=server.address)
    timeout = parse_duration(server.timeout, field=f"{field}.timeout")
    low, high = _TIMEOUT_SECONDS
    if not low <= timeout.total_seconds() <= high:
        raise SpecError(f"{field}.timeout", f"must be between {low} and {high} seconds")
    return timeout


def _check_url(url: str, field: str, *, query: bool) -> None:
    try:
        parts = urlsplit(url)
        is_whole = parts.scheme in ("http", "https") and bool(parts.hostname)
        is_whole = is_whole and parts.port != 0 and not re.search(r"\s", url)
    except ValueError:
        is_whole = False
    if not is_whole:
        raise SpecError(field, "must be an http:// or https:// URL with a host")
    if "@" in parts.netloc:
        raise SpecError(field, "must not hold a user or password")
    if "#" in url or ("?" in url and not query):
        raise SpecError(field, "must not have a query or fragment; give the base URL only")


def _check_headers(headers: tuple[Header, ...], field: str) -> None:
    names = [header.name.lower() for header in headers]
    for header in headers:
        if not _TOKEN.fullmatch(header.name):
            raise SpecError(field, f"{header.name!r} is no name of a header")
        if _RESERVED_HEADERS.fullmatch(header.name):
            raise SpecError(field, f"{header.name} is set by the operator; credentials go to auth")
        if names.count(header.name.lower()) > 1:
            raise SpecError(field, f"{header.name} stands twice")
        if (header.value is None) == (header.value_from is None):
            raise SpecError(field, f"{header.name} needs exactly one of value and valueFrom")
        if header.value is not None and not header.value.isprintable():
            raise SpecError(field, f"the value of {header.name} has unprintable characters")


def _check_auth(auth: Auth, field: str) -> None:
    given = [auth.basic, auth.bearer, auth.oauth2]
    if sum(one is not None for one in given) != 1:
        raise SpecError(field, "needs exactly one of basic, bearer and oauth2")
    if auth.oauth2 is not None:
        _check_url(auth.oauth2.token_url, f"{field}.oauth2.tokenURL", query=True)


def _check_tls(tls: Tls, field: str, *, address: str) -> None:
    if not address.startswith("https:"):
        raise SpecError(field, "is for https addresses only")
    ca = tls.ca_from
    if ca is not None and (ca.config_map_key_ref is None) == (ca.secret_key_ref is None):
        raise SpecError(f"{field}.caFrom", "needs exactly one of configMapKeyRef and secretKeyRef")
    if tls.insecure_skip_verify and (ca is not None or tls.server_name):
        raise SpecError(f"{field}.insecureSkipVerify", "excludes caFrom and serverName")
