"""What a user would type: kubectl with the shipped manifests, and questions to Prometheus."""

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import msgspec

from drifttrigger.api.errors import UsageError
from drifttrigger.api.v1alpha1 import API_VERSION, GROUP
from drifttrigger.cli.demo.errors import NotObserved
from drifttrigger.local.cluster import Cluster
from drifttrigger.local.rest import Rest

_KUBECTL_SECONDS = 60
_SERVED_SECONDS = 20.0
_POLL_SECONDS = 0.1


class _Series(msgspec.Struct, frozen=True):
    value: tuple[float, str] = (0.0, "")
    values: tuple[tuple[float, str], ...] = ()


class _Data(msgspec.Struct, frozen=True):
    result: tuple[_Series, ...] = ()


class _Answer(msgspec.Struct, frozen=True):
    data: _Data = _Data()


@dataclass(frozen=True, slots=True)
class Kubectl:
    """kubectl as the cluster's administrator; its own cache goes with the cluster."""

    cluster: Cluster

    def __call__(self, *arguments: str, stdin: object = None) -> str:
        """Run it.

        Raises:
            NotObserved: It failed; carries what it said.
        """
        command = [
            str(self.cluster.kubectl),
            f"--kubeconfig={self.cluster.kubeconfig}",
            f"--cache-dir={self.cluster.directory / 'kubectl-cache'}",
            *arguments,
        ]
        try:
            done = subprocess.run(
                command,
                input=None if stdin is None else json.dumps(stdin),
                capture_output=True,
                text=True,
                check=False,
                timeout=_KUBECTL_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise NotObserved(f"kubectl {' '.join(arguments)} did not end: {error}") from error
        if done.returncode != 0:
            raise NotObserved(f"kubectl {' '.join(arguments)} failed: {done.stderr.strip()}")
        return done.stdout


def repository() -> Path:
    """Find the work tree that holds the manifests.

    Raises:
        UsageError: This is an installation without them.
    """
    root = Path(__file__).parents[4]
    if not (root / "manifests" / "rbac").is_dir():
        raise UsageError("the manifests are not installed: run the demo from a checkout")
    return root


def install(kubectl: Kubectl, root: Path) -> None:
    """Apply the CRDs and the operator's rights as shipped; the process itself runs outside."""
    server_side = ("apply", "--server-side")
    kubectl(*server_side, f"--filename={root / 'manifests' / 'operator' / 'namespace.yaml'}")
    kubectl(*server_side, f"--kustomize={root / 'crds'}")
    kubectl(*server_side, f"--kustomize={root / 'manifests' / 'rbac'}")
    for kind in ("drifttriggers", "retrainings"):
        kubectl("wait", "--for=condition=Established", f"crd/{kind}.{GROUP}")
        _wait_until_served(kubectl.cluster, kind)


def _wait_until_served(cluster: Cluster, kind: str) -> None:
    """Wait until the kind can be listed; Established is said a moment earlier."""
    deadline = time.monotonic() + _SERVED_SECONDS
    while cluster.handle.api().get(f"/apis/{API_VERSION}/{kind}?limit=1").status != 200:
        if time.monotonic() > deadline:
            raise NotObserved(f"the API server does not serve {kind} {_SERVED_SECONDS:.0f} s on")
        time.sleep(_POLL_SECONDS)


def instant(url: str, query: str) -> list[str]:
    """Ask Prometheus now; one text of a value per series, none while it does not run."""
    try:
        answer = Rest(url).get(f"/api/v1/query?{urlencode({'query': query})}")
    except OSError:
        return []
    if answer.status != 200:
        return []
    return [s.value[1] for s in msgspec.json.decode(answer.body, type=_Answer).data.result]


def daily(url: str, query: str, *, first: float, last: float) -> list[float]:
    """Ask Prometheus for one value a day.

    Args:
        url: Of Prometheus.
        query: PromQL.
        first: Unix time of the first value.
        last: Unix time of the last one.
    """
    form = urlencode({"query": query, "start": first, "end": last, "step": "1d"})
    answer = Rest(url).get(f"/api/v1/query_range?{form}")
    series = msgspec.json.decode(answer.body, type=_Answer).data.result
    return [float(value) for _, value in series[0].values] if series else []
