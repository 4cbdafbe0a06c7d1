"""get, describe, trigger, hold and release as a person runs them, on a real API server."""

import io
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import yaml

from drifttrigger.cli.main import main
from support.cluster import SharedCluster
from support.kubectl import Kubectl, eventually
from support.operator import SYSTEM_NAMESPACE
from support.scores import Scores
from support.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("commands")]


@dataclass(frozen=True)
class Done:
    """What came of a command."""

    returncode: int
    stdout: str
    stderr: str


def run(world: World, *arguments: str) -> Done:
    """Run a command in this process, as the console script does; a new one takes a second."""
    flags = ["-n", world.namespace, "--kubeconfig", str(world.cluster.kubeconfig)]
    code, out, err = 0, io.StringIO(), io.StringIO()
    argv = patch.object(sys, "argv", ["drifttrigger", *arguments, *flags])
    with argv, redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as left:
            code = int(left.code or 0)
    return Done(code, out.getvalue(), err.getvalue())


def said(done: Done) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(done: Done, words: str) -> None:
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


@pytest.fixture(scope="module")
def calm(
    installed: SharedCluster, scores: Scores, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """A namespace with an operator, and a trigger `fraud` without drift; for all tests here."""
    kubectl = Kubectl(installed.kubectl, installed.kubeconfig)
    namespace = f"t{uuid.uuid4().hex[:10]}"
    kubectl("create", "namespace", namespace)
    account = installed.service_account_kubeconfig(SYSTEM_NAMESPACE, "drifttrigger")
    folder = tmp_path_factory.mktemp("commands")
    world = World(namespace, kubectl, scores, installed, account, folder)
    operator = world.operator()
    add(world, "fraud", 0.1)
    yield world
    assert operator.stop() == 0
    kubectl("delete", "namespace", namespace, "--wait=false")


def add(world: World, name: str, score: float, **spec: Any) -> None:
    world.set(name, score)
    world.apply(world.trigger(name, **spec))
    reasons = ("BelowThreshold",) if score < 0.2 else ("RetrainingActive", "CoolingDown")
    world.wait_reason(name, "Drifted", *reasons)


def ended(world: World, name: str) -> dict[str, Any]:
    status = world.get("drifttrigger", name)["status"]
    last: dict[str, Any] = status.get("lastRetraining", {})
    return last


def columns(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_get_shows_the_columns_of_kubectl(calm: World) -> None:
    ours = columns(said(run(calm, "get", "fraud")))
    theirs = columns(calm.kubectl("get", "drifttriggers", "--namespace", calm.namespace))
    assert ours[0] == theirs[0]
    assert ours[1][:6] == ["fraud", "0.1", "0.2", "False", "True", "BelowThreshold"]
    wide = columns(said(run(calm, "get", "fraud", "-o", "wide")))
    theirs = columns(
        calm.kubectl("get", "drifttriggers", "--namespace", calm.namespace, "--output=wide")
    )
    assert wide[0] == theirs[0]


def test_get_gives_whole_objects_as_json_and_yaml(calm: World) -> None:
    one = json.loads(said(run(calm, "get", "fraud", "-o", "json")))
    assert (one["kind"], one["metadata"]["name"]) == ("DriftTrigger", "fraud")
    many = yaml.safe_load(said(run(calm, "get", "-o", "yaml")))
    assert "fraud" in [item["metadata"]["name"] for item in many["items"]]


def test_what_is_not_there_is_one_line(calm: World) -> None:
    for command in (["get"], ["describe"], ["trigger"], ["release"], ["hold", "--reason=x"]):
        refused(
            run(calm, *command, "nope"),
            f"there is no DriftTrigger nope in namespace {calm.namespace}",
        )
    nothing = run(calm, "get", "retrainings", "-l", "drifttrigger.dev/trigger=nope")
    assert (nothing.returncode, nothing.stdout) == (0, "")
    assert nothing.stderr == f"No retrainings found in namespace {calm.namespace}.\n"


def test_a_right_that_is_missing_is_one_line_that_says_what_to_do(calm: World) -> None:
    done = run(calm, "get", "--as", "bob")
    refused(done, 'User "bob" cannot list resource "drifttriggers"')
    assert "the cluster roles view" in done.stderr


def test_groups_are_taken_on_one_by_one(calm: World) -> None:
    name = f"watchers-{calm.namespace}"
    subject = "--group=second"
    calm.kubectl("create", "rolebinding", name, "--clusterrole=view", subject, "-n", calm.namespace)
    acting = ["--as=bob", "--as-group=first", "--as-group=second"]
    eventually(lambda: run(calm, "get", *acting).returncode == 0, what="the right")
    refused(run(calm, "hold", "fraud", "--reason=x", *acting), "cannot patch resource")


def test_watch_prints_a_row_for_a_change(calm: World, tmp_path: Path) -> None:
    add(calm, "watched", 0.1)
    lines = tmp_path / "lines"
    command = [sys.executable, "-m", "drifttrigger", "get", "--watch", "-n", calm.namespace]
    command += ["--kubeconfig", str(calm.cluster.kubeconfig)]
    with lines.open("w") as output:
        process = subprocess.Popen(command, stdout=output)
    try:
        eventually(lambda: "watched" in lines.read_text(), what="the first row")
        calm.set("watched", 0.35)
        eventually(lambda: "RetrainingActive" in lines.read_text(), what="the change")
    finally:
        process.terminate()
        process.wait(10)
    assert lines.read_text().count("NAME ") == 1


def test_trigger_prints_the_retraining_that_it_began(calm: World) -> None:
    add(calm, "asked", 0.1)
    name = said(run(calm, "trigger", "asked")).split()[1]
    calm.wait(lambda: ended(calm, "asked").get("name") == name, what="its end")
    assert calm.get("job", name)["metadata"]["name"] == name
    selector = "drifttrigger.dev/trigger=asked"
    assert columns(said(run(calm, "get", "rt", "-l", selector)))[1][0] == name
    story = said(run(calm, "describe", "asked"))
    assert f"By hand, {name}" in story


def test_a_hold_refuses_trigger_until_it_is_released(calm: World) -> None:
    add(calm, "held", 0.1)
    assert "until" in said(run(calm, "hold", "held", "--for", "2h", "--reason", "model freeze"))
    annotations = calm.get("drifttrigger", "held")["metadata"]["annotations"]
    until, _, reason = annotations["drifttrigger.dev/hold"].partition(" ")
    assert reason == "model freeze"
    left = datetime.fromisoformat(until) - datetime.now(UTC)
    assert 7000 < left.total_seconds() <= 7200
    refused(run(calm, "trigger", "held"), "drifttrigger: refused: held until")
    assert "model freeze" in said(run(calm, "describe", "held"))
    assert "is released. It was held until" in said(run(calm, "release", "held"))
    assert said(run(calm, "release", "held")) == "DriftTrigger held was not held.\n"
    assert not [job for job in calm.created_jobs() if job.startswith("held-")]


def test_trigger_says_when_no_operator_answers(world: World) -> None:
    world.apply(world.trigger())
    refused(run(world, "trigger", "fraud", "--timeout", "1s"), "no operator answered for 1 s")
    assert "Asked" in said(run(world, "trigger", "fraud", "--no-wait"))


def whats(found: dict[str, Any]) -> list[str]:
    return [moment["what"] for chapter in found["chapters"] for moment in chapter["moments"]]


def test_describe_tells_an_episode_from_drift_to_the_score_after(
    calm: World, tmp_path: Path
) -> None:
    add(calm, "drifting", 0.35, cooldown="1s", maxAttempts=1, model={"name": "<b>fraud"})
    calm.set("drifting", 0.05)
    calm.wait(lambda: "scoreAfter" in ended(calm, "drifting"), what="the score after")
    found = json.loads(said(run(calm, "describe", "drifting", "-o", "json")))
    steps = ["Evaluated", "Decided", "Retraining", "Job", "Completed", "Score after"]
    assert [what for what in whats(found) if what in steps] == steps
    assert found["drifted"] is False
    text = said(run(calm, "describe", "drifting"))
    assert "Episode 1" in text
    assert "\x1b" not in text
    page = tmp_path / "page.html"
    said(run(calm, "describe", "drifting", "--html", str(page)))
    assert "&lt;b&gt;fraud" in page.read_text()
    assert "<b>fraud" not in page.read_text()


def test_describe_leaves_out_what_may_not_be_read_and_says_so(calm: World) -> None:
    role = ["--verb=get", "--resource=drifttriggers.drifttrigger.dev", "-n", calm.namespace]
    calm.kubectl("create", "role", "narrow", *role)
    calm.kubectl(
        "create", "rolebinding", "narrow", "--role=narrow", "--user=eve", "-n", calm.namespace
    )
    eventually(lambda: run(calm, "describe", "fraud", "--as=eve").returncode == 0, what="the right")
    text = said(run(calm, "describe", "fraud", "--as=eve"))
    for kind in ("Retrainings", "Jobs", "Events"):
        assert f"Note: {kind} are not shown" in text


def test_it_works_as_a_plugin_of_kubectl(calm: World) -> None:
    scripts = Path(sys.executable).parent
    assert (scripts / "kubectl-drifttrigger").exists()
    path = f"{scripts}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [calm.cluster.kubectl, "drifttrigger", "get", "fraud", "-n", calm.namespace],
        env={**os.environ, "PATH": path, "KUBECONFIG": str(calm.cluster.kubeconfig)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert columns(said(done))[1][0] == "fraud"
