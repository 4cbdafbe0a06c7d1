"""Fixtures of the end-to-end tests: the shipped manifests, and one world per test."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import SharedCluster
from support.crds import install_crds
from support.kubectl import Kubectl
from support.operator import SYSTEM_NAMESPACE
from support.scores import Scores
from support.world import World

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def installed(cluster: SharedCluster) -> SharedCluster:
    """The cluster with CRDs and the shipped rights."""
    install_crds(cluster.kubeconfig)
    kubectl = Kubectl(cluster.kubectl, cluster.kubeconfig)
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": SYSTEM_NAMESPACE},
    }
    kubectl("apply", "--server-side", "--filename=-", stdin=namespace)
    kubectl("apply", "--server-side", "--kustomize", str(REPOSITORY / "manifests" / "rbac"))
    return cluster


@pytest.fixture(scope="session")
def scores(cluster: SharedCluster) -> Iterator[Scores]:
    """The exporter of this test process."""
    exporter = Scores()
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    cluster.add_scrape_target(f"scores-{worker}", exporter.address)
    yield exporter
    exporter.close()


@pytest.fixture
def world(installed: SharedCluster, scores: Scores, tmp_path: Path) -> Iterator[World]:
    """A fresh namespace."""
    kubectl = Kubectl(installed.kubectl, installed.kubeconfig)
    namespace = f"t{uuid.uuid4().hex[:10]}"
    kubectl("create", "namespace", namespace)
    account = installed.service_account_kubeconfig(SYSTEM_NAMESPACE, "drifttrigger")
    world = World(namespace, kubectl, scores, installed, account, tmp_path)
    yield world
    codes = [o.stop() for o in world.operators]
    kubectl("delete", "namespace", namespace, "--wait=false")
    assert all(code in (0, -9) for code in codes), codes
