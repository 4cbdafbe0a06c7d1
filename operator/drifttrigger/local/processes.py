"""Start, disturb and stop the control plane's processes.

Each child leads a process group of its own (a Ctrl-C at the terminal does not reach it before we
do) and carries the kernel's parent-death signal (`spawning`), so that nothing outlives us. Chaos
tests stop, kill, pause and restart children by name; a restart uses the same command, and so the
same port and the same data.
"""

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from drifttrigger.local.errors import StartError
from drifttrigger.local.spawning import Child, end, spawn

_LOG_LINES = 15
_LOG_BYTES = 16_384
_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Program:
    """How one process is run.

    Args:
        name: Its name for people, as in `kube-apiserver`.
        command: Absolute path and arguments.
        grace_seconds: How long it may take to end by itself when all are stopped; 0 kills it at
            once, right for those that keep no data of their own.
    """

    name: str
    command: tuple[str, ...]
    grace_seconds: float = 0.0


class Processes:
    """The children of one cluster.

    Args:
        logs: Folder for one log file per process; made when missing.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._programs: dict[str, Program] = {}
        self._running: dict[str, Child] = {}
        logs.mkdir(parents=True, exist_ok=True)

    def start(self, program: Program) -> None:
        """Start a process; it is not ready yet when this returns.

        Raises:
            StartError: A process of that name runs already.
        """
        if program.name in self._running:
            raise StartError(program.name, "runs already")
        self._programs[program.name] = program
        self._running[program.name] = spawn(
            program.command, log=self.log_file(program.name), cwd=self._logs
        )

    def start_again(self, name: str) -> None:
        """Start a stopped process as it was started before."""
        self.start(self._program(name))

    def stop(self, name: str, *, grace_seconds: float = 10.0) -> None:
        """Ask a process to end (SIGTERM), then kill it; does nothing when it is gone."""
        process = self._running.pop(name, None)
        if process is not None:
            _terminate(process)
            _wait_or_kill(process, until=time.monotonic() + grace_seconds)

    def kill(self, name: str) -> None:
        """End a process at once (SIGKILL); does nothing when it is gone."""
        process = self._running.pop(name, None)
        if process is not None:
            end(process)

    def pause(self, name: str) -> None:
        """Freeze a process (SIGSTOP): it keeps its port and answers nothing."""
        os.killpg(self._process(name).pid, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Let a frozen process go on (SIGCONT)."""
        os.killpg(self._process(name).pid, signal.SIGCONT)

    def stop_all(self) -> None:
        """Stop every process, later ones first; none runs when this returns."""
        # Popped one by one, so that a second Ctrl-C in here leaves the rest to the next call.
        names = list(reversed(self._running))
        for name in names:
            if self._programs[name].grace_seconds > 0:
                _terminate(self._running[name])
        deadlines = {name: time.monotonic() + self._programs[name].grace_seconds for name in names}
        for name in names:
            _wait_or_kill(self._running[name], until=deadlines[name])
            del self._running[name]

    def pid(self, name: str) -> int:
        """Tell the process id of a running process."""
        return self._process(name).pid

    def pids(self) -> Mapping[str, int]:
        """Tell the process ids of all running processes by name."""
        return {name: process.pid for name, process in self._running.items()}

    def log_file(self, name: str) -> Path:
        """Tell where a process writes its log."""
        return self._logs / f"{name}.log"

    def check(self) -> None:
        """Make sure that all that were started still run.

        Raises:
            StartError: One ended by itself.
        """
        for name, process in self._running.items():
            if process.poll() is not None:
                raise StartError(
                    name,
                    f"ended with exit code {process.returncode}",
                    log=self.log_tail(name),
                )

    def wait_until(self, name: str, ready: Callable[[], bool], *, timeout_seconds: float) -> None:
        """Wait until a process is ready, by a question of the caller's.

        Args:
            name: Which process the question is about.
            ready: Asked again and again; connection errors count as not ready.
            timeout_seconds: How long to wait.

        Raises:
            StartError: A process ended, or the time is up.
        """
        deadline = time.monotonic() + timeout_seconds
        while not _ask(ready):
            self.check()
            if time.monotonic() > deadline:
                raise StartError(
                    name,
                    f"is not ready after {timeout_seconds:.0f} s",
                    log=self.log_tail(name),
                )
            time.sleep(_POLL_SECONDS)

    def log_tail(self, name: str) -> str:
        """Give the last lines of a process's log; empty when it wrote none."""
        log = self.log_file(name)
        if not log.exists():
            return ""
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - _LOG_BYTES))
            return "\n".join(stream.read().decode(errors="replace").splitlines()[-_LOG_LINES:])

    def _program(self, name: str) -> Program:
        if name not in self._programs:
            raise StartError(name, "is not part of this cluster")
        return self._programs[name]

    def _process(self, name: str) -> Child:
        process = self._running.get(name)
        if process is None:
            self._program(name)
            raise StartError(name, "does not run")
        return process


def _ask(ready: Callable[[], bool]) -> bool:
    try:
        return ready()
    except OSError:
        return False


def _terminate(process: Child) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        # A frozen process would see the signal only once somebody resumes it.
        os.killpg(process.pid, signal.SIGCONT)


def _wait_or_kill(process: Child, *, until: float) -> None:
    while process.poll() is None and time.monotonic() < until:
        time.sleep(_POLL_SECONDS)
    end(process)
