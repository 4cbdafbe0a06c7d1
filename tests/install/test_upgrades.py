"""Helm from the first install to the last removal, on a real API server with the real Helm.

Last of the files that share the cluster: it takes over what `kubectl apply -k` put there.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from install.rendering import CHART, SYSTEM, run
from support.crds import SMALLEST
from support.kubectl import Kubectl

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("install")]

DEPLOYMENT, BUDGET = "deployment/drifttrigger", "poddisruptionbudget/drifttrigger"
POLICIES = "validatingadmissionpolicies"


@dataclass(frozen=True, slots=True)
class Helm:
    """Helm with one kubeconfig, on the release of the tests."""

    program: Path
    kubeconfig: Path

    def __call__(self, verb: str, *arguments: str) -> str:
        """Run it on the release; fails the test when it does not succeed."""
        where = (f"--kubeconfig={self.kubeconfig}", f"--namespace={SYSTEM}")
        return run(self.program, verb, "drifttrigger", *arguments, *where)

    def apply(self, verb: str, *arguments: str) -> str:
        """Install or upgrade, and wait until the pods are ready."""
        return self(verb, str(CHART), "--wait", "--timeout=60s", *arguments)


@pytest.fixture(scope="module")
def helm(tools: Path, applied: Kubectl) -> Helm:
    return Helm(tools / "helm", applied.kubeconfig)


def there(admin: Kubectl, *what: str) -> list[str]:
    """Name what is there of some objects."""
    found = admin("get", *what, f"--namespace={SYSTEM}", "--ignore-not-found", "--output=name")
    return found.split()


def test_a_release_is_installed_upgraded_rolled_back_and_removed(
    applied: Kubectl, helm: Helm
) -> None:
    trigger = {**SMALLEST, "metadata": {"name": "kept", "namespace": "default"}}
    applied("apply", "--server-side", "--filename=-", stdin=trigger)
    before = applied.get("drifttrigger", "kept", "--namespace=default")
    applied("delete", BUDGET, f"--namespace={SYSTEM}", "--ignore-not-found")

    said = helm.apply("install", "--take-ownership", "--force-conflicts")
    assert "looks at all namespaces" in said
    assert f"--serviceaccount={SYSTEM}:drifttrigger -n NAMESPACE" in said
    assert there(applied, BUDGET) == []

    helm.apply("upgrade", "--set=replicas=2", "--force-conflicts")
    assert there(applied, BUDGET) != []
    assert applied.get(DEPLOYMENT, f"--namespace={SYSTEM}")["status"]["readyReplicas"] == 2

    helm("rollback", "1", "--wait", "--timeout=60s", "--force-conflicts")
    assert there(applied, BUDGET) == []
    history = json.loads(helm("history", "--output=json"))
    assert [entry["status"] for entry in history] == ["superseded", "superseded", "deployed"]

    helm("uninstall", "--wait", "--timeout=60s")
    assert there(applied, DEPLOYMENT) == []
    assert there(applied, "clusterroles,clusterrolebindings", OURS) == []
    assert there(applied, POLICIES) == []
    assert applied.get("drifttrigger", "kept", "--namespace=default") == before

    helm.apply("install")
    assert there(applied, POLICIES) != []
    assert applied.get("drifttrigger", "kept", "--namespace=default") == before
    helm("uninstall", "--wait", "--timeout=60s")
    applied("delete", "crd", OURS, "--timeout=45s")
    assert there(applied, "crd", OURS) == []


OURS = "--selector=app.kubernetes.io/name=drifttrigger"
