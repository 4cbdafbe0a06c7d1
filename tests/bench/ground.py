"""What a run stands on: a control plane of its own, many namespaces, one page of scores."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bench.asked import AuditLog
from bench.errors import BenchError
from bench.exporter import CALM, Exporter
from bench.proc import Cores
from bench.scraped import Trigger
from bench.sending import Request, send_all
from drifttrigger.local.cluster import Cluster
from drifttrigger.local.prometheus import PROMETHEUS, PrometheusOptions
from drifttrigger.local.rest import Rest
from support.crds import install_crds
from support.kubectl import Kubectl
from support.operator import SYSTEM_NAMESPACE
from support.world import pod_template

_HERE = Path(__file__).parent
_RIGHTS = _HERE.parents[1] / "manifests" / "rbac"
_TOKEN_SECONDS = 24 * 3600
_SLOW_SECONDS = 0.05
HISTORY_LABEL = "bench/history"
THRESHOLD = 0.2
Say = Callable[[str], None]
Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ground:
    """A control plane with room for many triggers."""

    cluster: Cluster
    exporter: Exporter
    namespaces: Sequence[str]
    folder: Path
    cores: Cores
    say: Say

    @property
    def api(self) -> Rest:
        """The API server, as its administrator."""
        return self.cluster.handle.api()

    @property
    def audit(self) -> AuditLog:
        """What the operator asked."""
        return AuditLog(self.cluster.audit_log)

    @property
    def prometheus(self) -> Rest:
        """The metrics server."""
        return Rest(str(self.cluster.prometheus_url))

    @property
    def servers(self) -> Mapping[str, int]:
        """Process ids of all servers by name."""
        return self.cluster.processes

    @property
    def prometheus_pid(self) -> int:
        """Process id of the metrics server."""
        return self.servers[PROMETHEUS]

    def trigger(self, number: int) -> Trigger:
        """Name a trigger: namespace and name; the name is its model too."""
        return self.namespaces[number % len(self.namespaces)], model(number)

    def kubeconfig(self) -> Path:
        """Make the operator's kubeconfig, with the rights that are shipped."""
        return self.cluster.handle.service_account_kubeconfig(
            SYSTEM_NAMESPACE, "drifttrigger", valid_seconds=_TOKEN_SECONDS
        )

    def send(self, requests: Sequence[Request]) -> list[Body]:
        """Send many requests to the API server; see `send_all`."""
        handle = self.cluster.handle
        return send_all(handle.url, requests, ca_file=handle.ca_file, token=handle.token)

    def create_triggers(self, numbers: Sequence[int], *, interval_seconds: int) -> None:
        """Create triggers whose scores are calm, and let Prometheus know the scores first."""
        self.exporter.set_all(map(model, numbers), CALM)
        self.send([self._creation(number, interval_seconds) for number in numbers])

    def set_interval(self, numbers: Sequence[int], seconds: int) -> None:
        """Edit when triggers are asked."""
        patch = {"spec": {"interval": f"{seconds}s"}}
        self.send([Request("PATCH", trigger_path(*self.trigger(n)), patch) for n in numbers])

    def list_all(self, collection: str, *, labels: Mapping[str, str]) -> list[Body]:
        """List objects by a label selector for each namespace, what was laid as history left out.

        Args:
            collection: Path with a place for the namespace.
            labels: Selector by namespace; other namespaces are not looked at.
        """
        paths = [
            f"{collection.format(namespace)}?labelSelector={quote(f'{selector},!{HISTORY_LABEL}')}"
            for namespace, selector in labels.items()
        ]
        pages = self.send([Request("GET", path) for path in paths])
        return [item for page in pages for item in page["items"]]

    def asked_prometheus(self, query: str) -> float:
        """Ask for one number; 0 when there is none."""
        answer = self.prometheus.get(f"/api/v1/query?query={quote(query)}")
        result = json.loads(answer.body)["data"]["result"]
        return float(result[0]["value"][1]) if result else 0.0

    def wait_scores(self, number: int) -> None:
        """Wait until Prometheus has this many scores."""
        wait_for(
            lambda: self.asked_prometheus("count(model_drift_score)") >= number,
            within_seconds=120,
            what=f"{number} scores in Prometheus",
        )

    def _creation(self, number: int, interval_seconds: int) -> Request:
        namespace, name = self.trigger(number)
        body = {
            "apiVersion": "drifttrigger.dev/v1alpha1",
            "kind": "DriftTrigger",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "prometheus": {"address": self.cluster.prometheus_url},
                "query": f'max(model_drift_score{{model="{name}"}})',
                "threshold": THRESHOLD,
                "interval": f"{interval_seconds}s",
                "jobTemplate": {"spec": {"template": pod_template()}},
            },
        }
        return Request("POST", TRIGGERS.format(namespace), body)


TRIGGERS = "/apis/drifttrigger.dev/v1alpha1/namespaces/{}/drifttriggers"
RETRAININGS = "/apis/drifttrigger.dev/v1alpha1/namespaces/{}/retrainings"
JOBS = "/apis/batch/v1/namespaces/{}/jobs"


def model(number: int) -> str:
    """Name a model, and its trigger."""
    return f"m{number:05}"


def trigger_path(namespace: str, name: str) -> str:
    """Tell where a trigger lies."""
    return f"{TRIGGERS.format(namespace)}/{name}"


@contextmanager
def prepared(folder: Path, *, namespaces: int, scrape_seconds: float, say: Say) -> Iterator[Ground]:
    """Start a control plane with the CRDs, the operator's rights and a Prometheus.

    Args:
        folder: For the operators' logs.
        namespaces: How many.
        scrape_seconds: How often Prometheus fetches the scores.
        say: Told of progress.
    """
    names = [f"team-{number:02}" for number in range(namespaces)]
    options = PrometheusOptions(scrape_interval_seconds=scrape_seconds)
    audit = f"--audit-policy-file={_HERE / 'audit-policy.yaml'}"
    with ExitStack() as stack:
        cluster = stack.enter_context(
            Cluster.start(prometheus=options, api_arguments=[audit], progress=say)
        )
        exporter = Exporter()
        stack.callback(exporter.close)
        cluster.add_scrape_target("scores", exporter.address)
        install_crds(cluster.kubeconfig)
        kubectl = Kubectl(cluster.kubectl, cluster.kubeconfig)
        for name in (SYSTEM_NAMESPACE, *names):
            kubectl("create", "namespace", name)
        kubectl("apply", "--server-side", "--kustomize", str(_RIGHTS))
        yield Ground(cluster, exporter, names, folder, Cores.shared_out(), say)


def wait_for(
    question: Callable[[], bool],
    *,
    within_seconds: float,
    what: str,
    every_seconds: float = _SLOW_SECONDS,
) -> float:
    """Wait until something is true; returns the seconds that it took.

    Raises:
        BenchError: It does not become so in time.
    """
    started = time.monotonic()
    while not question():
        if time.monotonic() - started > within_seconds:
            raise BenchError(f"{what}: not within {within_seconds:.0f} s")
        time.sleep(every_seconds)
    return time.monotonic() - started
