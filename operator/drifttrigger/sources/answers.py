"""Reading answers of Prometheus' HTTP API: any bytes become an `Answer`, and nothing raises.

See https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries
"""

from typing import Any
from urllib.parse import urlsplit

import msgspec
import orjson
from msgspec.structs import replace

from drifttrigger.api.reasons import Outcome
from drifttrigger.api.v1alpha1 import ServerInfo
from drifttrigger.clients.http import HttpReply
from drifttrigger.core.observation import Answer, Sample, clean, format_value
from drifttrigger.sources.connection import retry_after, said

_SERVERS = frozenset({"unavailable", "internal", "too_many_requests"})
_TIMEOUTS = frozenset({"timeout", "canceled"})


class Joined(msgspec.Struct, frozen=True):
    """The answers to queries that shared a request.

    Attributes:
        answers: Of each query by its number, without warnings.
        warnings: Of all of them together.
        is_partial: The server marked the whole answer as partial.
    """

    answers: tuple[Answer, ...]
    warnings: tuple[str, ...]
    is_partial: bool


def parse(reply: HttpReply) -> Answer:
    """Read a reply; total: whatever the bytes are, there is an answer."""
    document = _document(reply)
    return document if isinstance(document, Answer) else _success(document)


def parse_joined(reply: HttpReply, number: int, *, label: str) -> Joined | Answer:
    """Read the reply to a joined expression; total.

    Args:
        reply: The reply.
        number: How many queries were joined.
        label: The label that tells them apart; it is taken off.

    Returns:
        The answer of each, or the failure of all.
    """
    document = _document(reply)
    if isinstance(document, Answer):
        return document
    whole = _envelope(document)
    if isinstance(whole, Answer):
        return whole
    data, warnings, _, is_partial = whole
    result = data.get("result")
    if data.get("resultType") != "vector" or not isinstance(result, list):
        return _malformed("a joined expression was not answered with a vector")
    groups: list[list[Any]] = [[] for _ in range(number)]
    for item in result:
        labels = item.get("metric") if isinstance(item, dict) else None
        text = labels.pop(label, None) if isinstance(labels, dict) else None
        place = _place(text)
        if place is None or place >= number:
            return _malformed("a joined expression was answered without its label")
        groups[place].append(item)
    return Joined(tuple(_vector(group) for group in groups), warnings, is_partial)


def _place(text: Any) -> int | None:
    """Read the number of a query; int() takes more than we ever write."""
    is_ours = isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= 4
    return int(text) if is_ours else None


def _document(reply: HttpReply) -> dict[str, Any] | Answer:
    """Read the JSON of a success, or name the failure."""
    if 300 <= reply.status < 400:
        where = _target(reply.headers.get("location", ""))
        return _unreachable(f"HTTP {reply.status} redirects to {where}; redirects are not followed")
    if reply.status in (401, 403):
        return Answer(
            failure=Outcome.UNAUTHORIZED,
            message=f"HTTP {reply.status}: {said(reply)}",
        )
    try:
        document = orjson.loads(reply.body)
    except orjson.JSONDecodeError as error:
        return _not_json(reply, error)
    if not isinstance(document, dict) or document.get("status") not in ("success", "error"):
        if reply.status >= 400:
            return _unreachable(f"HTTP {reply.status}: {said(reply)}", reply)
        return _malformed("the answer has no status of the Prometheus API")
    if document["status"] == "error":
        return _query_error(document, reply)
    if reply.status >= 400:
        return _malformed(f"status success under HTTP {reply.status}")
    return document


def _success(document: dict[str, Any]) -> Answer:
    """Read a success; what it warns of is kept whatever the result is: Partial is judged first."""
    whole = _envelope(document)
    if isinstance(whole, Answer):
        return whole
    data, warnings, infos, is_partial = whole
    return replace(_result(data), warnings=warnings, infos=infos, is_partial=is_partial)


def _envelope(
    document: dict[str, Any],
) -> tuple[dict[str, Any], tuple[str, ...], tuple[str, ...], bool] | Answer:
    """Return data, warnings, infos and whether the answer is partial."""
    warnings, infos = _texts(document.get("warnings")), _texts(document.get("infos"))
    if warnings is None or infos is None:
        return _malformed("warnings or infos are no list of strings")
    data = document.get("data")
    if not isinstance(data, dict):
        data = {}
    is_partial = document.get("isPartial") is True or data.get("isPartial") is True
    return data, warnings, infos, is_partial


def _result(data: dict[str, Any]) -> Answer:
    if not data:
        return _malformed("data is missing")
    result = data.get("result")
    match data.get("resultType"):
        case "vector" if isinstance(result, list):
            return _vector(result)
        case "scalar":
            point = _point({}, result)
            return point if isinstance(point, Answer) else Answer(samples=(point,), is_scalar=True)
        case "string" | "matrix" as kind:
            return Answer(
                failure=Outcome.UNSUPPORTED,
                message=f"the query answers with a {kind}; an instant vector or a scalar is needed",
            )
        case kind:
            return _malformed(f"resultType {kind!r} with {type(result).__name__}")


def _vector(result: list[Any]) -> Answer:
    samples = [_sample(item) for item in result]
    for sample in samples:
        if isinstance(sample, Answer):
            return sample
    return Answer(samples=tuple(sample for sample in samples if isinstance(sample, Sample)))


def _sample(item: Any) -> Sample | Answer:
    if not isinstance(item, dict):
        return _malformed("a sample is no object")
    labels = item.get("metric")
    if not isinstance(labels, dict) or not all(isinstance(v, str) for v in labels.values()):
        return _malformed("a sample has no labels")
    if "histogram" in item and "value" not in item:
        return Answer(
            failure=Outcome.UNSUPPORTED,
            message="the query answers with a native histogram; "
            "take a number of it, for example with histogram_quantile(0.9, …)",
        )
    return _point(labels, item.get("value"))


def _point(labels: dict[str, str], point: Any) -> Sample | Answer:
    if not isinstance(point, list) or len(point) != 2:
        return _malformed("a value is no pair of time and number")
    time, value = point
    if isinstance(time, bool) or not isinstance(time, int | float):
        return _malformed("a value has no timestamp")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return _malformed(f"a value is {type(value).__name__}, not a number in a string")
    text = value if isinstance(value, str) else format_value(float(value))
    return Sample(labels, text)


def _texts(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        return None
    return tuple(value)


def _query_error(document: dict[str, Any], reply: HttpReply) -> Answer:
    kind = str(document.get("errorType") or "unknown")
    return Answer(
        failure=Outcome.QUERY_ERROR,
        message=f"{kind}: {document.get('error') or 'no message'}",
        needs_edit=kind == "bad_data",
        is_late=kind in _TIMEOUTS,
        is_servers=kind in _SERVERS or reply.status == 429,
        retry_after_seconds=retry_after(reply),
    )


def _not_json(reply: HttpReply, error: Exception) -> Answer:
    is_page = reply.body.lstrip()[:1] == b"<" or "html" in reply.headers.get("content-type", "")
    if is_page or reply.status >= 400:
        what = "a web page" if is_page else said(reply)
        return _unreachable(f"HTTP {reply.status}: {what}, not the Prometheus API", reply)
    return _malformed(f"the answer is no JSON: {error}")


def _target(location: str) -> str:
    """Name where a redirect leads, without what may be secret in it."""
    try:
        parts = urlsplit(location)
        host = parts.hostname or ""
    except ValueError:
        return "an address that is no URL"
    scheme = f"{parts.scheme}:" if parts.scheme else ""
    return f"{scheme}//{host}{parts.path}"[:200] if host else parts.path[:200] or "nowhere"


def _unreachable(message: str, reply: HttpReply | None = None) -> Answer:
    wish = retry_after(reply) if reply is not None else None
    return Answer(failure=Outcome.UNREACHABLE, message=message, retry_after_seconds=wish)


def _malformed(message: str) -> Answer:
    return Answer(failure=Outcome.MALFORMED, message=message)


def parse_build_info(reply: HttpReply) -> ServerInfo | None:
    """Read what a server says of its build; None where it does not."""
    try:
        document = orjson.loads(reply.body) if reply.status == 200 else None
    except orjson.JSONDecodeError:
        return None
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, dict):
        return None
    kind, version = data.get("application"), data.get("version")
    return ServerInfo(
        kind=clean(kind, limit=64) if isinstance(kind, str) else "",
        version=clean(version, limit=64) if isinstance(version, str) else "",
    )
