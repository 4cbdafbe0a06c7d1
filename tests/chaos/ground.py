"""What every run stands on: a control plane of its own, the shipped rights, scores."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drifttrigger.local.cluster import Cluster
from drifttrigger.local.kubeconfig import write_private
from drifttrigger.local.prometheus import PrometheusOptions
from drifttrigger.local.rest import Rest
from support.crds import install_crds
from support.kubectl import Kubectl
from support.operator import SYSTEM_NAMESPACE
from support.scores import Scores

_HERE = Path(__file__).parent
_RIGHTS = _HERE.parents[1] / "manifests" / "rbac"
TRIGGERS = "/apis/drifttrigger.dev/v1alpha1/namespaces/{}/drifttriggers"
RETRAININGS = "/apis/drifttrigger.dev/v1alpha1/namespaces/{}/retrainings"
JOBS = "/apis/batch/v1/namespaces/{}/jobs"


@dataclass(frozen=True, slots=True)
class Ground:
    """A control plane that may be disturbed."""

    cluster: Cluster
    scores: Scores
    namespaces: Sequence[str]
    folder: Path

    @property
    def api(self) -> Rest:
        """The API server, past every proxy, as its administrator."""
        return self.cluster.handle.api()

    def items(self, collection: str) -> list[dict[str, Any]]:
        """List objects of all namespaces of the run.

        Raises:
            OSError: The API server does not answer.
        """
        found: list[dict[str, Any]] = []
        for namespace in self.namespaces:
            answer = self.api.get(collection.format(namespace))
            if answer.status != 200:
                raise ConnectionError(f"{answer.status}")
            found += json.loads(answer.body)["items"]
        return found

    def operator_kubeconfig(self, url: str = "") -> Path:
        """Make the operator's kubeconfig; with a URL it goes there instead, unencrypted."""
        path = self.cluster.handle.service_account_kubeconfig(
            SYSTEM_NAMESPACE, "drifttrigger", valid_seconds=4 * 3600
        )
        if not url:
            return path
        content = json.loads(path.read_text())
        content["clusters"][0]["cluster"] = {"server": url}
        return self._write(content)

    def _write(self, content: object) -> Path:
        path = self.folder / "operator.kubeconfig"
        write_private(path, json.dumps(content))
        return path


@contextmanager
def prepared(
    folder: Path, namespaces: Sequence[str], *, lookback_seconds: float = 30.0
) -> Iterator[Ground]:
    """Start a control plane with the CRDs, the operator's rights and a Prometheus."""
    options = PrometheusOptions(scrape_interval_seconds=0.5, lookback_seconds=lookback_seconds)
    with ExitStack() as stack:
        cluster = stack.enter_context(
            Cluster.start(
                prometheus=options,
                api_arguments=[f"--audit-policy-file={_HERE / 'audit-policy.yaml'}"],
            )
        )
        scores = Scores()
        stack.callback(scores.close)
        cluster.add_scrape_target("scores", scores.address)
        install_crds(cluster.kubeconfig)
        kubectl = Kubectl(cluster.kubectl, cluster.kubeconfig)
        for name in (SYSTEM_NAMESPACE, *namespaces):
            kubectl("create", "namespace", name)
        kubectl("apply", "--server-side", "--kustomize", str(_RIGHTS))
        yield Ground(cluster, scores, namespaces, folder)


def pod_template(**annotations: str) -> dict[str, Any]:
    """Build a pod template; annotations tell the simulated kubelet what becomes of the pod."""
    marks = {f"local.drifttrigger.dev/{key}": value for key, value in annotations.items()}
    return {
        "metadata": {"annotations": marks},
        "spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "retrain", "image": "registry.example/retrain:1"}],
        },
    }
