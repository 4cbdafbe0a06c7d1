"""Children are started, disturbed and ended, with `sleep` in the place of the real ones."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from drifttrigger.local.errors import StartError
from drifttrigger.local.processes import Processes, Program
from support.kubectl import eventually

SLEEP = Program(name="sleeper", command=("/bin/sleep", "60"))


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    found = Processes(tmp_path / "logs")
    yield found
    found.stop_all()


def _runs(pid: int) -> bool:
    """Tell whether a process lives; one that only waits to be reaped does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _shell(script: str, *, name: str = "shell", grace_seconds: float = 0.0) -> Program:
    return Program(name=name, command=("/bin/sh", "-c", script), grace_seconds=grace_seconds)


def test_stopping_all_leaves_no_process(processes: Processes) -> None:
    processes.start(SLEEP)
    processes.start(_shell("sleep 60 & wait"))
    pids = dict(processes.pids())
    processes.stop_all()
    assert not any(_runs(pid) for pid in pids.values())
    assert processes.pids() == {}


def test_a_process_with_grace_may_end_its_work(processes: Processes, tmp_path: Path) -> None:
    done, ready = tmp_path / "done", tmp_path / "ready"
    script = f"trap 'touch {done}; exit' TERM; touch {ready}; while :; do sleep 0.05; done"
    processes.start(_shell(script, grace_seconds=10.0))
    eventually(ready.exists)
    processes.stop_all()
    assert done.exists()


def test_a_process_that_ignores_the_request_is_killed(processes: Processes, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    processes.start(_shell(f"trap '' TERM; touch {ready}; while :; do sleep 0.05; done"))
    eventually(ready.exists)
    pid = processes.pid("shell")
    processes.stop("shell", grace_seconds=0.2)
    assert not _runs(pid)


def test_a_frozen_process_can_be_stopped(processes: Processes) -> None:
    processes.start(SLEEP)
    pid = processes.pid("sleeper")
    processes.pause("sleeper")
    eventually(lambda: _state(pid) == "T")
    processes.stop("sleeper")
    assert not _runs(pid)


def test_a_paused_process_goes_on_after_resume(processes: Processes) -> None:
    processes.start(SLEEP)
    pid = processes.pid("sleeper")
    processes.pause("sleeper")
    eventually(lambda: _state(pid) == "T")
    processes.resume("sleeper")
    eventually(lambda: _state(pid) == "S")


def test_a_process_that_ends_by_itself_is_told_with_its_last_words(processes: Processes) -> None:
    processes.start(_shell("echo the port is taken; exit 3"))
    with pytest.raises(StartError, match=r"exit code 3(.|\n)*the port is taken"):
        processes.wait_until("shell", lambda: False, timeout_seconds=10)


def test_a_process_that_is_never_ready_is_told(processes: Processes) -> None:
    processes.start(SLEEP)
    with pytest.raises(StartError, match="sleeper is not ready after 0 s"):
        processes.wait_until("sleeper", lambda: False, timeout_seconds=0.1)


def test_a_stopped_process_starts_again_as_before(processes: Processes) -> None:
    processes.start(SLEEP)
    before = processes.pid("sleeper")
    processes.kill("sleeper")
    processes.start_again("sleeper")
    assert processes.pid("sleeper") != before
    assert Path(f"/proc/{processes.pid('sleeper')}").exists()


@pytest.mark.parametrize("act", ["stop", "kill"])
def test_ending_what_has_ended_does_nothing(processes: Processes, act: str) -> None:
    processes.start(SLEEP)
    getattr(processes, act)("sleeper")
    getattr(processes, act)("sleeper")


def test_a_name_that_is_not_there_is_refused(processes: Processes) -> None:
    with pytest.raises(StartError, match="frobnicator is not part of this cluster"):
        processes.pause("frobnicator")


def test_a_child_outlives_the_thread_that_asked_for_it(processes: Processes) -> None:
    thread = threading.Thread(target=processes.start, args=(SLEEP,))
    thread.start()
    thread.join()
    time.sleep(0.2)
    processes.check()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children of a killed parent")
def test_children_die_with_a_killed_parent(tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from drifttrigger.local.processes import Processes, Program\n"
        "found = Processes(Path(sys.argv[1]))\n"
        "found.start(Program(name='sleeper', command=('/bin/sleep', '60')))\n"
        "print(found.pid('sleeper'), flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, tmp_path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        eventually(lambda: Path(f"/proc/{child}/comm").read_text() == "sleep\n")
        parent.send_signal(signal.SIGKILL)
    eventually(lambda: not _runs(child), what="the child's end")
