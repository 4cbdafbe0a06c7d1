"""Operators that are killed, frozen, resumed and restarted, one thread for each.

An operator that ends by itself is started again, as a kubelet would, and told of.
"""

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress

from drifttrigger.runtime.faults import POINTS
from support.operator import OperatorProcess

FROZEN_SECONDS = (10.5, 12.0)  # longer than what a write rests on may be old
_REACHED_WITHIN_SECONDS = 40.0
_POLL_SECONDS = 0.1


def every_disturbance() -> list[str]:
    """Name what can be done to an operator, each fault point included."""
    points = [f"{action}:{point}" for point in POINTS for action in ("kill", "stop")]
    return ["kill", "kill", "stop", "terminate", *points]


class Slot(threading.Thread):
    """Keeps one operator running, but for what its script says.

    Args:
        start: Starts a process with a fault point, or none.
        script: What is done to it, in order: `kill`, `stop`, `terminate`, `kill:<fault point>`,
            `stop:<fault point>`.
        stream: Randomness.
    """

    def __init__(
        self,
        name: str,
        start: Callable[[str], OperatorProcess],
        script: Sequence[str],
        stream: random.Random,
    ) -> None:
        super().__init__(daemon=True, name=name)
        self._start = start
        self._script = list(script)
        self._random = stream
        self._over = threading.Event()
        self._process = start("")
        self.is_through = threading.Event()
        self.done: Counter[str] = Counter()
        self.ended: list[str] = []

    def run(self) -> None:
        """Work through the script, then keep the operator running until told to stop."""
        for step in self._script:
            self._live(self._random.uniform(2, 5))
            if self._over.is_set():
                break
            self._disturb(step)
        self.is_through.set()
        while not self._over.is_set():
            self._live(1)

    def stop(self) -> int:
        """End the operator gracefully; returns its exit status."""
        self._over.set()
        self.join()
        return self._process.stop()

    def _disturb(self, step: str) -> None:
        action, _, point = step.partition(":")
        if point:
            self._process.kill()
            self._process = self._start(step)
            if not self._reaches(step):
                self.done[f"{step} (not reached)"] += 1
                return
        elif action == "kill":
            self._process.kill()
        elif action == "stop":
            self._process.process.send_signal(signal.SIGSTOP)
        else:
            self._process.stop()
        self.done[step] += 1
        if action == "stop":
            self._over.wait(self._random.uniform(*FROZEN_SECONDS))
            self._process.process.send_signal(signal.SIGCONT)
        else:
            self._process = self._start("")

    def _reaches(self, step: str) -> bool:
        """Wait until a fault point has ended or frozen the process."""
        action = step.partition(":")[0]
        deadline = time.monotonic() + _REACHED_WITHIN_SECONDS
        while time.monotonic() < deadline and not self._over.wait(_POLL_SECONDS):
            if self._process.process.poll() is not None:
                if self._process.process.returncode == -signal.SIGKILL:
                    return action == "kill"
                self._restart(step)
            if action == "stop" and self._process.is_stopped():
                return True
        return False

    def _live(self, seconds: float) -> None:
        """Let it run; start it again if it ends."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self._over.wait(_POLL_SECONDS):
            if self._process.process.poll() is not None:
                self._restart()

    def _restart(self, fault: str = "") -> None:
        last = ""
        with suppress(IndexError, OSError):
            last = self._process.log.read_text().strip().splitlines()[-1][-300:]
        self.ended.append(f"with {self._process.process.returncode}: {last}")
        self._over.wait(1)
        self._process = self._start(fault)
