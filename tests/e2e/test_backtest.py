"""`drifttrigger backtest` as a person runs it, on histories that a real Prometheus holds."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import pytest
from click.testing import CliRunner, Result

from drifttrigger.api.errors import UsageError
from drifttrigger.cli.analysis.reference import reference_scores
from drifttrigger.cli.main import cli
from drifttrigger.local import prometheus as metrics
from drifttrigger.local.binaries import ensure_binaries
from drifttrigger.local.layout import Layout, claim_temporary
from drifttrigger.local.ports import HOST, free_ports
from drifttrigger.local.processes import Processes
from drifttrigger.local.prometheus import PrometheusOptions
from drifttrigger.local.rest import Rest
from support.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("backtest")]

DAY = 86_400
STEPS = 60
YEAR_OF_FIVE_MINUTES = 105_120
TRIGGER = """
apiVersion: drifttrigger.dev/v1alpha1
kind: DriftTrigger
metadata: {{name: fraud-detector}}
spec:
  prometheus: {{address: "{address}"}}
  query: max(model_drift_score)
  interval: {interval}
  cooldown: 2d
  threshold: 0.2
  jobTemplate:
    spec: {{template: {{spec: {{restartPolicy: Never, containers: [{{name: a, image: b}}]}}}}}}
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def replayed(text: str, *arguments: str) -> Result:
    """Backtest a trigger from a file."""
    with NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(text)
        file.flush()
        return run("backtest", "-f", file.name, *arguments)


def read(done: Result) -> dict[str, Any]:
    assert done.exit_code == 0, (done.output, done.exception)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def today() -> int:
    """The midnight that the simulated series ends on."""
    return int(datetime.now(UTC).timestamp()) // DAY * DAY


@pytest.fixture(scope="module")
def server(today: int) -> Iterator[str]:
    """A Prometheus that holds sixty days of the reference series and a year at five minutes."""
    binaries = ensure_binaries(progress=lambda line: print(line, file=sys.__stderr__))
    directory, lock = claim_temporary()
    layout = Layout(directory)
    layout.make()
    processes = Processes(layout.logs)
    [port] = free_ports(1)
    address = f"http://{HOST}:{port}"
    options = PrometheusOptions()
    try:
        samples = directory / "reference.om"
        done = run(
            "simulate", "--steps", str(STEPS), "--format", "openmetrics", "--output", str(samples)
        )
        assert done.exit_code == 0, done.output
        metrics.backfill(layout, binaries=binaries, samples=samples)
        year = directory / "year.om"
        year.write_text(
            "# TYPE year_score gauge\n"
            + "".join(
                f"year_score {n % 100 / 1000} {today - (YEAR_OF_FIVE_MINUTES - n) * 300}\n"
                for n in range(YEAR_OF_FIVE_MINUTES)
            )
            + "# EOF\n"
        )
        metrics.backfill(layout, binaries=binaries, samples=year)
        metrics.write_config(layout, options=options, targets=[])
        processes.start(metrics.prometheus(layout, binaries=binaries, port=port, options=options))
        processes.wait_until(
            metrics.PROMETHEUS,
            lambda: Rest(address).get("/-/ready").status == 200,
            timeout_seconds=60,
        )
        yield address
    finally:
        processes.stop_all()
        shutil.rmtree(directory, ignore_errors=True)
        lock.release()


def test_the_reference_series_fires_first_at_step_31(server: str, today: int) -> None:
    text = TRIGGER.format(address=server, interval="1d")
    done = replayed(text, "--since", f"{STEPS}d", "-o", "json")
    found = read(done)
    first = found["retrainings"][0]
    at = datetime.fromisoformat(first["time"]).timestamp()
    step = STEPS - 1 - (today - at) / DAY
    assert step == 31
    assert first["score"] == reference_scores(STEPS)[31] == pytest.approx(0.2520, abs=5e-5)
    assert (first["episode"], first["attempt"]) == (1, 1)
    assert [r["attempt"] for r in found["retrainings"]] == [1, 2, 3]
    assert found["refreshSeconds"] == DAY


def test_a_file_of_the_same_series_gives_the_same_retrainings(server: str, tmp_path: Path) -> None:
    text = TRIGGER.format(address=server, interval="1d")
    path = tmp_path / "scores.csv"
    run("simulate", "--steps", str(STEPS), "--format", "csv", "--output", str(path))
    queried = read(replayed(text, "--since", "90d", "-o", "json"))
    from_file = read(replayed(text, "--csv", str(path), "-o", "json"))
    assert from_file["retrainings"] == queried["retrainings"]
    assert queried["ticks"] in (90, 91)  # 91 where now is midnight


def test_a_score_written_once_a_day_is_pointed_out(server: str, tmp_path: Path) -> None:
    text = TRIGGER.format(address=server, interval="5m").replace("cooldown: 2d", "cooldown: 1h")
    text = text.replace("max(model_drift_score)", "max(last_over_time(model_drift_score[1d]))")
    page, picture = tmp_path / "report.html", tmp_path / "plot.png"
    arguments = ["--since", "70d", "--sweep", "0.2,0.3", "--budget", "1/30d"]
    arguments += ["--html", str(page), "--plot", str(picture)]
    done = replayed(text, *arguments)
    assert done.exit_code == 0, done.output
    assert "The score changes every 1d (median)." in done.stdout
    assert "the interval is far shorter" in done.stdout
    assert "the cooldown (1h) is shorter" in done.stdout
    assert "Budget of 1 episode in any 30d: θ = " in done.stdout
    assert "History was not retrained" in done.stdout
    assert page.read_text().startswith("<!doctype html>")
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_a_year_of_five_minutes_comes_whole_in_chunks(server: str, today: int) -> None:
    text = TRIGGER.format(address=server, interval="5m").replace(
        "max(model_drift_score)", "year_score"
    )
    last = datetime.fromtimestamp(today - 300, UTC).isoformat()
    since = datetime.fromtimestamp(today - YEAR_OF_FIVE_MINUTES * 300, UTC).isoformat()
    arguments = ["--since", since, "--until", last, "-o", "json"]
    found = read(replayed(text, *arguments))
    assert found["ticks"] == YEAR_OF_FIVE_MINUTES
    reasons = [(r["reason"], r["ticks"]) for r in found["notRetrained"]]
    assert reasons == [("BelowThreshold", YEAR_OF_FIVE_MINUTES)]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        pytest.param("max(model_drift_score)", "max(", "parse error", id="bad PromQL"),
        pytest.param(
            "max(model_drift_score)", "'\"text\"'", "invalid expression type", id="a string"
        ),
        pytest.param("ADDRESS", "ADDRESS/nothing", "HTTP 404", id="no Prometheus there"),
    ],
)
def test_what_the_server_refuses_is_said_in_its_words(
    server: str, old: str, new: str, words: str
) -> None:
    old, new = old.replace("ADDRESS", server), new.replace("ADDRESS", server)
    text = TRIGGER.format(address=server, interval="1d").replace(old, new)
    done = replayed(text)
    assert isinstance(done.exception, UsageError)
    assert words in str(done.exception)
    assert len(str(done.exception).splitlines()) == 1


def test_a_refusal_is_one_line_and_exit_status_1(server: str) -> None:
    text = TRIGGER.format(address=server, interval="1d").replace("max(", "max((")
    done = subprocess.run(
        [sys.executable, "-m", "drifttrigger", "backtest", "-f", "-"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "parse error" in done.stderr


def test_a_live_trigger_s_retrainings_are_those_of_its_backtest(world: World) -> None:
    world.operator()
    world.set("fraud", 0.1)
    # Two seconds back: what the operator sees then has been scraped for certain, as now it has.
    spec = {"queryOffset": "2s", "cooldown": "0s", "maxAttempts": 1}
    world.apply(world.trigger(**spec, breaches={"required": 2, "window": 3}))
    world.wait_reason("fraud", "Drifted", "BelowThreshold")
    for number in (1, 2):
        world.set("fraud", 0.3 + number / 10)
        world.wait_jobs(number)
        world.wait_reason("fraud", "Drifted", "AttemptsExhausted")
        world.set("fraud", 0.1)
        world.wait_reason("fraud", "Drifted", "BelowThreshold")
    lived = sorted(
        (r["spec"]["evidence"]["time"], r["spec"]["evidence"]["score"], r["spec"]["episode"])
        for r in world.all("retraining")
    )
    time.sleep(1)  # the last decided tick lies behind --until, whatever the fraction of the second
    arguments = ["-n", world.namespace, "--kubeconfig", str(world.cluster.kubeconfig)]
    found = read(run("backtest", "fraud", *arguments, "--since", "5m", "-o", "json"))
    assert [(r["time"], r["score"], r["episode"]) for r in found["retrainings"]] == lived
    assert [r["attempt"] for r in found["retrainings"]] == [1, 1]
