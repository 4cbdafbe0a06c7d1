"""The whole demo, as people run it: it keeps its promises, and leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

PNG = b"\x89PNG\r\n\x1a\n"
DEMO_SECONDS = 120.0
CUE_SECONDS = 90.0
PROMTOOL_SECONDS = 5.0


@contextmanager
def demo(tmp_path: Path, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """Run the demo; its temporary files are all below tmp_path, and so can be counted."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "TMPDIR": str(temporary),
        "PYTHONUNBUFFERED": "1",
    }
    output = tmp_path / "output"
    with subprocess.Popen(
        [sys.executable, "-m", "drifttrigger", "demo", f"--output={output}", *arguments],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def left_over(tmp_path: Path) -> list[str]:
    """Name the processes that know a path of the demo, and the files that it left."""
    temporary = (tmp_path / "temporary").rglob("*")
    files = [str(path) for path in temporary if path.is_file() and path.name != "sweep.lock"]
    folders = [str(path) for path in (tmp_path / "temporary").glob("*/*") if path.is_dir()]
    strangers = [str(p) for p in (tmp_path / "temporary").iterdir() if "drifttrigger" not in p.name]
    return [*processes_of(tmp_path), *files, *folders, *strangers]


def processes_of(tmp_path: Path) -> list[str]:
    """Give the command lines that name a path of the demo."""
    found = []
    for pid in Path("/proc").glob("[0-9]*"):
        try:
            command = (pid / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(tmp_path) in command:
            found.append(command)
    return found


def test_the_demo_observes_exactly_one_of_everything(tmp_path: Path) -> None:
    started = time.monotonic()
    with demo(tmp_path, "--json") as process:
        printed, said = process.communicate(timeout=2 * DEMO_SECONDS)
    assert process.returncode == 0, said
    seconds = time.monotonic() - started

    found = json.loads(printed)
    counts = {name: found["audit"][name] for name in ("decisions", "retrainings", "jobs", "kills")}
    assert counts == {"decisions": 1, "retrainings": 1, "jobs": 1, "kills": 1}
    assert found["audit"]["requests"] > 0
    assert found["audit"]["refused"] == 0
    assert said.rstrip().endswith("audit log: 1 decision, 1 Retraining, 1 Job, 1 kill -9")

    reference = found["reference"]
    assert (reference["steps"], reference["peakStep"], reference["firstCrossing"]) == (30, 29, 31)
    assert round(reference["peak"], 4) == found["history"]["peak"].__round__(4) == 0.1792
    assert found["history"]["samples"] == 30 * 24 * 60
    outcomes = [hold["outcome"] for hold in found["holds"]]
    assert outcomes == ["NotANumber", "NoData", "Ambiguous", "Unreachable"]
    assert all(hold["message"] and not hold["retrainings"] for hold in found["holds"])
    assert round(found["crossing"]["score"], 4) == 0.252
    assert found["job"]["name"] == found["crossing"]["retraining"]
    assert found["job"]["driftScore"] == repr(found["crossing"]["score"])
    assert found["job"]["state"] == "Complete"
    assert found["cleared"]["score"] < 0.2

    assert Path(found["plot"]) == tmp_path / "output" / "drifttrigger-demo.png"
    assert Path(found["plot"]).read_bytes().startswith(PNG)
    assert left_over(tmp_path) == []
    assert seconds < DEMO_SECONDS


def test_the_reference_scores_are_told_before_anything_is_built(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        told = _until_cue(process, "control plane")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=CUE_SECONDS)
    text = "\n".join(told)
    assert "0.1625 0.1580 0.1792" in text
    assert "peak 0.1792 at step 29: θ = 0.2 is never crossed" in text
    assert "step 31 is the first above θ, with 0.2520" in text


@pytest.mark.parametrize(
    ("cue", "number"),
    [
        pytest.param("control plane", signal.SIGINT, id="while the control plane starts"),
        pytest.param("days of history", signal.SIGINT, id="while the history is backfilled"),
        pytest.param("DriftTrigger is applied", signal.SIGTERM, id="while the operator runs"),
        pytest.param("kill -9", signal.SIGINT, id="between two operators"),
    ],
)
def test_a_signal_leaves_nothing_behind(tmp_path: Path, cue: str, number: signal.Signals) -> None:
    with demo(tmp_path) as process:
        _until_cue(process, cue)
        if "history" in cue:
            _until_promtool_runs(tmp_path)
        process.send_signal(number)
        process.communicate(timeout=CUE_SECONDS)
    assert process.returncode == (130 if number == signal.SIGINT else 128 + signal.SIGTERM)
    assert left_over(tmp_path) == []
    assert not (tmp_path / "output").exists()


def _until_promtool_runs(tmp_path: Path) -> None:
    """Wait for a program that ends soon; when it was faster, the next moment is as good."""
    deadline = time.monotonic() + PROMTOOL_SECONDS
    while time.monotonic() < deadline:
        if any("promtool" in command for command in processes_of(tmp_path)):
            return
        time.sleep(0.005)


def _until_cue(process: "subprocess.Popen[str]", cue: str) -> list[str]:
    """Read what the demo says until a line holds the cue; a silent end of it ends the test."""
    assert process.stdout is not None
    told = []
    for line in process.stdout:
        told.append(line)
        if cue in line:
            return told
    raise AssertionError(f"never said {cue!r}:\n{''.join(told)}")
