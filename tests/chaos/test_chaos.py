"""Chaos in a bounded form; `make chaos` runs it at full length."""

import os
from pathlib import Path

import pytest

from chaos import mass, storm
from chaos.people import KINDS

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("chaos")]

SHORT = storm.Options(
    seed=os.environ.get("SEED", "1"),
    faults=60,
    namespaces=1,
    kinds=KINDS,
    disturbances=(
        "stop:retraining-created",
        "kill:intent-written",
        "kill:retraining-created",
        "kill:claimed",
        "kill:job-created",
    ),
    machines=("API server restarted", "Prometheus restarted", "etcd compacted"),
    longest_seconds=120,
)


def test_through_faults_kills_and_outages_one_decision_makes_one_job(tmp_path: Path) -> None:
    report = storm.run(SHORT, tmp_path, say=print)
    assert report.verdict.breaks == []
    assert report.faults.total() >= SHORT.faults
    assert report.verdict.numbers["Jobs"] >= len(KINDS)


def test_three_hundred_triggers_that_cross_in_one_tick_keep_within_the_limits(
    tmp_path: Path,
) -> None:
    report = mass.crossing(tmp_path, number=300, watch_seconds=75, say=print)
    print(*report.lines, sep="\n")
    assert report.breaks == []


def test_three_hundred_triggers_that_lose_prometheus_keep_within_the_limits(
    tmp_path: Path,
) -> None:
    report = mass.outage(tmp_path, number=300, interval="10s", say=print)
    print(*report.lines, sep="\n")
    assert report.breaks == []
