"""Solo = batched, on a real Prometheus, for a broad corpus of queries and for generated ones."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drifttrigger.api.reasons import Outcome
from drifttrigger.api.servers import Batching, PrometheusServer
from drifttrigger.clients.clock import SystemClock
from drifttrigger.clients.http import HttpClient
from drifttrigger.clients.secrets import Secrets
from drifttrigger.core.observation import Answer
from drifttrigger.sources.base import Question
from drifttrigger.sources.joining import LABEL
from drifttrigger.sources.prometheus import PrometheusSource
from support.cluster import SharedCluster
from support.scores import Scores

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("batching")]

SERIES = 'model_drift_score{model=~"batching-.*"}'
GOOD = [
    'max(model_drift_score{model="batching-a"})',
    'model_drift_score{model="batching-a"}',
    SERIES,
    f"sum by (model) ({SERIES})",
    f"avg without (instance) ({SERIES})",
    f"count({SERIES})",
    f"quantile(0.5, {SERIES})",
    f"quantile(2, {SERIES})",
    f"topk(2, {SERIES})",
    f"sort_desc({SERIES})",
    f"stddev({SERIES}) > bool 0",
    f"{SERIES} > 0.15",
    f"{SERIES} > 100",
    f"max_over_time({SERIES}[30s])",
    f"max_over_time((sum({SERIES}))[10s:1s])",
    f"{SERIES} offset 1s",
    f"{SERIES} @ end()",
    f"last_over_time({SERIES}[1m])",
    f"rate({SERIES}[30s])",
    f"delta({SERIES}[30s])",
    f"absent({SERIES})",
    'absent(nothing_here{a="b"})',
    "nothing_here",
    'nothing_here{a="b"} or vector(7)',
    f"{SERIES} and on (model) {SERIES}",
    f"{SERIES} unless {SERIES}",
    f"{SERIES} * on (model) group_left () (0 * {SERIES} + 2)",
    f"{SERIES} or nothing_here",
    "1",
    "1 + 1",
    "-0",
    "1e-300 * 1e-300",
    "0/0",
    "1/0",
    "-1/0",
    "NaN",
    "Inf",
    "time()",
    "pi()",
    f"scalar({SERIES})",
    f"scalar(max({SERIES}))",
    f"vector(scalar(max({SERIES})))",
    "vector(0) / 0",
    "vector(1) # a comment at the end",
    "# a comment before\nvector(2)",
    "vector(3)\n\n",
    "  vector( 4 )  ",
    'label_replace(vector(5), "a", "b)", "", "")',
    "label_replace(vector(5), 'quote', '\"\\\\', '', '')",
    'label_replace(vector(5), `raw`, `"#`, ``, ``)',
    'label_replace(vector(5), "ü", "ß😀", "", "")',
    '{"model_drift_score", "model"="batching-a"}',
    f'label_replace({SERIES}, "model", "x", "nope", "")',
    f'label_join({SERIES}, "both", "-", "model", "job")',
    f'label_replace(vector(6), "{LABEL}", "0", "", "")',
    f'label_replace({SERIES}, "{LABEL}", "$1", "model", "(.*)")',
    f"clamp({SERIES}, 0.1, 0.2)",
    f"histogram_quantile(0.9, {SERIES})",
    f"round({SERIES}, 0.05)",
    f"({SERIES})",
    f"-({SERIES})",
    f"avg({SERIES}) + on () group_right () {SERIES}",
    f"group({SERIES})",
    f"count_values('value', {SERIES})",
    "minute(vector(0)) == 0 or vector(1)",
    "hour() >= bool 0",
    "timestamp(vector(1)) - time()",
]
BAD = [
    "max(",
    "vector(1))",
    "vector(1)) or (vector(2)",
    f'vector(1), "{LABEL}", "1", "", ""',
    "up[5m]",
    '"text"',
    f"{SERIES} + on (job) {SERIES}",
    "sum(1)",
    "",
    "vector(1) or",
    "# only a comment",
    'label_replace(vector(1), "", "", "", "")',
]


GENERATED = st.recursive(
    st.sampled_from(
        [
            SERIES,
            'model_drift_score{model="batching-a"}',
            'model_drift_score{model="batching-b"}',
            "nothing_here",
            "vector(1)",
            "vector(0) / 0",
        ]
    ),
    lambda inner: st.one_of(
        inner.map(lambda q: f"({q})"),
        inner.map(lambda q: f"-({q})"),
        inner.map(lambda q: f"{q} # comment ) or (\n"),
        st.tuples(
            st.sampled_from(["sum", "max by (model)", "count without (feature)", "avg"]), inner
        ).map(lambda pair: f"{pair[0]} ({pair[1]})"),
        st.tuples(
            inner,
            st.sampled_from(["or", "and", "unless", "+ on (model, feature)", "> bool", "== bool"]),
            inner,
        ).map(lambda three: f"(({three[0]}) {three[1]} ({three[2]}))"),
        st.tuples(inner, st.sampled_from(["* 2", "> 0.15", "% 0.07", "^ 0.5"])).map(
            lambda pair: f"({pair[0]}) {pair[1]}"
        ),
        inner.map(lambda q: f"scalar({q})"),
        inner.map(lambda q: f"vector(scalar({q}))"),
        inner.map(lambda q: f"max_over_time(({q})[5s:1s])"),
        inner.map(lambda q: f'label_replace({q}, "model", "m$1", "feature", "f(.*)")'),
    ),
    max_leaves=6,
)


class Asking:
    """Sources on one Prometheus, one that joins and one that never does."""

    def __init__(self, url: str) -> None:
        clock = SystemClock()
        self.http = HttpClient()
        self.sizes: list[int] = []
        secrets = Secrets(None, clock)
        self.source = PrometheusSource(self.http, secrets, clock, on_batch=self.sizes.append)
        self._joining = PrometheusServer(address=url)
        self._single = PrometheusServer(address=url, batching=Batching.DISABLED)

    async def joining(self, query: str, at: datetime) -> Answer:
        """Ask where queries may share a request."""
        return await self._ask(self._joining, query, at)

    async def alone(self, query: str, at: datetime) -> Answer:
        """Ask where they never do."""
        return await self._ask(self._single, query, at)

    async def _ask(self, server: PrometheusServer, query: str, at: datetime) -> Answer:
        return await self.source.ask(
            Question(source=server, namespace="models", query=query, at=at)
        )


@pytest.fixture(scope="module")
def prometheus(cluster: SharedCluster, scores: Scores) -> Iterator[str]:
    """A real Prometheus that has scraped some series."""
    scores.set("batching-a", 0.1)
    scores.set("batching-b", 0.2, 0.25)
    scores.set("batching-c", "NaN")
    asyncio.run(_until_scraped(cluster.prometheus_url))
    yield cluster.prometheus_url
    for name in ("batching-a", "batching-b", "batching-c"):
        scores.set(name)


async def _until_scraped(url: str) -> None:
    asking = Asking(url)
    for _ in range(200):
        answer = await asking.alone(f"count({SERIES})", datetime.now(UTC))
        if answer.samples and answer.samples[0].value == "4":
            break
        await asyncio.sleep(0.1)
    await asking.http.close()
    assert answer.samples, "nothing was scraped"


@pytest.fixture
async def asking(prometheus: str) -> AsyncIterator[Asking]:
    made = Asking(prometheus)
    yield made
    await made.http.close()


def essence(answer: Answer) -> tuple[Any, ...]:
    """What an answer says, whatever the order of its series."""
    samples = Counter((tuple(sorted(s.labels.items())), s.value) for s in answer.samples)
    failure = (answer.failure, answer.message, answer.needs_edit)
    return samples, failure, sorted(answer.warnings), sorted(answer.infos), answer.is_partial


async def both_ways(asking: Asking, queries: list[str], at: datetime) -> None:
    """Let queries show what they are, then ask all about another instant, in both ways."""
    for query in queries:
        await asking.joining(query, at - timedelta(seconds=1))
    batched = await asyncio.gather(*(asking.joining(query, at) for query in queries))
    for query, found in zip(queries, batched, strict=True):
        assert essence(found) == essence(await asking.alone(query, at)), query


async def test_every_query_of_the_corpus_says_the_same_alone_and_in_a_batch(
    asking: Asking,
) -> None:
    await both_ways(asking, [*GOOD, *BAD], datetime.now(UTC).replace(microsecond=0))
    # All but those that warn of nothing they would not alone share one request.
    assert max(asking.sizes) >= len(GOOD) - 3
    assert len(asking.sizes) == 1, "one request carried them all, and nothing broke it"


@given(queries=st.lists(GENERATED, min_size=2, max_size=12, unique=True))
@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_generated_queries_say_the_same_alone_and_in_a_batch(
    prometheus: str, queries: list[str]
) -> None:
    async def run() -> None:
        asking = Asking(prometheus)
        try:
            await both_ways(asking, queries, datetime.now(UTC).replace(microsecond=0))
        finally:
            await asking.http.close()

    asyncio.run(run())


async def test_a_query_that_turns_bad_costs_no_other_its_tick(asking: Asking) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    turn = now - timedelta(seconds=2)
    # From then on two series get the same labels, which Prometheus refuses.
    bad = (
        f"label_replace({SERIES} and on () (vector(time()) > {turn.timestamp():.0f}), "
        '"model", "same", "", "") * ignoring (feature) group_left () vector(1)'
    )
    good = [f"vector({number})" for number in range(20)]
    for query in [*good, bad]:
        assert (await asking.joining(query, turn)).failure is None
    answers = await asyncio.gather(*(asking.joining(query, now) for query in [*good, bad]))
    for number, answer in enumerate(answers[:-1]):
        assert (answer.failure, answer.samples[0].value) == (None, str(number))
    assert answers[-1].failure is Outcome.QUERY_ERROR
    asking.sizes.clear()
    later = now + timedelta(seconds=1)
    await asyncio.gather(*(asking.joining(query, later) for query in [*good, bad]))
    assert asking.sizes == [20], "what broke a batch stays alone"
