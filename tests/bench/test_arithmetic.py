"""What the benchmark computes from what it reads."""

import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bench.crossing import Crossing, Seen, expected_from
from bench.errors import BenchError
from bench.options import Options, Part, parse
from bench.proc import Footprint, cpu_seconds, footprint
from bench.replicas import Shared
from bench.run import Level, Result
from bench.saturated import Saturated
from bench.scraped import Quantile, Scraped, between, quantile
from bench.soak import Sample, growth
from bench.steady import Window
from bench.targets import Row, Verdict, rows
from drifttrigger.core.schedule import IntervalSchedule

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
PAGE = """\
# HELP drifttrigger_evaluations_total Answers.
drifttrigger_evaluations_total{outcome="Score"} 90.0
drifttrigger_evaluations_total{outcome="NoData"} 10.0
drifttrigger_evaluations_total_more 1.0
drifttrigger_threshold{namespace="ml",trigger="fraud"} 0.2
drifttrigger_score{namespace="ml",trigger="fraud"} 0.05
"""


def histogram(**counts: int) -> Scraped:
    bounds = {"fast": "0.1", "slow": "0.5", "all": "+Inf"}
    lines = [f'late_bucket{{le="{bounds[name]}"}} {count}' for name, count in counts.items()]
    return Scraped.parse("\n".join(lines))


def test_a_page_gives_sums_over_labels_and_the_score_of_each_trigger() -> None:
    page = Scraped.parse(PAGE)
    assert page.total("drifttrigger_evaluations_total") == 100
    assert page.scores == {("ml", "fraud"): 0.05}
    assert page.total("drifttrigger_threshold") is None


def test_what_came_between_is_added_up_over_processes() -> None:
    first, last = Scraped.parse("n 3\n"), Scraped.parse("n 10\n")
    assert between("n", [first, first], [last, last]) == 14
    assert between("unknown", [first], [last]) == 0


@pytest.mark.parametrize(
    ("later", "value", "bound"),
    [
        pytest.param({"fast": 100, "slow": 100, "all": 100}, 0.099, 0.1, id="in the first bucket"),
        pytest.param({"fast": 98, "slow": 100, "all": 100}, 0.3, 0.5, id="halfway in the second"),
        pytest.param({"fast": 0, "slow": 0, "all": 9}, 0.5, float("inf"), id="beyond all bounds"),
        pytest.param({"fast": 0, "slow": 0, "all": 0}, 0.0, 0.0, id="nothing came"),
    ],
)
def test_a_quantile_is_interpolated_within_its_bucket(
    later: dict[str, int], value: float, bound: float
) -> None:
    earlier = histogram(fast=7, slow=8, all=9)
    grown = {"fast": 7, "slow": 8, "all": 9}
    last = histogram(**{name: grown[name] + later[name] for name in later})
    found = quantile("late", [earlier], [last], share=0.99)
    assert (found.value, found.bound) == (pytest.approx(value), bound)


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        pytest.param({"measured": 5.0}, Verdict.PASS, id="at the limit"),
        pytest.param({"measured": 5.1}, Verdict.FAIL, id="beyond it"),
        pytest.param({"measured": 5.1, "is_least": True}, Verdict.PASS, id="more than the least"),
        pytest.param({"measured": 4.9, "is_least": True}, Verdict.FAIL, id="less than the least"),
        pytest.param({"measured": float("inf")}, Verdict.FAIL, id="nothing came at all"),
        pytest.param({"measured": None}, Verdict.OPEN, id="left out"),
        pytest.param({"measured": 9.0, "is_judged": False}, Verdict.OPEN, id="too small a run"),
    ],
)
def test_a_row_is_judged_by_its_limit(row: dict[str, Any], verdict: Verdict) -> None:
    assert Row(what="cost", unit="µs", limit=5, **row).verdict is verdict


@pytest.mark.parametrize(
    ("decided", "expected"),
    [
        pytest.param(12, 12, id="at the first tick after it was seen"),
        pytest.param(42, 12, id="a tick late counts in full"),
        pytest.param(9, 9, id="at a tick within the time in which it may have been seen"),
        pytest.param(5, 8, id="at a tick before, asked late"),
    ],
)
def test_a_job_is_expected_from_the_first_tick_that_could_see_the_crossing(
    decided: int, expected: int
) -> None:
    schedule = IntervalSchedule(timedelta(seconds=30), timedelta(seconds=12))
    seen = Seen(after=NOON + timedelta(seconds=8), until=NOON + timedelta(seconds=10))
    found = expected_from(NOON + timedelta(seconds=decided), schedule, seen)
    assert found == NOON + timedelta(seconds=expected)


def test_the_99th_of_a_hundred_is_the_last_but_none() -> None:
    found = Crossing(100, 100, 100, 0, 0, tuple(float(n) for n in range(1, 101)))
    assert (found.percentile(0.5), found.percentile(0.99)) == (50, 99)
    assert Crossing(1, 0, 0, 0, 1, ()).percentile(0.5) == float("inf")


def samples(*megabytes: float) -> list[Sample]:
    return [
        Sample(10.0 * n, Footprint(round(each * 1e6), 8, 40, 6)) for n, each in enumerate(megabytes)
    ]


def test_a_leak_is_told_from_warming_up() -> None:
    warm = growth(samples(60, 90, 100, 100, 101, 102, 100, 101))
    leak = growth(samples(60, 90, 100, 105, 110, 115, 120, 130))
    assert [each.kind for each in warm if not each.is_flat] == []
    assert [each.kind for each in leak if not each.is_flat] == ["memory_bytes"]


def test_too_few_samples_tell_nothing() -> None:
    with pytest.raises(BenchError, match="let it run longer"):
        growth(samples(60, 60, 60))


def test_the_account_of_a_process_is_its_own() -> None:
    before = cpu_seconds(os.getpid())
    while cpu_seconds(os.getpid()) < before + 0.05:
        pass
    held = footprint(os.getpid())
    assert held.memory_bytes > 5e6
    assert held.threads >= 1
    with Path(os.devnull).open():
        assert footprint(os.getpid()).descriptors == held.descriptors + 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["--triggers", "0"], "0 is too few", id="no trigger"),
        pytest.param(["--triggers", "many"], "no whole number", id="no number"),
        pytest.param(["--parts", "soak"], "choose among", id="an unknown part"),
    ],
)
def test_what_can_not_be_used_is_refused_with_a_sentence(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(arguments)
    assert words in capsys.readouterr().err


def test_options_are_read_in_any_order() -> None:
    options = parse(["--triggers", "1000,100", "--parts", "crossing", "--interval", "60"])
    assert (options.counts, options.largest) == ((100, 1000), 1000)
    assert options.parts == (Part.CROSSING,)
    assert options.window_seconds == 120


def window(number: int, *, microseconds: float, owned: tuple[float, ...] = ()) -> Window:
    evaluations = number * 2.0
    return Window(
        seconds=60,
        evaluations=evaluations,
        errors=0,
        operator_seconds=evaluations * microseconds / 1e6,
        prometheus_seconds=evaluations * 70e-6,
        page_seconds=0.2,
        requests=Counter({"patch drifttriggers/status": 180}),
        lateness=Quantile(0.2, 0.3, evaluations),
        memory_bytes=120_000_000,
        owned=owned,
    )


def level(number: int, *, microseconds: float) -> Level:
    return Level(
        number=number,
        history=0,
        first_seconds=20,
        cold_seconds=12,
        idle_prometheus=0.01,
        windows=(window(number, microseconds=microseconds),),
    )


def test_a_whole_run_is_judged_row_by_row() -> None:
    crossing = Crossing(100, 101, 101, 1, 0, (0.1,) * 98 + (0.6, 0.7))
    shared = Shared(
        windows=(window(10_000, microseconds=90, owned=(8000, 2000)),),
        crossing=crossing,
        loss=crossing,
        taken_over_seconds=44,
        orphans=2000,
    )
    levels = (level(100, microseconds=900), level(10_000, microseconds=45))
    saturated = Saturated((window(10_000, microseconds=150),), 10_000)
    result = Result(levels=levels, crossing=crossing, shared=shared, saturated=saturated)
    found = {row.what: row.verdict for row in rows(result, Options())}
    assert [what for what, verdict in found.items() if verdict is Verdict.PASS] == [
        "operator CPU per evaluation",
        "Prometheus CPU per evaluation",
        "API requests per evaluation",
        "resident memory",
        "growth: cost at the largest against the least",
        "cold start to every one evaluated",
        "evaluations a second, one core",
        "replica killed: all evaluated again",
    ]
    assert set(found.values()) == {Verdict.PASS, Verdict.FAIL}


def test_what_is_promised_for_ten_thousand_is_not_judged_at_a_hundred() -> None:
    levels = (level(100, microseconds=900),)
    result = Result(levels=levels)
    found = {row.what: row.verdict for row in rows(result, Options(counts=(100,)))}
    assert found["operator CPU per evaluation"] is Verdict.OPEN
    assert found["tick lateness p99 (bucket bound)"] is Verdict.FAIL


def test_a_part_that_broke_off_fails_with_its_reason() -> None:
    problems = {Part.REPLICAS: "replica-a ended", Part.SATURATED: "too slow"}
    result = Result(levels=(level(10_000, microseconds=45),), problems=problems)
    failed = {row.what: row.note for row in rows(result, Options()) if row.part in problems}
    assert set(failed.values()) == set(problems.values())
    verdicts = {row.verdict for row in rows(result, Options()) if row.part in problems}
    assert verdicts == {Verdict.FAIL}
