"""The samples for Argo CD and Flux: every path is there, and the order is the one that works."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from drifttrigger import __version__
from gitops.ground import ROOT
from install.rendering import kustomize

SAMPLES = ROOT / "manifests" / "samples" / "gitops"
WAVE, OPTIONS = "argocd.argoproj.io/sync-wave", "argocd.argoproj.io/sync-options"
WAVES = {"definitions": "-2", "operator": "-1", "sources": "0", "triggers": "1"}
GENTLE = "Prune=false,Delete=false"


def bodies(*parts: str) -> list[dict[str, Any]]:
    return [
        body
        for path in sorted(SAMPLES.joinpath(*parts).rglob("*.yaml"))
        for body in yaml.safe_load_all(path.read_text())
    ]


def applications() -> list[dict[str, Any]]:
    return [body for body in bodies("argocd") if body.get("kind") == "Application"]


def kustomizations() -> dict[str, dict[str, Any]]:
    found = [body for body in bodies("flux") if body["kind"] == "Kustomization"]
    return {body["metadata"]["name"].removeprefix("drifttrigger-"): body for body in found}


def test_the_paths_and_revisions_of_the_samples_are_there() -> None:
    sources = [app["spec"]["source"] for app in applications()]
    assert len(sources) == 6
    assert {source["targetRevision"] for source in sources} == {f"v{__version__}"}
    paths = [source["path"] for source in sources]
    paths += [body["spec"]["path"] for body in kustomizations().values()]
    assert [path for path in paths if not (ROOT / path).is_dir()] == []


def test_an_app_of_apps_goes_definitions_operator_sources_triggers() -> None:
    apps = {body["metadata"]["name"]: body for body in bodies("argocd", "apps")}
    waves = {
        name.removeprefix("drifttrigger-"): body["metadata"]["annotations"][WAVE]
        for name, body in apps.items()
    }
    assert waves == WAVES
    assert apps["drifttrigger-definitions"]["spec"]["syncPolicy"]["automated"]["prune"] is False


def test_flux_goes_the_same_way_and_never_prunes_definitions() -> None:
    found = kustomizations()
    needs = {
        name: [
            need["name"].removeprefix("drifttrigger-") for need in body["spec"].get("dependsOn", [])
        ]
        for name, body in found.items()
    }
    order = list(WAVES)
    assert needs == dict(zip(order, [[], *([name] for name in order)], strict=False))
    assert [name for name, body in found.items() if not body["spec"]["prune"]] == ["definitions"]


@pytest.mark.e2e
@pytest.mark.xdist_group("install")
class TestRendered:
    """kubectl renders; no cluster is there."""

    @pytest.mark.parametrize("part", WAVES)
    def test_every_object_is_in_the_wave_of_its_part(
        self, kubectl_program: Path, part: str
    ) -> None:
        rendered = kustomize(kubectl_program, SAMPLES / part)
        assert {b["metadata"]["annotations"][WAVE] for b in rendered} == {WAVES[part]}

    def test_waves_are_all_that_the_samples_add_to_what_is_shipped(
        self, kubectl_program: Path
    ) -> None:
        shipped = list(bare(kustomize(kubectl_program, ROOT / "manifests")))
        sample = list(bare(kustomize(kubectl_program, SAMPLES / "all")))
        added = [body for body in sample if body not in shipped]
        assert {body["kind"] for body in added} == {"ClusterMetricsSource", "DriftTrigger"}
        assert [body for body in shipped if body not in sample] == []

    def test_the_health_checks_of_flux_are_of_objects_that_are_applied(
        self, kubectl_program: Path
    ) -> None:
        for name, body in kustomizations().items():
            rendered = kustomize(kubectl_program, SAMPLES / name)
            there = [(b["kind"], b["metadata"]["name"]) for b in rendered]
            checks = body["spec"].get("healthChecks", [])
            assert [c for c in checks if (c["kind"], c["name"]) not in there] == []
            assert checks or body["spec"]["wait"]


def bare(found: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Take away waves, what keeps definitions, and the registry of the image."""
    for body in found:
        annotations = dict(body["metadata"].get("annotations", {}))
        annotations.pop(WAVE, None)
        assert annotations.pop(OPTIONS, GENTLE) == GENTLE
        metadata = {k: v for k, v in body["metadata"].items() if k != "annotations"}
        metadata |= {"annotations": annotations} if annotations else {}
        text = yaml.safe_dump({**body, "metadata": metadata})
        yield yaml.safe_load(text.replace("registry.example/drifttrigger:", "drifttrigger:"))
