"""Files, flags and answers of a backtest: what is read, and what is refused in one line."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from drifttrigger.api.errors import UsageError
from drifttrigger.api.reasons import Outcome
from drifttrigger.cli.analysis.history import read_csv
from drifttrigger.cli.backtest import backtest, inputs
from drifttrigger.cli.backtest.observations import observations_of
from drifttrigger.cli.backtest.recorded import recorded_training
from drifttrigger.cli.backtest.ticks import chunks, common_step, schedule_for, ticks_between
from drifttrigger.cli.simulate import simulate
from support.builders import rules

TRIGGER = """
apiVersion: drifttrigger.dev/v1alpha1
kind: DriftTrigger
metadata: {name: fraud}
spec:
  prometheus: {address: "http://127.0.0.1:1"}
  query: max(drift)
  interval: 1d
  cooldown: 0s
  threshold: 0.2
  jobTemplate: {}
"""
HEADER = "timestamp,drift_score\n"
FROM = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def trigger(tmp_path: Path) -> Path:
    path = tmp_path / "trigger.yaml"
    path.write_text(TRIGGER)
    return path


@pytest.fixture
def csv_of(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "scores.csv"
        path.write_text(text)
        return path

    return write


def run(*arguments: object) -> Result:
    return CliRunner().invoke(backtest, [str(argument) for argument in arguments])


def read(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, (result.output, result.exception)
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_rows_are_ticks_by_time_and_an_empty_score_is_no_data(
    trigger: Path, csv_of: Callable[[str], Path]
) -> None:
    path = csv_of(HEADER + "2026-03-03T00:00:00Z,0.3\n2026-03-01,0.1\n2026-03-02T00:00:00Z,\n")
    found = read(run("-f", trigger, "--csv", path, "-o", "json"))
    assert found["retrainings"] == [
        {"time": "2026-03-03T00:00:00Z", "score": 0.3, "episode": 1, "attempt": 1}
    ]
    assert (found["ticks"], found["since"]) == (3, "2026-03-01T00:00:00Z")
    reasons = {entry["reason"]: entry["ticks"] for entry in found["notRetrained"]}
    assert reasons == {"BelowThreshold": 1, "NoData": 1}


@pytest.mark.parametrize(
    ("text", "outcome"),
    [("", "NoData"), ("NaN", "NotANumber"), ("+Inf", "Infinite"), ("0.2", "Score")],
)
def test_every_text_of_a_score_has_its_outcome(
    csv_of: Callable[[str], Path], text: str, outcome: str
) -> None:
    history = read_csv(csv_of(f"{HEADER}2026-03-01T00:00:00Z,{text}\n"))
    [found] = observations_of(rules(), history, [FROM], offset=timedelta(0))
    assert found.outcome is Outcome(outcome)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("2026-03-01,1\n2026-03-01T00:00:00Z,2\n", "line 3.*twice", id="duplicate"),
        pytest.param("2026-03-01,high\n", "line 2.*'high' is no number", id="no number"),
        pytest.param("2026-03-01,1\nyesterday,2\n", "line 3.*no time", id="no time"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(
    csv_of: Callable[[str], Path], text: str, problem: str
) -> None:
    with pytest.raises(UsageError, match=problem):
        read_csv(csv_of(HEADER + text))


def test_files_that_are_none_are_refused(csv_of: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_csv(tmp_path / "nowhere.csv")
    with pytest.raises(UsageError, match="no column timestamp"):
        read_csv(csv_of("a,b\n1,2\n"))
    with pytest.raises(UsageError, match="no CSV"):
        read_csv(csv_of(""))


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--since", "soon"),
        ("--until", "2026-13-01T00:00:00Z"),
        ("--step", "0s"),
        ("--align", "x"),
        ("--training-time", "long"),
        ("--budget", "2"),
        ("--budget", "2/0s"),
        ("--sweep", "a,b"),
        ("--sweep", "1:0:0.1"),
        ("--sweep", "0:1:0"),
        ("--sweep", "0:1:0.0001"),
        ("--since", "2026-03-02T00:00:00Z", "--until", "2026-03-01T00:00:00Z"),
    ],
    ids=lambda arguments: " ".join(arguments) or "no trigger",
)
def test_wrong_flags_are_wrong_usage(trigger: Path, arguments: tuple[str, ...]) -> None:
    assert run(*(["-f", trigger] if arguments else []), *arguments).exit_code == 2


def test_what_a_file_decides_cannot_be_asked_for_beside_it(
    trigger: Path, csv_of: Callable[[str], Path]
) -> None:
    path = csv_of(HEADER + "2026-03-01,1\n")
    for extra in (("--step", "1h"), ("--align", "1h"), ("--address", "http://x")):
        assert run("-f", trigger, "--csv", path, *extra).exit_code == 2


def test_no_server_is_one_line(trigger: Path) -> None:
    result = run("-f", trigger)
    assert isinstance(result.exception, UsageError)
    assert str(result.exception) == "http://127.0.0.1:1 can't be reached: Connection refused"


def retraining(minutes: int, status: str = "True") -> dict[str, Any]:
    return {
        "status": {
            "conditions": [{"type": "Succeeded", "status": status, "reason": "Completed"}],
            "startTime": "2026-03-01T00:00:00Z",
            "completionTime": f"2026-03-01T00:{minutes:02}:00Z",
        }
    }


def test_the_recorded_training_time_is_the_median_of_those_that_completed() -> None:
    bodies = [retraining(10), retraining(50, "False"), retraining(20), retraining(12), {}]
    assert recorded_training(bodies) == timedelta(minutes=12)
    with pytest.raises(UsageError, match="give --training-time"):
        recorded_training([retraining(50, "False"), {"status": 1}, {"status": {"startTime": 3}}])


def test_a_file_has_no_recorded_training_time(trigger: Path) -> None:
    assert run("-f", trigger, "--training-time", "recorded").exit_code == 2


def test_the_example_of_the_guide_fires_first_at_step_31(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guide = (Path(__file__).parents[2] / "docs/how-to/choosing-a-threshold.md").read_text()
    commands = re.findall(r"^\$ drifttrigger (.+)$", guide, re.MULTILINE)[:2]
    monkeypatch.chdir(tmp_path)
    Path("trigger.yaml").write_text(guide.split("```yaml\n")[1].split("```")[0])
    done = CliRunner().invoke(simulate, commands[0].removeprefix("simulate ").split())
    assert done.exit_code == 0, done.output
    found = read(run(*commands[1].removeprefix("backtest ").split(), "-o", "json"))
    days = datetime.fromisoformat(found["retrainings"][0]["time"])
    assert (days - datetime.fromisoformat(found["since"])).days == 31
    assert len(found["sweep"]) == 5


def test_incidents_are_read_by_time_and_refused_by_line(tmp_path: Path) -> None:
    path = tmp_path / "incidents.csv"
    path.write_text("start,end\n2026-03-05T00:00:00Z,\n2026-03-01T00:00:00Z,2026-03-02T00:00:00Z\n")
    first, second = inputs.incidents(path)
    assert (first.end, second.end) == (FROM + timedelta(days=1), None)
    path.write_text("start,end\n2026-03-05T00:00:00Z,2026-03-01T00:00:00Z\n")
    with pytest.raises(UsageError, match="line 2: ends before"):
        inputs.incidents(path)
    path.write_text("start,end\n")
    with pytest.raises(UsageError, match="no incident"):
        inputs.incidents(path)


def test_sweeps_are_lists_ranges_or_automatic() -> None:
    assert inputs.thresholds("0.3,0.1") == [0.1, 0.3]
    assert inputs.thresholds("0.1:0.3:0.1") == [0.1, 0.2, 0.3]
    assert inputs.thresholds("auto") is None


def test_ticks_are_the_operator_s_and_align_moves_them() -> None:
    of = rules(interval="1h")
    own = schedule_for(of, step=None, align=None, uid="")
    moved = schedule_for(of, step=None, align=inputs.alignment("2026-03-01T00:07:00Z", "-"), uid="")
    until = FROM + timedelta(hours=2)
    assert [t.minute for t in ticks_between(own, FROM, until)] == [0, 0, 0]
    assert [t.minute for t in ticks_between(moved, FROM, until)] == [7, 7]
    assert ticks_between(of.schedule, FROM, until) == ticks_between(own, FROM, until)


def test_cron_ticks_are_covered_by_their_greatest_common_step() -> None:
    of = rules(schedule="0 9,12 * * 1-5", time_zone="Europe/Berlin")
    schedule = schedule_for(of, step=None, align=None, uid="")
    ticks = ticks_between(schedule, FROM, FROM + timedelta(days=60))
    step = common_step(ticks)
    assert step == timedelta(hours=1)  # across the change to summer time
    assert all((tick - ticks[0]) % step == timedelta(0) for tick in ticks)


def test_chunks_stay_under_the_limit_and_miss_no_point() -> None:
    step = timedelta(minutes=5)
    ticks = [FROM + n * step for n in range(25_003)]
    pieces = chunks(ticks, step)
    assert len(pieces) == 3
    covered = []
    for start, end in pieces:
        count = (end - start) // step + 1
        assert count <= 11_000
        covered += [start + n * step for n in range(count)]
    assert covered == ticks


def test_too_many_ticks_are_refused_with_what_to_do() -> None:
    of = rules(interval="1s")
    with pytest.raises(UsageError, match="--step"):
        ticks_between(of.schedule, FROM, FROM + timedelta(days=365))
