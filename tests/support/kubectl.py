"""kubectl for tests, as an administrator or as anybody else."""

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Kubectl:
    """kubectl with one kubeconfig."""

    program: Path
    kubeconfig: Path

    def __call__(self, *arguments: str, stdin: object = None) -> str:
        """Run it; fails the test with what it said when it does not succeed."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run(self, *arguments: str, stdin: object = None) -> "subprocess.CompletedProcess[str]":
        """Run it and give what came of it."""
        return subprocess.run(
            [self.program, f"--kubeconfig={self.kubeconfig}", *arguments],
            input=None if stdin is None else json.dumps(stdin),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def get(self, *arguments: str) -> Any:
        """Get objects as they are."""
        return json.loads(self("get", *arguments, "--output=json"))


def eventually(
    question: Callable[[], bool], *, within_seconds: float = 15.0, what: str = "it"
) -> None:
    """Wait until something is true; fails the test when it does not become so in time."""
    deadline = time.monotonic() + within_seconds
    while not question():
        assert time.monotonic() < deadline, f"{what} did not happen in {within_seconds} s"
        time.sleep(0.05)
