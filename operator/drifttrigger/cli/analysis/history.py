"""The past scores of a query or of a file, as a table.

Columns: `timestamp` (UTC), `series` (number in `labels`), `drift_score` (double) and `value`, the
server's own text of it. A missing row is no data; a row whose score is NaN is a score that is NaN.
"""

import ast
import json
import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pandas as pd
import requests
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from requests.adapters import HTTPAdapter

from drifttrigger.api.errors import UsageError
from drifttrigger.core.observation import clean, parse_value

Labels = Mapping[str, str]
_COLUMNS = ("timestamp", "drift_score")


@dataclass(frozen=True, slots=True)
class MetricsServer:
    """How to reach a metrics server.

    Args:
        address: Its base URL.
        session: Carries credentials, TLS and adapters; its owner closes it.
        timeout_seconds: Of one request.
    """

    address: str
    session: requests.Session
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class History:
    """Past scores.

    Args:
        table: See the module.
        labels: Of each series, by its number.
        warnings: The server's own, each once.
    """

    table: pd.DataFrame
    labels: Sequence[Labels]
    warnings: Sequence[str] = ()


class _Adapter(HTTPAdapter):
    """Connects with an SSL context of ours, as the operator does."""

    def __init__(self, tls: ssl.SSLContext, server_name: str) -> None:
        self._tls = tls
        self._server_name = server_name
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pool with the context and, where one is given, the server's name."""
        if self._server_name:
            kwargs["server_hostname"] = self._server_name
            kwargs["assert_hostname"] = self._server_name
        super().init_poolmanager(*args, ssl_context=self._tls, **kwargs)


def session_with(
    *,
    headers: Sequence[tuple[str, str]] = (),
    parameters: Sequence[tuple[str, str]] = (),
    tls: ssl.SSLContext | None = None,
    server_name: str = "",
) -> requests.Session:
    """Make a session without redirects, cookies of others, or proxies from the environment.

    Args:
        headers: Of every request, credentials among them.
        parameters: Added to every URL.
        tls: How the server is checked; None for the system's certificates.
        server_name: Name that the certificate has to show; empty for the URL's host.
    """
    session = requests.Session()
    session.trust_env = False
    session.max_redirects = 0
    session.headers["User-Agent"] = "drifttrigger"
    session.headers.update(dict(headers))
    session.params = list(parameters)  # type: ignore[assignment] # pairs are taken, too
    if tls is not None:
        session.verify = tls.verify_mode is not ssl.CERT_NONE
        session.mount("https://", _Adapter(tls, server_name))
    return session


def fetch_range(
    server: MetricsServer, query: str, start: datetime, end: datetime, step: timedelta
) -> list[Mapping[str, Any]]:
    """Ask one range query; the caller keeps it under the server's limit of points.

    Args:
        server: The server.
        query: PromQL.
        start: First instant, aware, whole seconds.
        end: Last instant.
        step: Distance of the points, whole seconds.

    Returns:
        The series as the server wrote them: `metric`, and `values` of time and text.

    Raises:
        UsageError: There is no usable answer; says what the server said.
    """
    session = server.session
    url = server.address.rstrip("/")
    adapter = session.get_adapter(url)
    client = PrometheusConnect(url, session=session, method="POST")
    # It mounts an adapter of its own; certificates and retries are those of the session.
    session.mount(url, adapter)
    try:
        found: Any = client.custom_query_range(
            query,
            start,
            end,
            str(round(step.total_seconds())),
            timeout=cast("int", server.timeout_seconds),
        )
    except requests.TooManyRedirects as error:
        raise UsageError(f"{url} redirects; give the address it redirects to") from error
    except requests.exceptions.JSONDecodeError as error:
        raise UsageError(f"{url} does not answer as Prometheus does: no JSON") from error
    except requests.RequestException as error:
        raise UsageError(f"{url} can't be reached: {_reason_of(error)}") from error
    except PrometheusApiClientException as error:
        raise UsageError(f"{url} refuses the query: {_words_of(error)}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{url} does not answer as Prometheus does: no result") from error
    if not isinstance(found, list) or any("values" not in series for series in found):
        raise UsageError("the query answers with what is no number, as histograms are")
    return found


def fetch_history(
    server: MetricsServer,
    query: str,
    pieces: Sequence[tuple[datetime, datetime]],
    step: timedelta,
    *,
    progress: Callable[[], None] = lambda: None,
) -> History:
    """Ask for a history piece by piece.

    Args:
        server: The server.
        query: PromQL.
        pieces: First and last instant of each request.
        step: Distance of the points.
        progress: Called after each piece.
    """
    numbers: dict[tuple[tuple[str, str], ...], int] = {}
    frames: list[pd.DataFrame] = []
    warnings = _Warnings()
    server.session.hooks["response"].append(warnings)
    try:
        for start, end in pieces:
            for series in fetch_range(server, query, start, end, step):
                key = tuple(sorted(series["metric"].items()))
                frames.append(_frame(numbers.setdefault(key, len(numbers)), series["values"]))
            progress()
    finally:
        server.session.hooks["response"].remove(warnings)
    table = pd.concat(frames, ignore_index=True) if frames else _frame(0, [])
    labels = [dict(key) for key in numbers]
    return History(table.sort_values(["timestamp", "series"]), labels, tuple(warnings.seen))


def read_csv(path: Path) -> History:
    """Read `timestamp,drift_score`; an empty score is no data. Rows come back by time.

    Raises:
        UsageError: The file can't be read or used; names the line.
    """
    try:
        raw = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: no CSV: {clean(str(error))}") from error
    missing = [name for name in _COLUMNS if name not in raw.columns]
    if missing:
        raise UsageError(f"{path}: has no column {missing[0]}; the header is {','.join(_COLUMNS)}")
    times = pd.to_datetime(raw["timestamp"], utc=True, format="ISO8601", errors="coerce")
    if times.isna().any():
        row = int(times.isna().to_numpy().argmax())
        raise _refused(
            path, row, f"{raw['timestamp'].iloc[row]!r} is no time like 2026-01-31T12:00:00Z"
        )
    scores = [_score(path, row, text) for row, text in enumerate(raw["drift_score"])]
    table = pd.DataFrame(
        {
            # Ticks are whole seconds, in the operator too.
            "timestamp": times.dt.floor("s"),
            "series": 0,
            "drift_score": scores,
            "value": raw["drift_score"].str.strip(),
        }
    ).sort_values("timestamp", kind="stable")
    twice = table["timestamp"].duplicated()
    if twice.any():
        row = int(table.index[twice.to_numpy().argmax()])
        raise _refused(path, row, f"the time {raw['timestamp'].iloc[row]} comes twice")
    return History(table, ({},))


def _score(path: Path, row: int, text: str) -> float:
    number = parse_value(text.strip()) if text.strip() else float("nan")
    if number is None:
        raise _refused(path, row, f"{text!r} is no number; leave it empty for no data")
    return number


def _refused(path: Path, row: int, problem: str) -> UsageError:
    return UsageError(f"{path}: line {row + 2}: {clean(problem)}")


def _frame(number: int, values: Sequence[Sequence[Any]]) -> pd.DataFrame:
    seconds = [round(float(at)) for at, _ in values]
    texts = [str(text) for _, text in values]
    return pd.DataFrame(
        {
            "timestamp": pd.to_datetime(pd.Series(seconds, dtype="int64"), unit="s", utc=True),
            "series": number,
            "drift_score": pd.to_numeric(pd.Series(texts, dtype=object), errors="coerce"),
            "value": pd.Series(texts, dtype=object),
        }
    )


class _Warnings:
    """Collects what prometheus-api-client drops: the `warnings` of an answer."""

    def __init__(self) -> None:
        self.seen: dict[str, None] = {}

    def __call__(self, response: requests.Response, *_: Any, **__: Any) -> None:
        if not re.search(rb'"(?:warnings|infos)"\s*:\s*\[', response.content):
            return
        document = response.json()
        for text in document.get("warnings") or []:
            self.seen[clean(str(text))] = None


def _words_of(error: PrometheusApiClientException) -> str:
    """Take the server's own words out of an exception that quotes the whole answer."""
    match = re.fullmatch(r"HTTP Status Code (\d+) \((b.*)\)", str(error), re.DOTALL)
    if match is None:
        return clean(str(error))
    try:
        return clean(str(json.loads(ast.literal_eval(match[2]))["error"]))
    except (KeyError, TypeError, ValueError):
        hint = "it wants credentials" if match[1] in ("401", "403") else "is it Prometheus?"
        return f"HTTP {match[1]}, {hint}"


def _reason_of(error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return f"TLS: {clean(str(error), limit=200)}"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        arguments = cause.args
        inner = getattr(cause, "reason", None) or (arguments[0] if arguments else None)
        cause = inner if isinstance(inner, BaseException) else cause.__cause__
    return clean(str(error), limit=200)
