"""The operator as the demo runs it: a process of its own, under its own service account."""

import logging
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from drifttrigger.cli.demo.errors import NotObserved
from drifttrigger.cli.demo.trigger import NAME, NAMESPACE
from drifttrigger.local.cluster import Cluster
from drifttrigger.local.ports import HOST, free_ports
from drifttrigger.local.rest import Answer, Rest
from drifttrigger.local.spawning import end, spawn

ACCOUNT = ("drifttrigger-system", "drifttrigger")
USER = f"system:serviceaccount:{ACCOUNT[0]}:{ACCOUNT[1]}"
# The operator suspends itself there; see runtime/faults.py.
STOP_AFTER_INTENT = "stop:intent-written"

_LOG = logging.getLogger(__name__)
_STOP_SECONDS = 5.0
_KILL_SECONDS = 10.0
_LOG_LINES = 8
_SCORE = re.compile(
    rf'^drifttrigger_score{{namespace="{NAMESPACE}",trigger="{NAME}"}} (\S+)$', re.MULTILINE
)


class OperatorProcess:
    """One operator process; it dies with this one.

    Args:
        cluster: What it works on.
        number: Which one of the story it is; each has a token of its own, by which the audit log
            tells them apart.
        fault: A fault point; empty for none.
    """

    def __init__(self, cluster: Cluster, *, number: int, fault: str = "") -> None:
        kubeconfig = cluster.service_account_kubeconfig(*ACCOUNT)
        metrics, health = free_ports(2)
        self.metrics_url = f"http://{HOST}:{metrics}"
        self.log = cluster.directory / "logs" / f"operator-{number}.log"
        self._metrics = Rest(self.metrics_url)
        self._health = Rest(f"http://{HOST}:{health}")
        command = [
            *(sys.executable, "-m", "drifttrigger", "operator"),
            f"--kubeconfig={kubeconfig}",
            f"--metrics-address={HOST}:{metrics}",
            f"--health-address={HOST}:{health}",
            "--log-format=json",
            f"--identity=demo-operator-{number}",
        ]
        self._child = spawn(
            command,
            log=self.log,
            cwd=cluster.directory,
            env=_environment(cluster.directory, fault=fault),
        )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._child.pid

    def is_ready(self) -> bool:
        """Tell whether its caches are synced, in its own words."""
        answer = _get(self._health, "/readyz")
        return answer is not None and answer.status == 200

    def score(self) -> float | None:
        """Give the newest score that it has seen; None while it is down or has none."""
        answer = _get(self._metrics, "/metrics")
        found = _SCORE.search(answer.body.decode()) if answer is not None else None
        return float(found[1]) if found is not None else None

    def check(self) -> None:
        """Make sure that it runs.

        Raises:
            NotObserved: It ended by itself; carries the end of its log.
        """
        code = self._child.poll()
        if code is not None:
            raise NotObserved(f"the operator ended with exit code {code}:\n{self.tail()}")

    def kill(self) -> None:
        """Kill it as `kill -9` does, and make sure that this is what ended it.

        Raises:
            NotObserved: It had ended otherwise.
        """
        os.kill(self.pid, signal.SIGKILL)
        code = self._child.wait(_KILL_SECONDS)
        if code != -signal.SIGKILL:
            raise NotObserved(f"the operator ended with exit code {code}, not by kill -9")

    def stop(self) -> None:
        """End it gracefully, or at once when that takes long; may be called again."""
        if self._child.poll() is None:
            os.killpg(self.pid, signal.SIGTERM)
            # A suspended process sees the signal only once it is resumed.
            os.killpg(self.pid, signal.SIGCONT)
        try:
            self._child.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            _LOG.warning("the operator does not end by itself and is killed")
        finally:
            end(self._child)

    def tail(self) -> str:
        """Give the end of its log."""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-_LOG_LINES:])


def _environment(directory: Path, *, fault: str) -> dict[str, str]:
    """Give it nothing of this shell's own settings, and no proxy on the way to loopback."""
    kept = {name: value for name, value in os.environ.items() if not _is_setting(name)}
    return {
        **kept,
        "DRIFTTRIGGER_FAULT": fault,
        "NO_PROXY": HOST,
        "no_proxy": HOST,
        # The client library keeps certificates in temporary files, which a kill -9 leaves there.
        "TMPDIR": str(directory),
    }


def _is_setting(name: str) -> bool:
    return name.startswith("DRIFTTRIGGER_") or name in {"KUBECONFIG", "NO_PROXY", "no_proxy"}


def _get(server: Rest, path: str) -> Answer | None:
    try:
        return server.get(path)
    except OSError:
        return None
