"""`simulate` gives the exercise's numbers, in every form, and says what they say."""

import math
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
import requests
from click.testing import CliRunner, Result

from drifttrigger.cli.analysis.reference import reference_series
from drifttrigger.cli.simulate import as_csv, openmetrics, simulate

SEED_SCORES = Path(__file__).parents[1] / "data" / "seed_scores.csv"
END = datetime(2026, 3, 1, tzinfo=UTC)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(simulate, arguments)


def test_csv_holds_the_exercise_s_thirty_scores_and_ends_today(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    before = datetime.now(UTC).date()
    result = run("--format", "csv", "--output", str(path))
    assert result.exit_code == 0, result.output
    found = pd.read_csv(path)
    assert list(found.columns) == ["timestamp", "drift_score"]
    expected = pd.read_csv(SEED_SCORES)["drift_score"]
    assert (found["drift_score"] - expected).abs().max() <= 1e-12
    assert len(found) == 30
    last = datetime.fromisoformat(found["timestamp"].iloc[-1]).date()
    assert last in (before, datetime.now(UTC).date())


def test_thirty_steps_peak_below_theta_and_no_trigger_fires() -> None:
    output = run().stdout
    assert "The last 10 of 30 drift scores:" in output
    assert len([line for line in output.splitlines() if line[:2].isdigit()]) == 10
    assert "Latest" not in output
    assert "No significant drift: 0.1792 ≤ 0.2. No trigger fires." in output
    assert "Of 30 scores the highest is 0.1792 (step 29)" in output


def test_the_series_that_goes_on_is_detected_and_its_first_crossing_named() -> None:
    output = run("--steps", "32").stdout
    assert "Drift detected: 0.2520 > 0.2. A retraining would be triggered." in output
    assert "the first above θ = 0.2 is step 31 (0.2520)" in output


def test_a_crossing_before_the_latest_score_does_not_fire() -> None:
    output = run("--steps", "33", "--threshold", "0.24").stdout
    assert "No significant drift: 0.2297 ≤ 0.24. No trigger fires." in output
    assert "the first above θ = 0.24 is step 31 (0.2520)" in output


@pytest.mark.parametrize("form", ["table", "csv", "openmetrics", "plot"])
def test_no_scores_are_warned_about_in_every_form(form: str) -> None:
    result = run("--steps", "0", "--format", form)
    assert result.exit_code == 0
    assert "Warning: there are no drift scores" in result.output


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--seed", "7"),
        ("--base", "0.1"),
        ("--change-point", "3"),
        ("--slope", "0.03"),
        ("--noise", "0.001"),
    ],
)
def test_every_parameter_changes_the_series(option: str, value: str) -> None:
    assert run("--format", "csv", option, value).stdout != run("--format", "csv").stdout


def test_the_words_stay_out_of_data_on_stdout() -> None:
    result = run("--format", "csv")
    assert result.stdout.splitlines()[0] == "timestamp,drift_score"
    assert len(result.stdout.splitlines()) == 31
    assert "No trigger fires" in result.stderr


def test_csv_reads_back_as_the_same_doubles() -> None:
    series = reference_series(60, end=END)
    lines = as_csv(series).splitlines()[1:]
    assert [float(line.split(",")[1]) for line in lines] == series["drift_score"].tolist()


def test_openmetrics_escapes_the_label_and_ends_as_promtool_asks() -> None:
    text = "".join(
        openmetrics(reference_series(2, end=END), model='a"b\\', every=timedelta(days=1))
    )
    assert '{model="a\\"b\\\\"}' in text
    assert text.endswith("# EOF\n")
    assert len(text.splitlines()) == 5


def test_openmetrics_repeats_a_score_through_its_day() -> None:
    text = "".join(openmetrics(reference_series(3, end=END), model="m", every=timedelta(hours=1)))
    seconds = [int(line.split()[-1]) for line in text.splitlines() if line[0] != "#"]
    assert len(seconds) == 72
    assert {b - a for a, b in pairwise(seconds)} == {3600}


def test_a_plot_is_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "drift.png"
    assert run("--format", "plot", "--output", str(path)).exit_code == 0
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--steps", "-1"),
        ("--steps", "x"),
        ("--seed", "-1"),
        ("--noise", "-0.1"),
        ("--base", "nan"),
        ("--slope", "inf"),
        ("--slope", "1e300"),
        ("--change-point", "1" + 30 * "0"),
        ("--format", "pdf"),
        ("--serve", "9105"),
        ("--every", "1x", "--format", "openmetrics"),
    ],
)
def test_wrong_flags_are_wrong_usage(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2


def test_a_live_exporter_serves_step_by_step() -> None:
    command = [sys.executable, "-m", "drifttrigger", "simulate", "--steps", "3"]
    command += ["--serve", "127.0.0.1:0", "--every", "1s"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            url = process.stderr.readline().split(",")[0]
            assert process.stderr.readline().startswith("step 0: 0.0599")
            page = requests.get(url, timeout=10).text
            for line in process.stderr:
                if "No trigger fires" in line:
                    break
        finally:
            process.terminate()
    [score] = [line for line in page.splitlines() if line.startswith("model_drift_score{")]
    assert math.isclose(float(score.split()[-1]), 0.0599342, abs_tol=1e-6)
