"""`drifttrigger check` as a person runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from drifttrigger.cli.manifests import parse
from support.cluster import SharedCluster
from support.world import World

pytestmark = pytest.mark.e2e

SMALLEST = """
apiVersion: drifttrigger.dev/v1alpha1
kind: DriftTrigger
metadata: {{name: fraud-detector}}
spec:
  prometheus: {{address: "{address}"}}
  query: {query}
  threshold: {threshold}
  jobTemplate:
    spec: {{template: {{spec: {{restartPolicy: Never, containers: [{{name: a, image: b}}]}}}}}}
"""
KIND = "apiVersion: drifttrigger.dev/v1alpha1\nkind: DriftTrigger\n"
MISSPELT = KIND + "metadata: {name: x}\nspec: {thresold: 1}\n"
SCALARS = [
    "2e-1", "1e3", "1E3", "1.", ".5", "+1", "-1", "0x1F", "0o17", "017", "0b11", "1_000", "yes",
    "no", "on", "Off", "y", "true", "True", "null", "~", "", "2026-01-01", "12:30:45", "0.2",
    "'0.2'", "1.5e+3", "09", "1e", "e1", "-.5", "+.5e-2", "TRUE", "NULL",
]  # fmt: skip


def run(*arguments: str, text: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "drifttrigger", "check", *arguments],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("query", "threshold", "code", "outcome", "decision"),
    [
        pytest.param("vector(0.35)", "0.2", 3, "Score", "Retrain", id="above theta"),
        pytest.param("vector(0.2)", "2e-1", 0, "Score", "Nothing", id="exactly theta, as 2e-1"),
        pytest.param("scalar(vector(0.35))", "0.2", 3, "Score", "Retrain", id="a scalar"),
        pytest.param("vector(0) / 0", "0.2", 1, "NotANumber", "Nothing", id="NaN"),
        pytest.param("vector(1) / 0", "0.2", 1, "Infinite", "Nothing", id="infinite"),
        pytest.param("up > 5", "0.2", 1, "NoData", "Nothing", id="empty"),
        pytest.param("up[1m]", "0.2", 1, "Unsupported", "Nothing", id="a range"),
        pytest.param("max(", "0.2", 1, "QueryError", "Nothing", id="bad PromQL"),
    ],
)
def test_exit_status_and_json(
    cluster: SharedCluster, query: str, threshold: str, code: int, outcome: str, decision: str
) -> None:
    text = SMALLEST.format(address=cluster.prometheus_url, query=query, threshold=threshold)
    done = run("-f", "-", "-o", "json", text=text)
    assert done.returncode == code, done.stderr
    found = json.loads(done.stdout)
    assert (found["outcome"], found["decision"]) == (outcome, decision)


def test_words_say_score_theta_and_decision(cluster: SharedCluster) -> None:
    text = SMALLEST.format(address=cluster.prometheus_url, query="vector(0.35)", threshold=0.2)
    done = run("-f", "-", text=text)
    assert "Latest drift score: 0.35, threshold: 0.2" in done.stdout
    assert "Drift detected: score 0.35 > threshold 0.2" in done.stdout


def test_a_live_trigger_is_judged_from_its_own_status(world: World) -> None:
    world.set("fraud", 0.35)
    world.operator()
    world.apply(world.trigger())
    world.wait_reason("fraud", "Drifted", "CoolingDown")
    kubeconfig = str(world.cluster.kubeconfig)
    done = run("fraud", "-n", world.namespace, "--kubeconfig", kubeconfig, "-o", "json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["reason"] == "CoolingDown"


@pytest.mark.parametrize(
    ("arguments", "text", "code", "words"),
    [
        pytest.param((), "", 2, "name a live trigger", id="nothing named"),
        pytest.param(("-f", "/does/not/exist"), "", 1, "No such file", id="no such file"),
        pytest.param(("-f", "-"), "{", 1, "no YAML", id="no YAML"),
        pytest.param(("-f", "-"), "kind: Pod", 1, "holds 0 DriftTriggers", id="no trigger"),
        pytest.param(("-f", "-"), "a: 1\na: 2", 1, "comes twice", id="a key twice"),
        pytest.param(("-f", "-"), MISSPELT, 1, "did you mean threshold", id="a misspelt field"),
        pytest.param(("-f", "-"), 'metadata: "x"\n' + KIND, 1, "metadata.name", id="odd metadata"),
        pytest.param(("x", "--kubeconfig", "/none"), "", 1, "set KUBECONFIG", id="no cluster"),
    ],
)
def test_wrong_use_is_one_line_that_says_what_to_do(
    arguments: tuple[str, ...], text: str, code: int, words: str
) -> None:
    done = run(*arguments, text=text)
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_yaml_scalars_are_read_as_kubectl_reads_them(
    cluster: SharedCluster, tmp_path: Path
) -> None:
    text = "apiVersion: v1\nkind: List\nmetadata: {}\nitems:\n- apiVersion: x.example/v1\n"
    text += "  kind: X\n  metadata: {name: x}\n  spec:\n"
    text += "".join(f"    k{i}: {scalar}\n" for i, scalar in enumerate(SCALARS))
    file = tmp_path / "x.yaml"
    file.write_text(text)
    done = subprocess.run(
        [cluster.kubectl, "patch", "--local", "-f", file, "--type=merge", "-p={}", "-o=json"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    theirs = json.loads(done.stdout)["spec"]
    ours = parse(text)[0]["items"][0]["spec"]
    different = {
        scalar: (ours[f"k{i}"], theirs.get(f"k{i}"))
        for i, scalar in enumerate(SCALARS)
        if repr(ours[f"k{i}"]) != repr(theirs.get(f"k{i}")) and ours[f"k{i}"] != theirs.get(f"k{i}")
    }
    assert different == {}
