"""Prometheus' HTTP API, and what speaks it: Thanos, Mimir, VictoriaMetrics.

`parse` is the whole reading of an answer and is pure: any bytes become an `Answer`. See
https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries
"""

import asyncio
import re
from typing import Any

import orjson
from msgspec.structs import replace

from drifttrigger.api.reasons import Outcome
from drifttrigger.clients.http import HttpClient, HttpFailure, HttpProblem, HttpReply
from drifttrigger.core.observation import Answer, Sample, format_value
from drifttrigger.core.times import format_duration
from drifttrigger.sources.base import Question

_WANTS_GET = (405, 501)
_PATH = "/api/v1/query"


class PrometheusSource:
    """Asks Prometheus-compatible servers, one query a request.

    Args:
        http: The pool of connections.
    """

    def __init__(self, http: HttpClient) -> None:
        self._http = http
        self._get_only: set[str] = set()

    async def ask(self, question: Question) -> Answer:
        """Ask one question at its own instant."""
        form = {
            "query": question.query,
            "time": f"{question.at.timestamp():.3f}",
            "timeout": format_duration(question.timeout),
        }
        url = question.address.rstrip("/") + _PATH
        seconds = question.timeout.total_seconds()
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + seconds
        try:
            method = "GET" if question.address in self._get_only else "POST"
            reply = await self._http.send(method, url, form=form, timeout_seconds=seconds)
            if method == "POST" and reply.status in _WANTS_GET:
                self._get_only.add(question.address)
                seconds = max(0.0, ends_at - loop.time())
                reply = await self._http.send("GET", url, form=form, timeout_seconds=seconds)
        except HttpFailure as failure:
            too_large = failure.problem is HttpProblem.TOO_LARGE
            outcome = Outcome.TOO_LARGE if too_large else Outcome.UNREACHABLE
            return Answer(failure=outcome, message=f"{question.address}: {failure}")
        return parse(reply)


def parse(reply: HttpReply) -> Answer:
    """Read a reply; total: whatever the bytes are, there is an answer."""
    if 300 <= reply.status < 400:
        where = reply.headers.get("location", "nowhere")
        return _unreachable(f"HTTP {reply.status} redirects to {where}; redirects are not followed")
    if reply.status in (401, 403):
        return Answer(
            failure=Outcome.UNAUTHORIZED,
            message=f"HTTP {reply.status}: {_said(reply)}",
        )
    try:
        document = orjson.loads(reply.body)
    except orjson.JSONDecodeError as error:
        return _not_json(reply, error)
    if not isinstance(document, dict) or document.get("status") not in ("success", "error"):
        if reply.status >= 400:
            return _unreachable(f"HTTP {reply.status}: {_said(reply)}", reply)
        return _malformed("the answer has no status of the Prometheus API")
    if document["status"] == "error":
        return _query_error(document, reply)
    if reply.status >= 400:
        return _malformed(f"status success under HTTP {reply.status}")
    return _success(document)


def _success(document: dict[str, Any]) -> Answer:
    """Read a success; what it warns of is kept whatever the result is: Partial is judged first."""
    warnings, infos = _texts(document.get("warnings")), _texts(document.get("infos"))
    if warnings is None or infos is None:
        return _malformed("warnings or infos are no list of strings")
    data = document.get("data")
    if not isinstance(data, dict):
        data = {}
    is_partial = document.get("isPartial") is True or data.get("isPartial") is True
    return replace(_result(data), warnings=warnings, infos=infos, is_partial=is_partial)


def _result(data: dict[str, Any]) -> Answer:
    if not data:
        return _malformed("data is missing")
    result = data.get("result")
    match data.get("resultType"):
        case "vector" if isinstance(result, list):
            samples = [_sample(item) for item in result]
        case "scalar":
            samples = [_point({}, result)]
        case "string" | "matrix" as kind:
            return Answer(
                failure=Outcome.UNSUPPORTED,
                message=f"the query answers with a {kind}; an instant vector or a scalar is needed",
            )
        case kind:
            return _malformed(f"resultType {kind!r} with {type(result).__name__}")
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
        retry_after_seconds=_retry_after(reply),
    )


def _not_json(reply: HttpReply, error: Exception) -> Answer:
    is_page = reply.body.lstrip()[:1] == b"<" or "html" in reply.headers.get("content-type", "")
    if is_page or reply.status >= 400:
        what = "a web page" if is_page else _said(reply)
        return _unreachable(f"HTTP {reply.status}: {what}, not the Prometheus API", reply)
    return _malformed(f"the answer is no JSON: {error}")


def _said(reply: HttpReply) -> str:
    return reply.body[:300].decode(errors="replace").strip() or "no body"


def _retry_after(reply: HttpReply) -> float | None:
    text = reply.headers.get("retry-after", "")
    return float(text) if re.fullmatch("[0-9]{1,5}", text) else None


def _unreachable(message: str, reply: HttpReply | None = None) -> Answer:
    retry_after = _retry_after(reply) if reply is not None else None
    return Answer(failure=Outcome.UNREACHABLE, message=message, retry_after_seconds=retry_after)


def _malformed(message: str) -> Answer:
    return Answer(failure=Outcome.MALFORMED, message=message)
