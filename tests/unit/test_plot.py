"""`drifttrigger plot`: what is drawn, what is said, and what bad input comes to."""

import math
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from drifttrigger.api.errors import UsageError
from drifttrigger.api.reasons import Outcome
from drifttrigger.cli.analysis.score_plots import history_plot
from drifttrigger.cli.backtest.past import Span
from drifttrigger.cli.chart import chart_of
from drifttrigger.cli.main import cli
from drifttrigger.cli.plot import asked_ticks, without_prelude, words
from drifttrigger.core.observation import Observation
from support.builders import rules, score, tick, without_score

DAY = timedelta(days=1)
TRIGGER = """
apiVersion: drifttrigger.dev/v1alpha1
kind: DriftTrigger
metadata: {name: fraud}
spec:
  prometheus: {address: "http://127.0.0.1:1"}
  query: max(drift)
  threshold: 0.2
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: a}]}}}}
"""


def seen(*values: float | None) -> list[Observation]:
    return [
        without_score(Outcome.NO_DATA, at=n) if value is None else score(value, at=n)
        for n, value in enumerate(values)
    ]


def lines_of(text: str) -> list[str]:
    """The rows of a chart without its axis of time."""
    return text.splitlines()[:-1]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["plot", *arguments])


def test_each_score_is_one_point_and_theta_is_dashed() -> None:
    chart = chart_of(rules(), seen(0.1, 0.15, 0.3, 0.1), width=60).plain
    assert chart.count("●") == 4
    [line] = [line for line in lines_of(chart) if "╌" in line]
    assert line.startswith("θ 0.2 ")


def test_a_chart_is_as_wide_as_the_terminal() -> None:
    chart = chart_of(rules(), seen(*[0.1, 0.3] * 200), width=60).plain
    assert {len(line) for line in lines_of(chart) if "╌" in line} == {60}
    assert max(map(len, chart.splitlines())) == 60


def test_a_stretch_without_scores_stays_empty() -> None:
    chart = chart_of(rules(), seen(0.1, *[None] * 58, 0.1), width=66).plain
    [row] = [line for line in lines_of(chart) if "●" in line]
    first, last = row.index("●"), row.rindex("●")
    assert last - first > 50
    assert row[first + 1 : last].strip() == ""


@pytest.mark.parametrize(
    ("comparison", "values", "expected"),
    [
        pytest.param("GreaterThan", (0.1, 0.9), "0.9", id="more is worse"),
        pytest.param("LessThan", (0.9, 0.01), "0.01", id="less is worse"),
    ],
)
def test_a_column_of_many_scores_shows_the_worst(
    comparison: str, values: tuple[float, float], expected: str
) -> None:
    usual, bad = values
    many = seen(*[usual] * 500, bad, *[usual] * 500)
    chart = chart_of(rules(comparison=comparison), many, width=40)
    [row] = [line for line in lines_of(chart.plain) if line.strip().startswith(f"{expected} ")]
    assert row.count("●") == 1
    assert [str(span.style) for span in chart.spans].count("red") == 1


def test_a_score_beside_theta_is_never_drawn_on_its_line() -> None:
    chart = chart_of(rules(), seen(0.0, 0.2001, 0.1999, 1.0), width=40).plain
    rows = lines_of(chart)
    line = next(n for n, row in enumerate(rows) if "╌" in row)
    assert "●" not in rows[line]
    assert "●" in rows[line - 1]
    assert "●" in rows[line + 1]


def test_one_score_and_scores_that_never_change_are_drawn() -> None:
    assert chart_of(rules(), seen(0.2), width=40).plain.count("●") == 1
    assert chart_of(rules(), seen(-3.0, -3.0), width=10).plain.count("●") == 2


@pytest.mark.parametrize(("form", "head"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_a_picture_of_hostile_names_and_gaps_is_drawn(form: str, head: bytes) -> None:
    of = rules(name="a$b_{<script>", clearThreshold=0.1)
    assert history_plot(of, seen(0.1, None, 0.3), form=form).startswith(head)
    assert history_plot(of, seen(0.1), form=form).startswith(head)


def test_the_words_count_breaches_and_what_is_missing() -> None:
    said = words(rules(clearThreshold=0.1), seen(0.1, None, 0.3, 0.2), notes=["", "told"])
    assert said == [
        "fraud: max(drift)",
        "3 scores from 2026-03-02T12:00:00Z to 2026-03-02T12:15:00Z; "
        "θ: score > 0.2, clear threshold 0.1",
        "1 of them breach; the last is 0.2 (2026-03-02T12:15:00Z)",
        "1 of 4 ticks have no score",
        "Note: told",
    ]


def test_the_time_before_the_first_score_is_left_out() -> None:
    assert [o.score for o in without_prelude(seen(None, None, 0.1, None))] == [0.1, None]


def test_a_long_history_is_asked_at_every_so_many_ticks_and_says_so() -> None:
    span = Span(tick(0) - 300 * DAY, tick(0))
    asked = asked_ticks(rules(interval="1s"), span, step=None, uid="")
    assert 50_000 < len(asked.ticks) <= 100_001
    assert asked.note.startswith("only a score every ")
    few = asked_ticks(rules(interval="5m"), Span(tick(0), tick(10)), step=None, uid="")
    assert (len(few.ticks), few.note) == (11, "")


def test_a_step_that_is_too_small_or_meets_nothing_is_refused() -> None:
    span = Span(tick(0) - 300 * DAY, tick(0))
    with pytest.raises(UsageError, match="set a larger --step"):
        asked_ticks(rules(), span, step=timedelta(seconds=1), uid="")
    with pytest.raises(UsageError, match="no tick of fraud lies between"):
        asked_ticks(rules(schedule="0 0 1 1 *"), Span(tick(0), tick(1)), step=None, uid="")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param([], "name a live trigger, or a file with -f", id="nothing"),
        pytest.param(["-f", "x", "-o", "a.jpg"], "must end in .png or .svg", id="another picture"),
        pytest.param(["-f", "x", "--since", "soon"], "nor a duration like 30d", id="no time"),
        pytest.param(["-f", "x", "--step", "0s"], "must be at least 1s", id="no step"),
        pytest.param(
            ["-f", "x", "--since", "2026-02-01T00:00:00Z", "--until", "2026-01-01T00:00:00Z"],
            "--since is after --until",
            id="turned round",
        ),
    ],
)
def test_wrong_usage_says_what_is_right(arguments: list[str], words: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert words in " ".join(done.output.replace("│", " ").split())


def test_a_server_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "trigger.yaml"
    path.write_text(TRIGGER)
    done = subprocess.run(
        [sys.executable, "-m", "drifttrigger", "plot", "-f", str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "drifttrigger: http://127.0.0.1:1 can't be reached: Connection refused"
    ]


def test_infinity_is_no_point() -> None:
    assert len(without_prelude(seen(math.inf, 0.1))) == 1
