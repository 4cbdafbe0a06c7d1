"""A cluster is kept for others: by `up --detach`, and for a test run's processes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from drifttrigger.cli.cluster import cluster as command
from drifttrigger.local.keeper import find
from drifttrigger.local.locks import is_held
from support.cluster import use_cluster
from support.kubectl import eventually


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def _stopped_at_the_end() -> Iterator[None]:
    yield
    _run("down")


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments)


@pytest.mark.parametrize("name", ["status", "down"])
def test_without_a_cluster_one_line_says_what_to_do(name: str) -> None:
    result = _run(name)
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: no local cluster runs: start one with `drifttrigger cluster up`\n"
    )


def test_wrong_usage_ends_with_two() -> None:
    assert _run("up", "--frobnicate").exit_code == 2


def test_missing_go_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DRIFTTRIGGER_CACHE", str(tmp_path))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    result = _run("binaries")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Error: no Go on PATH")
    assert result.stderr.count("\n") == 1


@pytest.mark.e2e
def test_binaries_prints_only_the_folder() -> None:
    result = _run("binaries")
    assert (Path(result.stdout.strip()) / "kube-apiserver").exists()


@pytest.mark.e2e
@pytest.mark.usefixtures("_stopped_at_the_end")
def test_up_detached_status_and_down_work_together(tmp_path: Path) -> None:
    up = _run("up", "--detach", "--prometheus")
    assert up.exit_code == 0, up.output
    exports = "\n".join([up.stdout, 'kubectl get nodes -o name; echo "$PROMETHEUS_URL"'])
    shell = subprocess.run(["/bin/sh", "-ec", exports], capture_output=True, text=True, check=True)
    assert shell.stdout.splitlines()[0] == "node/local"
    assert shell.stdout.splitlines()[1].startswith("http://127.0.0.1:")

    status = _run("status")
    assert status.exit_code == 0
    assert "ready, pid" in status.stdout

    second = _run("up", "--detach")
    assert second.exit_code == 1
    assert "runs already: use KUBECONFIG=" in second.stderr
    assert "drifttrigger cluster down" in second.stderr

    directory = find(tmp_path / "state" / "drifttrigger" / "cluster").directory
    assert _run("down").exit_code == 0
    assert not directory.exists()
    assert _run("status").exit_code == 1


UP = "from drifttrigger.cli.cluster import cluster; cluster(['up'])"


@pytest.mark.e2e
def test_ctrl_c_ends_up_cleanly() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", UP],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        kubeconfig = Path(process.stdout.readline().strip().removeprefix("export KUBECONFIG="))
        assert kubeconfig.exists()
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode == 0
    assert not kubeconfig.parent.exists()


USER = """
import json, sys
from pathlib import Path
from support.cluster import use_cluster
with use_cluster(Path(sys.argv[1])) as found:
    print(json.dumps([found.url, found.pid]), flush=True)
    sys.stdin.readline()
"""


def _user(room: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", USER, str(room)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _told(user: "subprocess.Popen[str]") -> tuple[str, int]:
    assert user.stdout is not None
    url, pid = json.loads(user.stdout.readline())
    return url, pid


@pytest.mark.e2e
def test_processes_of_a_run_share_one_cluster_until_the_last_leaves(tmp_path: Path) -> None:
    with _user(tmp_path / "room") as first, _user(tmp_path / "room") as second:
        seen = _told(first)
        assert _told(second) == seen
        first.communicate("\n")
        with use_cluster(tmp_path / "room") as found:
            assert (found.url, found.pid) == seen
            assert found.api().get("/readyz").status == 200
        second.communicate("\n")
    assert not is_held(tmp_path / "room" / "cluster.lock")
    assert not found.directory.exists()


@pytest.mark.e2e
def test_a_killed_user_leaves_no_cluster_behind(tmp_path: Path) -> None:
    with _user(tmp_path / "room") as user:
        _told(user)
        directory = find(tmp_path / "room" / "cluster").directory
        user.kill()
    eventually(lambda: not is_held(tmp_path / "room" / "cluster.lock"), what="the keeper's end")
    assert not directory.exists()
