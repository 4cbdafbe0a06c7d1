"""A control plane for what concerns a whole cluster: GitOps, upgrade and removal.

An operator that looks at all namespaces would disturb the tests that share a cluster, and so would
definitions that come and go. All of these tests run in one process (`xdist_group("lifecycle")`).
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.cluster import SharedCluster, use_cluster
from support.crds import install_crds
from support.kubectl import Kubectl
from support.operator import SYSTEM_NAMESPACE, OperatorProcess
from support.scores import Scores
from support.world import World

ROOT = Path(__file__).resolve().parents[2]
RIGHTS = ROOT / "manifests" / "rbac"


class WideWorld(World):
    """A namespace whose operators look at the whole cluster, its sources too."""

    def operator(self, *arguments: str, fault: str = "") -> OperatorProcess:
        """Start an operator with only the shipped rights."""
        log = self.folder / f"operator-{self.namespace}-{len(self.operators)}.log"
        started = OperatorProcess(self.kubeconfig, [], log, fault=fault, arguments=arguments)
        self.operators.append(started)
        return started


@dataclass
class Ground:
    """A cluster of one's own, and an exporter that its Prometheus scrapes."""

    cluster: SharedCluster
    scores: Scores
    folder: Path

    @property
    def kubectl(self) -> Kubectl:
        """kubectl as the administrator."""
        return Kubectl(self.cluster.kubectl, self.cluster.kubeconfig)

    def install(self) -> None:
        """Put in the definitions, the namespace and the rights of the work tree."""
        install_crds(self.cluster.kubeconfig)
        metadata = {"name": SYSTEM_NAMESPACE}
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        apply = ("apply", "--server-side", "--force-conflicts")
        self.kubectl(*apply, "--filename=-", stdin=namespace)
        self.kubectl(*apply, "--kustomize", str(RIGHTS))

    @contextmanager
    def world(self) -> Iterator[World]:
        """A fresh namespace; its operators look at the whole cluster and are stopped at the end."""
        name = f"g{uuid.uuid4().hex[:8]}"
        self.kubectl("create", "namespace", name)
        account = self.cluster.service_account_kubeconfig(SYSTEM_NAMESPACE, "drifttrigger")
        world = WideWorld(name, self.kubectl, self.scores, self.cluster, account, self.folder)
        try:
            yield world
        finally:
            codes = [operator.stop() for operator in world.operators]
            self.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")
        assert all(code in (0, -9) for code in codes), codes


@contextmanager
def use_ground(room: Path) -> Iterator[Ground]:
    """Use the control plane of a folder; the first starts it."""
    with use_cluster(room) as cluster:
        scores = Scores()
        cluster.add_scrape_target(f"scores-{uuid.uuid4().hex[:6]}", scores.address)
        try:
            yield Ground(cluster, scores, room)
        finally:
            scores.close()


def shared_room(factory: pytest.TempPathFactory) -> Path:
    """Name the folder of the control plane that all of these tests share."""
    return factory.getbasetemp() / "lifecycle"
