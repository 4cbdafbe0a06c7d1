"""Every answer has one name: what the real Prometheus says, and what it is called."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from drifttrigger.api.reasons import Outcome
from drifttrigger.api.servers import PrometheusServer
from drifttrigger.clients.clock import SystemClock
from drifttrigger.clients.http import HttpClient
from drifttrigger.clients.secrets import Secrets
from drifttrigger.core.observation import Observation, observe
from drifttrigger.sources.base import Question
from drifttrigger.sources.prometheus import PrometheusSource
from support.builders import rules
from support.cluster import SharedCluster

pytestmark = pytest.mark.e2e

SERIES = 'label_replace(vector(%s), "n", "%s", "", "")'
RATE = 'rate(label_replace(vector(1), "__name__", "drift", "", "")[1m:10s])'


@pytest.fixture
async def source() -> AsyncIterator[PrometheusSource]:
    http, clock = HttpClient(), SystemClock()
    yield PrometheusSource(http, Secrets(None, clock), clock)
    await http.close()


def question(address: str | None, *, query: str, at: datetime) -> Question:
    assert address is not None
    server = PrometheusServer(address=address)
    return Question(source=server, namespace="models", query=query, at=at)


async def asked(cluster: SharedCluster, source: PrometheusSource, **spec: Any) -> Observation:
    of = rules(**spec)
    at = datetime.now(UTC)
    asking = question(cluster.prometheus_url, query=of.query, at=at)
    return observe(of, await source.ask(asking), at)


def series(*values: str) -> str:
    return " or ".join(SERIES % (value, n) for n, value in enumerate(values))


@pytest.mark.parametrize(
    ("spec", "outcome", "score", "fragment"),
    [
        pytest.param({"query": "vector(0.25)"}, "Score", 0.25, "", id="one series"),
        pytest.param({"query": "0.1 + 0.2"}, "Score", 0.30000000000000004, "", id="a scalar"),
        pytest.param({"query": "vector(1e-3)"}, "Score", 0.001, "", id="a small number"),
        pytest.param({"query": "vector(1e21)"}, "Score", 1e21, "", id="a large number"),
        pytest.param({"query": "vector(5e-324)"}, "Score", 5e-324, "", id="the smallest double"),
        pytest.param({"query": "vector(-0)"}, "Score", -0.0, "", id="minus zero"),
        pytest.param({"query": "vector(0x1F)"}, "Score", 31.0, "", id="hexadecimal in the query"),
        pytest.param({"query": "0/0"}, "NotANumber", None, "the score is NaN", id="0/0"),
        pytest.param({"query": "vector(NaN)"}, "NotANumber", None, "NaN", id="NaN"),
        pytest.param({"query": "1/0"}, "Infinite", float("inf"), "+Inf", id="1/0"),
        pytest.param({"query": "vector(-1)/0"}, "Infinite", float("-inf"), "-Inf", id="-1/0"),
        pytest.param({"query": "no_such_metric"}, "NoData", None, "last_over_time", id="no series"),
        pytest.param({"query": "vector(0.1) > 0.2"}, "NoData", None, "bool", id="a filter"),
        pytest.param(
            {"query": "vector(0.1) > bool 0.2"}, "Score", 0.0, "", id="a filter with bool"
        ),
        pytest.param({"query": "absent(no_such_metric)"}, "Score", 1.0, "", id="absent"),
        pytest.param(
            {"query": series("1", "2", "3", "4")}, "Ambiguous", None, "4 series", id="many series"
        ),
        pytest.param(
            {"query": series("1", "NaN", "4"), "reduce": "Max"}, "Score", 4.0, "1 of 3", id="Max"
        ),
        pytest.param(
            {"query": series("NaN", "NaN"), "reduce": "Sum"}, "NotANumber", None, "all", id="NaNs"
        ),
        pytest.param(
            {"query": "no_such_metric", "reduce": "Count"}, "NoData", None, "", id="Count of none"
        ),
        pytest.param({"query": '"0.3"'}, "Unsupported", None, "string", id="a string"),
        pytest.param({"query": "up[5m]"}, "Unsupported", None, "matrix", id="a matrix"),
        pytest.param({"query": "vector(1)[5m:1m]"}, "Unsupported", None, "matrix", id="a subquery"),
        pytest.param({"query": "max(up"}, "QueryError", None, "bad_data: ", id="a parse error"),
        pytest.param({"query": "rate(up)"}, "QueryError", None, "bad_data: ", id="a type error"),
        pytest.param(
            {"query": "nope(up)"}, "QueryError", None, "unknown function", id="no such function"
        ),
        pytest.param(
            {"query": 'label_replace(vector(1), "a b", "x", "", "(")'},
            "QueryError",
            None,
            "execution: ",
            id="an execution error",
        ),
        pytest.param(
            {"query": f"({series('1', '2')}) + on() group_left() ({series('1', '2')})"},
            "QueryError",
            None,
            "execution: ",
            id="many to many",
        ),
        pytest.param(
            {"query": "# nothing"}, "QueryError", None, "bad_data: ", id="a comment alone"
        ),
        pytest.param({"query": "vector(1) # end"}, "Score", 1.0, "", id="a trailing comment"),
    ],
)
async def test_an_answer_of_prometheus_has_its_name(
    spec: dict[str, Any],
    outcome: str,
    score: float | None,
    fragment: str,
    cluster: SharedCluster,
    source: PrometheusSource,
) -> None:
    seen = await asked(cluster, source, **spec)
    assert seen.outcome == outcome, seen
    assert repr(seen.score) == repr(score)
    assert fragment in seen.message
    assert seen.needs_edit == ("bad_data" in seen.message)


@pytest.mark.parametrize(
    ("query", "start"),
    [
        pytest.param("quantile(1.5, vector(1))", "PromQL warning: ", id="a warning"),
        pytest.param(RATE, "PromQL info: ", id="an info"),
        pytest.param(
            "histogram_quantile(0.9, vector(1))", "PromQL warning: ", id="a bucket without a label"
        ),
    ],
)
async def test_what_promql_warns_of_is_kept_and_not_partial(
    query: str, start: str, cluster: SharedCluster, source: PrometheusSource
) -> None:
    seen = await asked(cluster, source, query=query)
    assert seen.outcome is not Outcome.PARTIAL
    assert [warning for warning in seen.warnings if warning.startswith(start)]


async def test_the_same_instant_gives_the_same_score(
    cluster: SharedCluster, source: PrometheusSource
) -> None:
    at = datetime.now(UTC).replace(microsecond=250_000)
    for _ in range(2):
        answer = await source.ask(question(cluster.prometheus_url, query="time()", at=at))
        assert answer.samples[0].value == f"{at.timestamp():.3f}".rstrip("0")


async def test_a_server_that_gives_up_names_its_timeout(
    cluster: SharedCluster, source: PrometheusSource
) -> None:
    address = f"{cluster.prometheus_url}/nowhere"
    answer = await source.ask(question(address, query="1", at=datetime.now(UTC)))
    assert answer.failure is Outcome.UNREACHABLE
    assert "404" in answer.message
