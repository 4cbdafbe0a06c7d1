"""Operators under measurement: real processes on cores of their own, asked through /metrics."""

import time
from collections.abc import Callable
from pathlib import Path

from bench.errors import BenchError
from bench.ground import Ground
from bench.proc import pin
from bench.scraped import Scraped
from drifttrigger.local.ports import HOST, free_ports
from support.operator import SYSTEM_NAMESPACE, OperatorProcess

_POLL_SECONDS = 0.25


class BenchOperator:
    """One operator process for all namespaces, with default settings but for what is said.

    Args:
        ground: Where it works.
        name: Its identity.
        arguments: More arguments.
    """

    def __init__(self, ground: Ground, name: str, *arguments: str) -> None:
        self.name = name
        (port,) = free_ports(1)
        self.address = f"{HOST}:{port}"
        self.started_at = time.monotonic()
        self._process = OperatorProcess(
            ground.kubeconfig(),
            (),
            ground.folder / f"{name}.log",
            arguments=[
                "--log-level=INFO",
                f"--metrics-address={self.address}",
                f"--identity={name}",
                f"--lease-namespace={SYSTEM_NAMESPACE}",
                # Jobs are what is waited for here; how many start a minute is another matter.
                "--max-starts-per-minute=100000",
                *arguments,
            ],
        )
        pin(self.pid, ground.cores.operators)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.process.pid

    @property
    def log(self) -> Path:
        """Where its log goes."""
        return self._process.log

    @property
    def age_seconds(self) -> float:
        """How long ago it was started."""
        return time.monotonic() - self.started_at

    def check(self) -> None:
        """Make sure that it runs.

        Raises:
            BenchError: It ended by itself.
        """
        status = self._process.process.poll()
        if status is not None:
            raise BenchError(f"{self.name} ended with {status}: {_last_line(self.log)}")

    def scrape(self) -> Scraped:
        """Read its metrics.

        Raises:
            BenchError: It ended, or does not answer.
        """
        self.check()
        try:
            return Scraped.read(self.address)
        except OSError as error:
            self.check()
            raise BenchError(f"{self.name} gives no metrics: {error}") from error

    def page(self) -> Scraped | None:
        """Read its metrics; None while it does not listen yet.

        Raises:
            BenchError: It ended.
        """
        self.check()
        try:
            return Scraped.read(self.address)
        except ConnectionError:
            return None

    def wait(
        self,
        question: Callable[[Scraped], bool],
        *,
        within_seconds: float,
        what: str,
        every_seconds: float = _POLL_SECONDS,
    ) -> float:
        """Wait until its metrics say something; returns its age then.

        Raises:
            BenchError: They do not in time, or it ended.
        """
        deadline = time.monotonic() + within_seconds
        while True:
            page = self.page()
            if page is not None and question(page):
                return self.age_seconds
            if time.monotonic() > deadline:
                raise BenchError(f"{self.name}, {what}: not within {within_seconds:.0f} s")
            time.sleep(every_seconds)

    def kill(self) -> None:
        """Kill it as `kill -9` does."""
        self._process.kill()

    def stop(self) -> None:
        """Ask it to end."""
        self._process.stop()


def _last_line(log: Path) -> str:
    lines = log.read_text().strip().splitlines()
    return lines[-1][-500:] if lines else "it wrote nothing"
