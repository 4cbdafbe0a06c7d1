"""A control plane of their own for the tests of the installation, and the tools they use.

They install, upgrade and remove what every other end-to-end test lives on, so they can't share its
cluster. All of them run in one process (`xdist_group`), which starts it once.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from drifttrigger.local.binaries import ensure_binaries
from drifttrigger.local.catalog import TOOLS
from install.rendering import MANIFESTS
from support.cluster import SharedCluster, use_cluster
from support.kubectl import Kubectl, eventually

POLICIES = ("drifttrigger-decisions", "drifttrigger-jobs", "drifttrigger-secrets")


@pytest.fixture(scope="session")
def kubectl_program() -> Path:
    """Where kubectl is; no cluster runs for it."""
    return ensure_binaries(progress=print) / "kubectl"


@pytest.fixture(scope="session")
def tools() -> Path:
    """The folder with helm and kubeconform."""
    return ensure_binaries(progress=print, binaries=TOOLS)


@pytest.fixture(scope="session")
def own_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedCluster]:
    """A control plane and a Prometheus for the tests of the installation alone."""
    with use_cluster(tmp_path_factory.mktemp("install")) as found:
        yield found


@pytest.fixture(scope="session")
def admin(own_cluster: SharedCluster) -> Kubectl:
    """kubectl as the administrator of that cluster."""
    return Kubectl(own_cluster.kubectl, own_cluster.kubeconfig)


@pytest.fixture(scope="session")
def applied(admin: Kubectl) -> Kubectl:
    """That cluster after `kubectl apply -k manifests/`, with its policies read."""
    admin("apply", "--server-side", "--kustomize", str(MANIFESTS))
    eventually(lambda: _are_checked(admin), within_seconds=30, what="the policies' type check")
    return admin


def _are_checked(admin: Kubectl) -> bool:
    policies = admin.get("validatingadmissionpolicies")["items"]
    checked = [p["metadata"]["name"] for p in policies if "typeChecking" in p.get("status", {})]
    return sorted(checked) == sorted(POLICIES)
