"""`drifttrigger check` from a person's own machine: credentials, another address, the proxy."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.gateway import Gateway
from support.world import World

pytestmark = pytest.mark.e2e
TOKEN = "bearer-token-3Jf6"
REF = {"secretKeyRef": {"name": "login", "key": "token"}}


def check(world: World, *arguments: str, kubeconfig: Path | None = None) -> str:
    """Run `drifttrigger check`, for the live trigger `fraud` or a file; returns what it says."""
    here = [f"--kubeconfig={kubeconfig or world.cluster.kubeconfig}"]
    here += [f"--namespace={world.namespace}"]
    here += ["fraud"] if "-f" not in arguments else []
    done = subprocess.run(
        [sys.executable, "-m", "drifttrigger", "check", *here, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    assert TOKEN not in said
    return said


def put(world: World, *bodies: dict[str, Any]) -> None:
    items = {"apiVersion": "v1", "kind": "List", "items": list(bodies)}
    world.kubectl("apply", f"--namespace={world.namespace}", "--filename=-", stdin=items)


@pytest.fixture
def gateway(world: World) -> Iterator[Gateway]:
    """A gateway that wants a token, and a trigger that has one."""
    assert world.cluster.prometheus_url is not None
    login = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "login"},
        "stringData": {"token": TOKEN},
    }
    with Gateway(world.cluster.prometheus_url, tokens={TOKEN}) as running:
        server = {"address": running.address, "auth": {"bearer": {"tokenFrom": REF}}}
        put(world, login, world.trigger(prometheus=server, query="vector(0.125)"))
        yield running


def test_it_shows_the_credentials_of_the_trigger(world: World, gateway: Gateway) -> None:
    assert "Latest drift score: 0.125" in check(world)
    assert gateway.asked


def test_it_reads_secrets_with_the_rights_of_who_runs_it(world: World, gateway: Gateway) -> None:
    viewer = f"viewer-{world.namespace}"
    world.kubectl(
        *("create", "rolebinding", "viewer", "--clusterrole=drifttrigger-view"),
        *(f"--user={viewer}", f"--namespace={world.namespace}"),
    )
    said = check(world, kubeconfig=world.cluster.kubeconfig_for(viewer))
    assert f"no right to read Secret {world.namespace}/login" in said
    assert f"--user={viewer}" in said
    assert gateway.asked == []


def test_credentials_do_not_go_to_another_address(world: World, gateway: Gateway) -> None:
    with Gateway(gateway.upstream, tokens={"none"}) as other:
        assert "you sent None" in check(world, "--address", other.address)
    assert gateway.asked == []


def test_credentials_do_not_go_through_the_api_server(world: World, gateway: Gateway) -> None:
    said = check(world, "--via-apiserver")
    assert said.startswith("drifttrigger: the API server's proxy does not pass credentials on")
    assert gateway.asked == []


def test_it_asks_the_api_server_for_the_service_with_the_persons_own_token(
    world: World, tmp_path: Path
) -> None:
    server = {"address": "http://prometheus.monitoring.svc:9090/prefix/"}
    file = tmp_path / "trigger.json"
    file.write_text(json.dumps(world.trigger(prometheus=server)))
    assert world.cluster.prometheus_url is not None
    with Gateway(world.cluster.prometheus_url, tokens={"persons-token"}) as api_server:
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(kubeconfig_of(api_server.address, "persons-token"))
        arguments = ("-f", str(file), "--via-apiserver")
        said = check(world, *arguments, kubeconfig=kubeconfig)
        assert "HTTP 404" in said, "the token is taken; what answers here is no API server"
        assert api_server.asked == [
            "/api/v1/namespaces/monitoring/services/http:prometheus:9090/proxy/prefix/api/v1/query"
        ]
        kubeconfig.write_text(kubeconfig_of(api_server.address, "another"))
        assert "HTTP 401" in check(world, *arguments, kubeconfig=kubeconfig)


def kubeconfig_of(server: str, token: str) -> str:
    context = {"cluster": "c", "user": "u", "namespace": "models"}
    body = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "x", "context": context}],
        "current-context": "x",
    }
    return json.dumps(body)
