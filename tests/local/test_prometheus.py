"""The real Prometheus scrapes, remembers a backfilled history, and survives being disturbed."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlencode

import pytest

from drifttrigger.local.cluster import Cluster
from drifttrigger.local.errors import NotRunning, StartError
from drifttrigger.local.prometheus import PrometheusOptions, ScrapeTarget
from drifttrigger.local.rest import Rest
from support.kubectl import eventually

pytestmark = pytest.mark.e2e

DAY = 86_400.0
STARTED = time.time()


class _Exporter(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(b"drift_score 0.25\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing."""


@pytest.fixture(scope="module")
def exporter() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Exporter) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def _samples(path: Path, *, name: str, days_ago: float, count: int) -> Path:
    first = STARTED - days_ago * DAY
    lines = [f"# TYPE {name} gauge"]
    lines += [f"{name} {index / 10} {first + index * 60:.3f}" for index in range(count)]
    path.write_text("\n".join([*lines, "# EOF", ""]))
    return path


@pytest.fixture(scope="module")
def cluster(exporter: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    history = tmp_path_factory.mktemp("history") / "history.om"
    options = PrometheusOptions(
        scrape_interval_seconds=0.1,
        lookback_seconds=2.0,
        backfill=[_samples(history, name="old_score", days_ago=40, count=50)],
    )
    with Cluster.start(prometheus=options, scrape=[ScrapeTarget("first", exporter)]) as found:
        yield found


def _query(cluster: Cluster, query: str) -> list[tuple[dict[str, str], str]]:
    answer = Rest(cluster.prometheus_url or "").get(f"/api/v1/query?{urlencode({'query': query})}")
    result = json.loads(answer.body)["data"]["result"]
    return [(found["metric"], found["value"][1]) for found in result]


def test_a_target_is_scraped_at_once_and_answers_a_query(cluster: Cluster) -> None:
    eventually(lambda: [value for _, value in _query(cluster, "drift_score")] == ["0.25"])


def test_a_target_can_be_added_with_labels_while_it_runs(cluster: Cluster, exporter: str) -> None:
    cluster.add_scrape_target("second", exporter, labels={"model": "fraud"})
    eventually(lambda: len(_query(cluster, 'drift_score{job="second",model="fraud"}')) == 1)
    eventually(lambda: len(_query(cluster, 'drift_score{job="first"}')) == 1)


def test_a_target_that_prometheus_refuses_is_a_clear_error(cluster: Cluster) -> None:
    good = (cluster.directory / "prometheus" / "prometheus.json").read_text()
    with pytest.raises(StartError, match="refused its configuration"):
        cluster.add_scrape_target("wrong", "http://not/an/address")
    (cluster.directory / "prometheus" / "prometheus.json").write_text(good)


def test_a_history_older_than_the_default_retention_is_there(cluster: Cluster) -> None:
    found = _query(cluster, "count_over_time(old_score[60d])")
    assert [value for _, value in found] == ["50"]


def test_the_lookback_is_the_one_that_was_asked_for(cluster: Cluster) -> None:
    last = STARTED - 40 * DAY + 49 * 60
    assert _query(cluster, f"old_score @ {last + 1:.3f}") != []
    assert _query(cluster, f"old_score @ {last + 3:.3f}") == []


def test_a_history_can_be_added_while_it_runs(cluster: Cluster, tmp_path: Path) -> None:
    cluster.backfill(_samples(tmp_path / "more.om", name="more_score", days_ago=3, count=7))
    found = _query(cluster, "count_over_time(more_score[10d])")
    assert [value for _, value in found] == ["7"]


def test_a_history_that_promtool_refuses_leaves_prometheus_running(
    cluster: Cluster, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.om"
    broken.write_text("score one\n")
    with pytest.raises(StartError, match="can't backfill"):
        cluster.backfill(broken)
    assert Rest(cluster.prometheus_url or "").get("/-/ready").status == 200


def test_a_killed_prometheus_comes_back_with_its_data_and_targets(cluster: Cluster) -> None:
    eventually(lambda: _query(cluster, "drift_score") != [])
    cluster.kill_process("prometheus")
    with pytest.raises(ConnectionError):
        Rest(cluster.prometheus_url or "").get("/-/ready")
    cluster.start_process("prometheus")
    assert _query(cluster, "count_over_time(drift_score[10m])") != []
    eventually(lambda: _query(cluster, "drift_score") != [])


def test_a_cluster_without_prometheus_says_so(tmp_path: Path) -> None:
    with Cluster.start() as found:
        assert found.prometheus_url is None
        with pytest.raises(NotRunning, match="Prometheus"):
            found.backfill(tmp_path / "any.om")
        with pytest.raises(NotRunning, match="prometheus"):
            found.add_scrape_target("any", "127.0.0.1:1")
