"""The servers that fail in a storm: API server, Prometheus, etcd's history."""

import json
import threading
import time
from collections import Counter
from collections.abc import Sequence

from drifttrigger.local import control_plane
from drifttrigger.local.cluster import Cluster
from drifttrigger.local.prometheus import PROMETHEUS
from drifttrigger.local.rest import Rest
from support.faults import seeded

DISTURBANCES = (
    "API server restarted",
    "API server frozen",
    "Prometheus restarted",
    "Prometheus frozen",
    "etcd compacted",
)
_EVERY_KEY = "AA=="  # one zero byte, as range end too: all keys
_PAUSE_SECONDS = (3.0, 7.0)


class Machines(threading.Thread):
    """Disturbs the servers of a cluster, one after the other.

    Args:
        cluster: Whose.
        script: What happens, in order.
        seed: Repeats it.
    """

    def __init__(self, cluster: Cluster, script: Sequence[str], seed: str) -> None:
        super().__init__(daemon=True, name="machines")
        self._cluster = cluster
        self._script = list(script)
        self._random = seeded(f"{seed}/machines")
        self.done: Counter[str] = Counter()

    def run(self) -> None:
        """Work through the script."""
        for step in self._script:
            time.sleep(self._random.uniform(*_PAUSE_SECONDS))
            self._disturb(step)
            self.done[step] += 1

    def _disturb(self, step: str) -> None:
        if step == "etcd compacted":
            compact(self._cluster)
            return
        server, _, action = step.rpartition(" ")
        name = control_plane.API_SERVER if server == "API server" else PROMETHEUS
        if action == "restarted":
            self._cluster.stop_process(name)
            time.sleep(self._random.uniform(1, 4))
            self._cluster.start_process(name)
        else:
            self._cluster.pause(name)
            time.sleep(self._random.uniform(3, 10))
            self._cluster.resume(name)


def compact(cluster: Cluster) -> None:
    """Forget etcd's history: whoever watches or lists from an old version gets 410."""
    command = cluster._processes._program(control_plane.ETCD).command
    url = next(part for part in command if part.startswith("--listen-client-urls=")).split("=")[1]
    etcd = Rest(url)
    answer = etcd.send("POST", "/v3/kv/range", body={"key": _EVERY_KEY, "count_only": True})
    revision = json.loads(answer.body)["header"]["revision"]
    etcd.send("POST", "/v3/kv/compaction", body={"revision": revision, "physical": True})
