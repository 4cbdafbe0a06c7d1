"""Start children that die with us.

The kernel sends the parent-death signal when the *thread* that started a child ends, not when the
process does: a child of a short-lived worker thread would be killed with that thread. So one thread
starts all children and lives as long as the process.
"""

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

Child = subprocess.Popen[bytes]

_LAUNCH = Path(__file__).with_name("launch.py")


def spawn(
    command: Sequence[str], *, log: Path, cwd: Path, env: Mapping[str, str] | None = None
) -> Child:
    """Start a child that leads a process group of its own and dies with us.

    Args:
        command: Absolute path and arguments.
        log: What it says is appended here.
        cwd: Where it runs.
        env: Its whole environment; None means ours.

    Returns:
        The running child.

    Raises:
        OSError: It can't be started.
    """

    def start() -> Child:
        with log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", _LAUNCH, str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=env,
                process_group=0,
            )

    return _spawner.call(start)


def end(child: Child) -> None:
    """Kill a child with its whole group, unless it has ended, and reap it."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


class _Spawner:
    """The one thread that starts all children; made when it is first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._work: queue.SimpleQueue[tuple[Callable[[], Child], Future[Child]]] = (
            queue.SimpleQueue()
        )

    def call(self, start: Callable[[], Child]) -> Child:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="spawner", daemon=True)
                self._thread.start()
        answer: Future[Child] = Future()
        self._work.put((start, answer))
        return answer.result()

    def _run(self) -> None:
        while True:
            start, answer = self._work.get()
            try:
                answer.set_result(start())
            except OSError as error:
                answer.set_exception(error)


_spawner = _Spawner()
