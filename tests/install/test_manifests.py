"""What the manifests and the chart hold, before any cluster sees it."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from drifttrigger import __version__
from drifttrigger.local.catalog import GOMOD, TOOLS
from install.rendering import (
    ACCOUNT,
    CHART,
    EXECUTION_ACCOUNT,
    MANIFESTS,
    SYSTEM,
    WAYS,
    by_name,
    granted,
    helm_template,
    kustomize,
    name_of,
    objects,
    run,
    without_helm,
)

# Client-side apply keeps the whole object in an annotation, which may hold 256 KiB.
MOST_BYTES = 256 * 1024
# What makes an operator of one namespace an operator of the whole cluster.
TOO_MUCH = {"*", "impersonate", "bind", "escalate", "approve"}


def test_versions_are_those_of_the_package() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    images = yaml.safe_load((MANIFESTS / "operator" / "kustomization.yaml").read_text())["images"]
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)
    assert [image["newTag"] for image in images] == [__version__]


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_the_tools_are_pinned_at_the_versions_of_the_table(tool: Any) -> None:
    pins = (GOMOD / tool.module / "go.mod").read_text()
    module = tool.package.partition("/cmd/")[0]
    assert re.search(rf"^\s*(require )?{re.escape(module)} v{tool.version}\b", pins, re.MULTILINE)


@pytest.mark.e2e
@pytest.mark.xdist_group("install")
class TestRendered:
    """kubectl and helm render; no cluster is there."""

    @pytest.mark.parametrize("way", WAYS)
    def test_the_chart_gives_the_same_objects_as_the_overlay(
        self, kubectl_program: Path, tools: Path, way: str
    ) -> None:
        overlay = by_name(kustomize(kubectl_program, MANIFESTS / "overlays" / way))
        overlay.pop(("Namespace", "", SYSTEM))  # Helm is told to make it
        rendered = helm_template(tools / "helm", *WAYS[way])
        chart = by_name(without_helm(body) for body in rendered)
        assert chart.keys() == overlay.keys()
        for name, body in overlay.items():
            assert chart[name] == body, name

    def test_the_chart_gives_the_same_monitoring_as_the_manifests(
        self, kubectl_program: Path, tools: Path
    ) -> None:
        manifests = by_name(kustomize(kubectl_program, MANIFESTS / "monitoring"))
        whole = helm_template(tools / "helm", "--set=monitoring.install=true")
        without = by_name(helm_template(tools / "helm"))
        more = [without_helm(body) for body in whole if name_of(body) not in without]
        assert by_name(more) == manifests
        assert {kind for kind, _, _ in manifests} == {
            "ConfigMap",
            "PrometheusRule",
            "ServiceMonitor",
        }

    def test_the_root_is_the_cluster_wide_overlay(self, kubectl_program: Path) -> None:
        root = kustomize(kubectl_program, MANIFESTS)
        assert root == kustomize(kubectl_program, MANIFESTS / "overlays" / "cluster-wide")

    @pytest.mark.parametrize("way", WAYS)
    def test_each_object_is_small_enough_for_a_client_side_apply(
        self, kubectl_program: Path, way: str
    ) -> None:
        for name, body in by_name(kustomize(kubectl_program, MANIFESTS / "overlays" / way)).items():
            assert len(json.dumps(body)) < MOST_BYTES, name

    @pytest.mark.parametrize("way", WAYS)
    def test_no_account_reads_secrets_impersonates_or_holds_a_wildcard(
        self, kubectl_program: Path, way: str
    ) -> None:
        bodies = kustomize(kubectl_program, MANIFESTS / "overlays" / way)
        rights = granted(bodies, ACCOUNT) | granted(bodies, EXECUTION_ACCOUNT)
        assert rights
        for verb, group, resource in rights:
            assert TOO_MUCH.isdisjoint({verb, group, resource}), (verb, group, resource)
            assert resource not in ("secrets", "serviceaccounts/token"), (verb, resource)

    def test_a_namespaced_operator_holds_no_cluster_role(self, kubectl_program: Path) -> None:
        bodies = by_name(kustomize(kubectl_program, MANIFESTS / "overlays" / "namespaced"))
        assert not {kind for kind, _, _ in bodies} & {"ClusterRole", "ClusterRoleBinding"}

    def test_split_controllers_hold_none_of_each_others_rights(self, kubectl_program: Path) -> None:
        bodies = kustomize(kubectl_program, MANIFESTS / "overlays" / "split")
        detection, execution = granted(bodies, ACCOUNT), granted(bodies, EXECUTION_ACCOUNT)
        assert {right for right in detection if right[1] == "batch"} == {("get", "batch", "jobs")}
        assert ("create", "batch", "jobs") in execution
        assert ("create", "drifttrigger.dev", "retrainings") not in execution
        assert ("decide", "drifttrigger.dev", "retrainings") not in execution

    def test_an_upgrade_of_the_chart_upgrades_the_definitions_and_a_removal_keeps_them(
        self, tools: Path
    ) -> None:
        crds = [b for b in helm_template(tools / "helm") if b["kind"].startswith("CustomResource")]
        assert len(crds) == len(list((CHART / "files/crds").glob("*s.yaml")))
        for body in crds:
            assert body["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}

    def test_a_packaged_chart_holds_all_that_the_folder_links_to(
        self, tools: Path, tmp_path: Path
    ) -> None:
        run(tools / "helm", "package", CHART, "--destination", tmp_path)
        archive = tmp_path / f"drifttrigger-{__version__}.tgz"
        where = f"--namespace={SYSTEM}"
        packaged = objects(run(tools / "helm", "template", "drifttrigger", archive, where))
        assert packaged == helm_template(tools / "helm")

    def test_helm_finds_nothing_wrong_with_the_chart(self, tools: Path) -> None:
        said = run(tools / "helm", "lint", "--strict", CHART)
        assert "0 chart(s) failed" in said

    @pytest.mark.parametrize(
        ("values", "kinds"),
        [
            pytest.param(["crds.install=false"], {"CustomResourceDefinition"}, id="no CRDs"),
            pytest.param(
                ["admission.install=false"],
                {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"},
                id="no policies",
            ),
            pytest.param(["networkPolicy.install=false"], {"NetworkPolicy"}, id="no NetworkPolicy"),
        ],
    )
    def test_what_is_switched_off_is_not_rendered(
        self, tools: Path, values: list[str], kinds: set[str]
    ) -> None:
        default = {body["kind"] for body in helm_template(tools / "helm")}
        less = {body["kind"] for body in helm_template(tools / "helm", *_set(values))}
        assert default - less == kinds

    @pytest.mark.parametrize(
        ("values", "path", "expected"),
        [
            (["image.tag=1.2.3"], "containers.0.image", "drifttrigger:1.2.3"),
            (
                [f"image.digest=sha256:{'a' * 64}", "image.repository=r.example/d"],
                "containers.0.image",
                f"r.example/d@sha256:{'a' * 64}",
            ),
            (["imagePullSecrets[0].name=pull"], "imagePullSecrets.0.name", "pull"),
            (["image.pullPolicy=Always"], "containers.0.imagePullPolicy", "Always"),
            (["log.level=DEBUG"], "containers.0.args.3", "--log-level=DEBUG"),
            (["log.format=text"], "containers.0.args.3", "--log-format=text"),
            (["extraArgs={--api-write-budget=9}"], "containers.0.args.3", "--api-write-budget=9"),
            (["extraEnv[0].name=A", "extraEnv[0].value=b"], "containers.0.env.3.value", "b"),
            (["watchNamespaces={a,b}"], "containers.0.args.4", "--namespace=b"),
            (["resources.limits.cpu=2"], "containers.0.resources.limits.cpu", 2),
            (["priorityClassName=high"], "priorityClassName", "high"),
            (["nodeSelector.disk=ssd"], "nodeSelector.disk", "ssd"),
            (["tolerations[0].operator=Exists"], "tolerations.0.operator", "Exists"),
            (["affinity.nodeAffinity.a=b"], "affinity.nodeAffinity.a", "b"),
            (["replicas=3"], "topologySpreadConstraints.0.maxSkew", 1),
        ],
    )
    def test_a_value_reaches_the_pod(
        self, tools: Path, values: list[str], path: str, expected: object
    ) -> None:
        only = "--show-only=templates/deployment.yaml"
        bodies = by_name(helm_template(tools / "helm", only, *_set(values)))
        found: Any = bodies["Deployment", SYSTEM, "drifttrigger"]["spec"]["template"]["spec"]
        for step in path.split("."):
            found = found[int(step)] if step.isdigit() else found[step]
        assert found == expected

    @pytest.mark.parametrize(
        ("value", "says"),
        [
            pytest.param("replica=2", "'replica' not allowed", id="an unknown name"),
            pytest.param("replicas=-1", "minimum: got -1", id="fewer than none"),
            pytest.param("controllers=split", "'Combined', 'Split'", id="another spelling"),
            pytest.param("watchNamespaces={Team}", "does not match pattern", id="no namespace"),
            pytest.param("image.digest=latest", "does not match pattern", id="no digest"),
            pytest.param("image.repository=", "minLength", id="no image"),
            pytest.param("admission.install=maybe", "want boolean", id="no boolean"),
        ],
    )
    def test_a_wrong_value_is_refused_by_name(self, tools: Path, value: str, says: str) -> None:
        done = subprocess.run(
            [tools / "helm", "template", "drifttrigger", CHART, f"--set={value}"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode != 0
        assert says in done.stderr


def _set(values: list[str]) -> list[str]:
    return [f"--set={value}" for value in values]
