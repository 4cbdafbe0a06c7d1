"""The operator as a process of its own, as its shipped service account."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

SYSTEM_NAMESPACE = "drifttrigger-system"


class OperatorProcess:
    """One operator process that looks at some namespaces.

    Args:
        kubeconfig: Whose rights it has.
        namespaces: What it looks at; empty for all.
        log: Where its log goes.
        fault: A fault point, as in `kill:intent-written`.
        arguments: More arguments.
    """

    def __init__(
        self,
        kubeconfig: Path,
        namespaces: Sequence[str],
        log: Path,
        *,
        fault: str = "",
        arguments: Sequence[str] = (),
    ) -> None:
        self.log = log
        command = [sys.executable, "-m", "drifttrigger", "operator", "--metrics-address="]
        command += ["--health-address=", f"--kubeconfig={kubeconfig}", "--log-level=DEBUG"]
        command += [f"--namespace={namespace}" for namespace in namespaces]
        environment = {**os.environ, "DRIFTTRIGGER_FAULT": fault}
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [*command, *arguments], stderr=output, stdout=output, env=environment
            )

    def kill(self) -> None:
        """Kill it as `kill -9` does."""
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        """Ask it to end; kill it if it does not."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        return self.process.returncode

    def wait_stopped(self, *, within_seconds: float = 30.0) -> None:
        """Wait until a fault point has suspended it."""
        deadline = time.monotonic() + within_seconds
        while not self.is_stopped():
            assert time.monotonic() < deadline, f"not suspended\n{self.log.read_text()[-3000:]}"
            time.sleep(0.02)

    def is_stopped(self) -> bool:
        """Tell whether it is suspended."""
        try:
            return "\nState:\tT" in Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return False

    def lines(self) -> list[dict[str, Any]]:
        """Read its log."""
        return [
            orjson.loads(line) for line in self.log.read_bytes().splitlines() if line[:1] == b"{"
        ]
