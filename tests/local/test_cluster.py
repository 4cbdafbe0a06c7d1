"""The real control plane starts, is what it claims to be, and leaves nothing behind."""

import json
import os
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from drifttrigger.local import cluster as room
from drifttrigger.local.certificates import Authority, PrivateKey, Subject
from drifttrigger.local.cluster import Cluster
from drifttrigger.local.errors import AlreadyRunning, StartError
from drifttrigger.local.ports import free_ports
from drifttrigger.local.rest import Rest
from support.kubectl import Kubectl, eventually

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster.start() as found:
        yield found


@pytest.fixture
def kubectl(cluster: Cluster) -> Kubectl:
    return Kubectl(cluster.kubectl, cluster.kubeconfig)


def _job(name: str, **annotations: str) -> dict[str, Any]:
    pod = {"restartPolicy": "Never", "containers": [{"name": "train", "image": "trainer"}]}
    prefixed = {f"local.drifttrigger.dev/{key}": value for key, value in annotations.items()}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {
            "backoffLimit": 0,
            "template": {"metadata": {"annotations": prefixed}, "spec": pod},
        },
    }


def _has_condition(kubectl: Kubectl, job: str, kind: str) -> bool:
    conditions = kubectl.get("job", job)["status"].get("conditions", [])
    return any(found["type"] == kind and found["status"] == "True" for found in conditions)


def _alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_kubectl_and_server_have_the_pinned_version(kubectl: Kubectl) -> None:
    versions = json.loads(kubectl("version", "--output=json"))
    assert versions["serverVersion"]["gitVersion"] == "v1.37.2"
    assert versions["clientVersion"]["gitVersion"] == "v1.37.2"


def test_a_client_that_trusts_another_authority_refuses_the_server(
    cluster: Cluster, tmp_path: Path
) -> None:
    stranger = Authority(Subject("stranger"), PrivateKey.generate())
    (tmp_path / "ca.crt").write_text(stranger.certificate(now=datetime.now(UTC)))
    assert Rest(cluster.url, ca_file=cluster.ca_file).get("/livez").status == 200
    with pytest.raises(ssl.SSLCertVerificationError):
        Rest(cluster.url, ca_file=tmp_path / "ca.crt").get("/livez")


def test_an_ordinary_user_is_known_and_refused(cluster: Cluster) -> None:
    jane = Kubectl(cluster.kubectl, cluster.kubeconfig_for("jane", groups=("ml", "oncall")))
    told = json.loads(jane("auth", "whoami", "--output=json"))["status"]["userInfo"]
    assert told["username"] == "jane"
    assert {"ml", "oncall"} <= set(told["groups"])
    refused = jane.run("get", "jobs")
    assert refused.returncode != 0
    assert 'User "jane" cannot list resource "jobs"' in refused.stderr


def test_a_user_may_do_what_a_role_of_their_group_says(cluster: Cluster, kubectl: Kubectl) -> None:
    kubectl("create", "clusterrolebinding", "viewers", "--clusterrole=view", "--group=viewers")
    joe = Kubectl(cluster.kubectl, cluster.kubeconfig_for("joe", groups=("viewers",)))
    joe("get", "jobs")


def test_a_service_account_has_a_real_token(cluster: Cluster, kubectl: Kubectl) -> None:
    kubectl("create", "serviceaccount", "trainer")
    config = cluster.service_account_kubeconfig("default", "trainer")
    trainer = Kubectl(cluster.kubectl, config)
    told = json.loads(trainer("auth", "whoami", "--output=json"))["status"]["userInfo"]
    assert told["username"] == "system:serviceaccount:default:trainer"


def test_a_token_for_a_missing_service_account_is_a_clear_error(cluster: Cluster) -> None:
    with pytest.raises(StartError, match='serviceaccounts "nobody" not found'):
        cluster.service_account_kubeconfig("default", "nobody")


def test_a_job_completes_within_seconds(kubectl: Kubectl) -> None:
    kubectl("create", "-f-", stdin=_job("plain"))
    eventually(lambda: _has_condition(kubectl, "plain", "Complete"), what="the Job's completion")


def test_a_job_that_is_annotated_to_fail_fails_with_its_exit_code(kubectl: Kubectl) -> None:
    manifest = _job("failing", outcome="fail", duration="100ms", **{"exit-code": "42"})
    kubectl("create", "-f-", stdin=manifest)
    eventually(lambda: _has_condition(kubectl, "failing", "Failed"), what="the Job's failure")
    pod = kubectl.get("pods", "--selector=job-name=failing")["items"][0]
    assert pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 42


def test_a_hanging_job_runs_until_it_is_deleted(kubectl: Kubectl) -> None:
    kubectl("create", "-f-", stdin=_job("hanging", outcome="hang"))
    kubectl("create", "-f-", stdin=_job("after", duration="2s"))
    eventually(lambda: _has_condition(kubectl, "after", "Complete"))
    assert kubectl.get("job", "hanging")["status"]["active"] == 1
    kubectl("delete", "job", "hanging", "--timeout=20s")
    eventually(
        lambda: kubectl.get("pods", "--selector=job-name=hanging")["items"] == [],
        what="the removal of the pod",
    )


def test_the_node_is_kept_ready_by_a_lease(kubectl: Kubectl) -> None:
    lease = ("lease", "local", "--namespace=kube-node-lease")
    eventually(lambda: kubectl.run("get", *lease).returncode == 0)
    first = kubectl.get(*lease)["spec"]["renewTime"]
    eventually(
        lambda: kubectl.get(*lease)["spec"]["renewTime"] != first,
        within_seconds=30,
        what="the renewal of the node's lease",
    )


def test_the_audit_log_has_each_request_with_its_user_and_the_body_of_jobs(
    cluster: Cluster, kubectl: Kubectl
) -> None:
    kubectl("create", "-f-", stdin=_job("audited"))
    kubectl("create", "configmap", "audited", "--from-literal=a=b")

    def event(resource: str) -> dict[str, Any]:
        asked = f"/namespaces/default/{resource}?"
        found = [
            dict(found)
            for found in cluster.audit_events()
            if found["verb"] == "create"
            and found["user"]["username"] == "admin"
            and asked in found["requestURI"]
        ]
        return found[-1]

    assert event("jobs")["requestObject"]["spec"]["backoffLimit"] == 0
    assert "requestObject" not in event("configmaps")


def test_everything_listens_on_loopback_only(cluster: Cluster) -> None:
    inodes = set()
    for pid in cluster.processes.values():
        for link in Path(f"/proc/{pid}/fd").iterdir():
            target = str(link.readlink())
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    listening = [
        fields[1].split(":")[0]
        for table in ("tcp", "tcp6")
        for fields in map(str.split, Path(f"/proc/net/{table}").read_text().splitlines()[1:])
        if fields[3] == "0A" and fields[9] in inodes
    ]
    assert listening
    assert set(listening) == {"0100007F"}


def test_nothing_is_left_after_stop() -> None:
    with Cluster.start() as found:
        pids, directory = dict(found.processes), found.directory
        assert all(map(_alive, pids.values()))
    assert not any(map(_alive, pids.values()))
    assert not directory.exists()


def test_nothing_is_left_after_an_exception() -> None:
    seen: list[Cluster] = []
    pids: list[int] = []

    def fail() -> None:
        with Cluster.start() as found:
            seen.append(found)
            pids.extend(found.processes.values())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert pids
    assert not any(map(_alive, pids))
    assert not seen[0].directory.exists()


PARENT = """
import json, sys, time
from drifttrigger.local.cluster import Cluster
found = Cluster.start()
print(json.dumps([str(found.directory), list(found.processes.values())]), flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_when_the_parent_is_ended_by(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A folder of its own: the start of any other test's cluster would remove the left-overs.
    with tempfile.TemporaryDirectory() as own:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": own}
        with subprocess.Popen(
            [sys.executable, "-c", PARENT],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as parent:
            assert parent.stdout is not None
            directory, pids = json.loads(parent.stdout.readline())
            assert all(map(_alive, pids))
            parent.send_signal(number)
        eventually(lambda: not any(map(_alive, pids)), what="the end of the children")
        if number is signal.SIGKILL:
            monkeypatch.setattr(tempfile, "tempdir", own)
            with Cluster.start():
                pass
        assert not Path(directory).exists()


@pytest.mark.parametrize("name", ["kube-apiserver", "kwok", "kube-scheduler", "etcd"])
def test_after_a_kill_and_a_restart_data_are_kept_and_jobs_run(name: str) -> None:
    with Cluster.start() as found:
        kubectl = Kubectl(found.kubectl, found.kubeconfig)
        kubectl("create", "configmap", "kept", "--from-literal=a=b")
        found.kill_process(name)
        if name == "kube-apiserver":
            with pytest.raises(ConnectionError):
                found.handle.api().get("/livez")
        found.start_process(name)
        eventually(lambda: found.handle.api().get("/readyz").status == 200)
        assert kubectl.get("configmap", "kept")["data"] == {"a": "b"}
        kubectl("create", "-f-", stdin=_job("afterwards"))
        eventually(lambda: _has_condition(kubectl, "afterwards", "Complete"))


def test_a_paused_api_server_answers_after_it_is_resumed() -> None:
    with Cluster.start() as found:
        found.pause("kube-apiserver")
        answers: list[int] = []
        asking = threading.Thread(
            target=lambda: answers.append(found.handle.api().get("/livez").status)
        )
        asking.start()
        asking.join(timeout=1.0)
        assert answers == []
        found.resume("kube-apiserver")
        asking.join()
        assert answers == [200]


def test_a_named_directory_keeps_its_data_and_has_one_owner(tmp_path: Path) -> None:
    with Cluster.start(tmp_path / "kept") as found:
        Kubectl(found.kubectl, found.kubeconfig)("create", "namespace", "kept")
        user = found.kubeconfig_for("jane", groups=("system:masters",))
        with pytest.raises(AlreadyRunning):
            Cluster.start(tmp_path / "kept")
    with Cluster.start(tmp_path / "kept") as found:
        Kubectl(found.kubectl, found.kubeconfig)("get", "namespace", "kept")
        server = f"--server={found.url}"
        Kubectl(found.kubectl, user)(server, "get", "namespace", "kept")


def test_a_port_that_was_taken_meanwhile_is_replaced(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = int(cluster.url.rpartition(":")[2])
    offers = iter([[taken, *free_ports(3)]])
    monkeypatch.setattr(room, "free_ports", lambda count: next(offers, None) or free_ports(count))
    with Cluster.start() as found:
        assert found.url != cluster.url


def test_a_start_that_fails_tells_the_last_words_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(StartError, match=r"kube-apiserver ended(.|\n)*unknown flag: --frobnicate"):
        Cluster.start(api_arguments=["--frobnicate"])
    assert [path.name for path in tmp_path.glob("*/*")] == ["sweep.lock"]
