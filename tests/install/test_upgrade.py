"""From the operator as it was before sources, shards and admission to the one of the work tree.

The older operator runs from its own commit and leaves real objects: a drifted trigger with a
running Job, one that cools down after a finished one, and a quiet one. Then its definitions, rights
and process are replaced as a rolling update does it: for a while both processes are there.
"""

import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gitops.ground import ROOT, Ground, shared_room, use_ground
from support.operator import SYSTEM_NAMESPACE, OperatorProcess
from support.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("lifecycle")]

PREVIOUS = "47fc369"
OURS = "--selector=app.kubernetes.io/name=drifttrigger"
NAMES = ("running", "finished", "quiet")
# What an upgrade must neither lose nor begin anew.
KEPT = ("episode", "episodes", "retrainings", "active", "lastRetraining", "specHash", "window")


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with use_ground(shared_room(tmp_path_factory)) as found:
        yield found


@pytest.fixture(scope="session")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The older definitions, rights and operator."""
    git = ("/usr/bin/env", "git", "-C", str(ROOT))
    known = subprocess.run([*git, "cat-file", "-e", f"{PREVIOUS}^{{commit}}"], check=False)
    if known.returncode != 0:
        pytest.skip(f"the history holds no {PREVIOUS}: fetch it, `git fetch --unshallow`")
    folder = tmp_path_factory.mktemp("previous")
    packed = folder / "previous.tar"
    parts = ("crds", "manifests", "operator")
    subprocess.run([*git, "archive", f"--output={packed}", PREVIOUS, *parts], check=True)
    with tarfile.open(packed) as archive:
        archive.extractall(folder, filter="data")
    return folder


def install(ground: Ground, folder: Path, *parts: str) -> None:
    apply = ("apply", "--server-side", "--force-conflicts")
    name = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM_NAMESPACE}}
    ground.kubectl(*apply, "--filename=-", stdin=name)
    for part in parts:
        ground.kubectl(*apply, "--kustomize", str(folder / part))
    established = ("wait", "--for=condition=Established", "customresourcedefinitions", "--all")
    ground.kubectl(*established, "--timeout=30s")


def evaluations(operator: OperatorProcess, name: str) -> int:
    lines = operator.lines()
    return sum(x["message"] == "evaluated" and x.get("object") == name for x in lines)


def kept(world: World) -> dict[str, Any]:
    found = {
        body["metadata"]["name"]: {
            field: body["status"][field] for field in KEPT if field in body["status"]
        }
        for body in world.all("drifttrigger")
    }
    jobs = {job["metadata"]["name"]: job["metadata"]["uid"] for job in world.all("job")}
    specs = {job["metadata"]["name"]: job["spec"] for job in world.all("job")}
    records = {r["metadata"]["name"]: (r["metadata"]["uid"], r["spec"]) for r in records_of(world)}
    pods = {pod["metadata"]["uid"] for pod in world.all("pod")}
    return {"status": found, "jobs": jobs, "specs": specs, "records": records, "pods": pods}


def records_of(world: World) -> list[dict[str, Any]]:
    return world.all("retraining")


def leave_objects(world: World) -> OperatorProcess:
    """Let the older operator bring the triggers to where they are to be taken over."""
    for name, score in {"running": 0.35, "finished": 0.35, "quiet": 0.1}.items():
        world.set(name, score)
    world.apply(world.trigger("running", podTemplate={"outcome": "hang"}))
    world.apply(world.trigger("finished"))
    world.apply(world.trigger("quiet"))
    older = world.operator()
    expected = {"running": "RetrainingActive", "finished": "CoolingDown", "quiet": "BelowThreshold"}
    for name, word in expected.items():
        world.wait_reason(name, "Drifted", word)
    world.wait(lambda: "'Running'" in str([r.get("status") for r in records_of(world)]))
    assert "default_source" not in older.lines()[0]["settings"], "this is not the older operator"
    return older


def wait_evaluated(world: World, operator: OperatorProcess) -> None:
    """Wait until an operator has asked for each trigger once more."""
    before = {name: evaluations(operator, name) for name in NAMES}
    for name in NAMES:
        world.wait(lambda n=name: evaluations(operator, n) > before[n], what=f"a tick of {name}")


def test_an_upgrade_restarts_and_doubles_nothing_and_keeps_each_episode(
    ground: Ground, previous: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground.kubectl("delete", "customresourcedefinitions", OURS, "--timeout=50s")
    install(ground, previous, "crds", "manifests/rbac")
    with ground.world() as world:
        with monkeypatch.context() as environment:
            environment.setenv("PYTHONPATH", str(previous / "operator"))
            older = leave_objects(world)
        before, jobs = kept(world), world.created_jobs()
        assert len(jobs) == 2

        install(ground, ROOT, "crds", "manifests/rbac", "manifests/admission")
        wait_evaluated(world, older)
        newer = world.operator()
        wait_evaluated(world, newer)
        assert kept(world) == before

        # A rolling update: both are there, and one of the triggers drifts.
        world.set("quiet", 0.35)
        world.wait_jobs(3)
        wait_evaluated(world, newer)
        assert older.stop() == 0
        assert len(world.created_jobs()) == 3

        end_the_running_job(world)
        world.wait_reason("running", "Drifted", "CoolingDown")
        episode = world.get("drifttrigger", "running")["status"]["episode"]
        assert episode == before["status"]["running"]["episode"]
        assert len(world.created_jobs()) == 3


def end_the_running_job(world: World) -> None:
    running = next(p for p in world.all("pod") if "hang" in str(p["metadata"]))
    name, where = running["metadata"]["name"], f"--namespace={world.namespace}"
    outcome = "local.drifttrigger.dev/outcome=succeed"
    world.kubectl("annotate", "--overwrite", "pod", name, outcome, where)
