"""Servers with credentials, shared servers and dead ones, as an operator and its users see them."""

import json
import re
import shlex
import statistics
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from drifttrigger.cli.manifests import parse
from drifttrigger.local.ports import free_ports
from drifttrigger.local.rest import Rest
from support.cluster import SharedCluster
from support.gateway import Gateway, wait_until_asked
from support.kubectl import Kubectl
from support.locked import LockedPrometheus, Papers, locked_prometheus
from support.operator import SYSTEM_NAMESPACE, OperatorProcess
from support.scores import Scores
from support.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("sources")]
HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
FIRST, SECOND = "first-pw-7Qx2", "second-pw-9Zk4"
TOKEN, NEXT_TOKEN, KEY = "bearer-token-3Jf6", "next-token-2Kc7", "api-key-header-6Tq9"
WRONG = "wrong-pw-1Lm5"
PLANTED = [FIRST, SECOND, TOKEN, NEXT_TOKEN, KEY, WRONG, "BEGIN EC PRIVATE", "issued-token"]
SHEET = """
model_drift_p_value{model="churn",feature="age"} 0.5
model_drift_p_value{model="churn",feature="plan"} 0.03
model_feature_psi{model="credit",feature="income"} 0.15
model_feature_psi{model="credit",feature="region"} 0.02
model_accuracy{model="fraud"} 0.97
model_drift_score{model="recommender"} 0.05
model_drift_score{model="fraud-detector"} 0.125
"""


@dataclass
class Town:
    """One operator that looks at two namespaces, and the servers around.

    Args:
        own: The namespace whose Secrets the operator may read; also the operator's own.
        strangers: One whose Secrets it may not.
        password: Wants a password, speaks TLS.
        mutual: Wants a client certificate, below /prometheus, and scrapes the sheet.
        gateway: Wants a token, a tenant and a parameter; the cluster's Prometheus is behind it.
    """

    own: World
    strangers: World
    password: LockedPrometheus
    mutual: LockedPrometheus
    gateway: Gateway
    metrics_url: str

    @property
    def plain(self) -> str:
        """URL of a server that wants nothing."""
        assert self.own.cluster.prometheus_url is not None
        return self.own.cluster.prometheus_url

    def lines_of(self, name: str) -> list[dict[str, Any]]:
        """What the operator logged of one trigger's evaluations."""
        lines = self.own.operators[0].lines()
        return [x for x in lines if x.get("object") == name and x["message"] == "evaluated"]


def secret(name: str, kind: str = "Opaque", **values: str) -> dict[str, Any]:
    data = {key.replace("_", "."): value for key, value in values.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": kind,
        "metadata": {"name": name},
        "stringData": data,
    }


def source(name: str, kind: str = "MetricsSource", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "drifttrigger.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    }


def ref(name: str, key: str) -> dict[str, Any]:
    return {"secretKeyRef": {"name": name, "key": key}}


def put(world: World, *bodies: dict[str, Any]) -> None:
    """kubectl apply into the namespace."""
    items = {"apiVersion": "v1", "kind": "List", "items": list(bodies)}
    world.kubectl("apply", f"--namespace={world.namespace}", "--filename=-", stdin=items)


def trigger(world: World, name: str, **spec: Any) -> dict[str, Any]:
    """Build a trigger that asks for 0.125 every second; its server is in `spec`."""
    body = world.trigger(name, **{"query": "vector(0.125)", **spec})
    if "prometheus" not in spec:
        del body["spec"]["prometheus"]
    return body


def wait_scored(world: World, name: str, score: float, *, within_seconds: float = 30) -> None:
    world.wait_reason(name, "Ready", "Evaluating", within_seconds=within_seconds)
    assert world.get("drifttrigger", name)["status"]["lastEvaluation"]["score"] == score


def refused(world: World, name: str, reason: str, words: str) -> str:
    """Wait until a trigger is not ready for this reason, in these words; returns all of them."""
    world.wait(
        lambda: words in world.condition(name, "Ready").get("message", ""),
        what=f"{words!r} of {name}",
    )
    condition = world.condition(name, "Ready")
    assert (condition["status"], condition["reason"]) == ("False", reason)
    return str(condition["message"])


@pytest.fixture(scope="module")
def town(installed: SharedCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Everything around one operator, which runs with the shipped rights."""
    kubectl = Kubectl(installed.kubectl, installed.kubeconfig)
    account = installed.service_account_kubeconfig(SYSTEM_NAMESPACE, "drifttrigger")
    folder = tmp_path_factory.mktemp("town")
    name = f"s{uuid.uuid4().hex[:8]}"
    [port] = free_ports(1)
    exporter = Scores()
    exporter.expose("sheet", SHEET.strip().splitlines())
    installed.add_scrape_target("sources", exporter.address)
    own = World(name, kubectl, exporter, installed, account, folder)
    strangers = replace(own, namespace=f"{name}-strangers")
    with ExitStack() as stack:
        stack.callback(exporter.close)
        servers = []
        for part, options in (("mutual", {"prefix": "/prometheus"}), ("password", {})):
            (folder / part).mkdir()
            running = locked_prometheus(
                installed.binaries,
                folder / part,
                scrapes=[exporter.address],
                tls=True,
                **options,
            )
            servers.append(stack.enter_context(running))
        assert installed.prometheus_url is not None
        gateway = Gateway(
            installed.prometheus_url,
            tokens={TOKEN},
            headers={"THANOS-TENANT": "team-a"},
            parameters={"partial_response": "false"},
        )
        stack.enter_context(gateway)
        for world in (own, strangers):
            kubectl("create", "namespace", world.namespace)
            stack.callback(kubectl, "delete", "namespace", world.namespace, "--wait=false")
        kubectl(
            *("create", "rolebinding", "readers", f"--namespace={name}"),
            "--clusterrole=drifttrigger-source-reader",
            f"--serviceaccount={SYSTEM_NAMESPACE}:drifttrigger",
        )
        operator = OperatorProcess(
            account,
            [own.namespace, strangers.namespace],
            folder / "operator.log",
            arguments=[
                f"--metrics-address=127.0.0.1:{port}",
                f"--default-source={name}",
                f"--operator-namespace={name}",
                f"--lease-namespace={SYSTEM_NAMESPACE}",
            ],
        )
        own.operators.append(operator)
        stack.callback(operator.stop)
        mutual, password = servers
        mutual.wait_for("model_drift_score")
        yield Town(own, strangers, password, mutual, gateway, f"http://127.0.0.1:{port}")


def how_to(town: Town) -> list[dict[str, Any]]:
    """The YAMLs of the how-to pages, with addresses, credentials and history of the test's own."""
    assert town.mutual.papers is not None
    swaps = {
        "http://prometheus.monitoring:9090": town.plain,
        "http://thanos-query-frontend.monitoring:9090": town.gateway.address,
        "https://mimir-gateway.mimir:8443/prometheus": town.mutual.address,
        "put-the-token-here": TOKEN,
        "queryOffset: 6h": "queryOffset: 0s",
    }
    bodies = []
    for page in ("triggers.md", "sources.md"):
        for block in re.findall(
            r"^```yaml\n(.*?)^```$", (HOW_TO / page).read_text(), re.MULTILINE | re.DOTALL
        ):
            for old, new in swaps.items():
                block = block.replace(old, new)
            bodies += [b for b in parse(block) if b["kind"] != "ClusterMetricsSource"]
    for body in bodies:
        if body["kind"] == "ConfigMap":
            body["data"]["ca.crt"] = town.mutual.papers.ca
    return bodies


def test_the_six_yamls_of_the_how_to_pages_are_evaluated(town: Town) -> None:
    town.mutual.want(papers := Papers("clients"))
    client = secret("mimir-client", "kubernetes.io/tls")
    client["stringData"] = papers.client()
    bodies = how_to(town)
    put(town.own, client, *bodies)
    scores = {
        "churn-p-values": 0.03,
        "credit-psi": 0.15,
        "fraud-accuracy": 0.97,
        "recommender-weekly": 0.05,
        "fraud-on-thanos": 0.125,
        "fraud-on-mimir": 0.125,
    }
    assert {b["metadata"]["name"] for b in bodies if b["kind"] == "DriftTrigger"} == set(scores)
    for name, score in scores.items():
        wait_scored(town.own, name, score)
    for name in ("thanos", "mimir"):
        status = town.own.get("metricssource", name)["status"]
        [ready] = status["conditions"]
        assert (ready["status"], ready["reason"]) == ("True", "Answering")
        assert re.fullmatch(r"\d+\.\d+\.\d+", status["server"]["version"])


# Sources.


def test_a_source_tells_how_it_is_and_who_uses_it(town: Town) -> None:
    bearer = {"bearer": {"tokenFrom": ref("told", "token")}}
    body = source("told", address=town.gateway.address, auth=bearer)
    asks = trigger(town.own, "asks-told", sourceRef={"kind": "MetricsSource", "name": "told"})
    put(town.own, secret("told", token=WRONG), asks)
    refused(town.own, "asks-told", "Unreachable", "there is no MetricsSource told in namespace")
    put(town.own, body)
    words = "HTTP 401: <h1>this token is not known</h1> you sent Bearer [hidden]"
    refused(town.own, "asks-told", "Unauthorized", words)

    def status() -> dict[str, Any]:
        found: dict[str, Any] = town.own.get("metricssource", "told").get("status", {})
        return found

    town.own.wait(lambda: "lastError" in status(), what="a status of the source")
    assert status()["conditions"][0]["reason"] == "Unauthorized"
    assert words in status()["lastError"]["message"]
    assert status()["triggers"] == 1
    body["spec"] |= {
        "headers": [{"name": "THANOS-TENANT", "value": "team-a"}],
        "queryParameters": [{"name": "partial_response", "value": "false"}],
    }
    put(town.own, secret("told", token=TOKEN), body)
    wait_scored(town.own, "asks-told", 0.125)
    town.own.wait(lambda: status()["conditions"][0]["status"] == "True", what="Ready")
    assert status()["observedGeneration"] == 2
    assert "lastError" in status(), "it stays"
    events = town.own.all("events")
    told = [e for e in events if e["involvedObject"]["name"] == "told"]
    assert [e["reason"] for e in told] == ["Unauthorized", "Answering"]


def test_no_source_means_the_default_one_for_those_it_allows(town: Town) -> None:
    name = town.own.namespace
    for world in (town.own, town.strangers):
        put(world, trigger(world, "by-default"))
    missing = f"there is no ClusterMetricsSource {name}; name a source with sourceRef"
    refused(town.own, "by-default", "Unreachable", missing)
    allowed = {"names": [name]}
    basic = {"basic": {"username": "reader", "passwordFrom": ref("shared", "password")}}
    tls = {"insecureSkipVerify": True}
    spec = {"address": town.password.address, "auth": basic, "tls": tls}
    town.password.accept("reader", FIRST)
    put(
        town.own,
        secret("shared", password=FIRST),
        source(name, "ClusterMetricsSource", allowedNamespaces=allowed, **spec),
    )
    try:
        wait_scored(town.own, "by-default", 0.125)
        words = f"ClusterMetricsSource {name} does not allow namespace {name}-strangers"
        refused(town.strangers, "by-default", "Unauthorized", words)
    finally:
        town.own.kubectl("delete", "clustermetricssource", name)


def test_a_missing_right_prints_the_command_that_heals_it(town: Town) -> None:
    server = {
        "address": town.gateway.address,
        "auth": {"bearer": {"tokenFrom": ref("mine", "token")}},
        "headers": [
            {"name": "THANOS-TENANT", "value": "team-a"},
            {"name": "X-Api-Key", "valueFrom": ref("mine", "key")},
        ],
        "queryParameters": [{"name": "partial_response", "value": "false"}],
    }
    body = trigger(town.strangers, "needs-right", prometheus=server)
    put(town.strangers, secret("mine", token=TOKEN, key=KEY), body)
    message = refused(town.strangers, "needs-right", "Unauthorized", "no right to read Secret")
    _, _, command = message.partition("grant it with: ")
    program, *arguments = shlex.split(command)
    assert program == "kubectl"
    town.strangers.kubectl(*arguments)
    wait_scored(town.strangers, "needs-right", 0.125)


# Rotation.


def test_rotating_credentials_loses_no_tick(town: Town) -> None:
    world = town.own
    town.password.accept("reader", FIRST)
    town.mutual.want(papers := Papers("clients"))
    client = secret("client", "kubernetes.io/tls")
    client["stringData"] = papers.client()
    skip = {"insecureSkipVerify": True}
    servers = {
        "by-password": {
            "address": town.password.address,
            "auth": {"basic": {"username": "reader", "passwordFrom": ref("login", "password")}},
            "tls": skip,
        },
        "by-token": {
            "address": town.gateway.address,
            "auth": {"bearer": {"tokenFrom": ref("login", "token")}},
            "headers": [{"name": "THANOS-TENANT", "value": "team-a"}],
            "queryParameters": [{"name": "partial_response", "value": "false"}],
        },
        "by-certificate": {
            "address": town.mutual.address,
            "tls": {**skip, "clientCertificate": {"secretName": "client"}},
        },
    }
    login = secret("login", password=FIRST, token=TOKEN)
    put(world, login, client, *(trigger(world, n, prometheus=s) for n, s in servers.items()))
    for name in servers:
        wait_scored(world, name, 0.125)
    since = {name: len(town.lines_of(name)) for name in servers}
    client["stringData"] = (papers := Papers("clients of next year")).client()
    put(world, secret("login", password=SECOND, token=NEXT_TOKEN), client)
    town.password.accept("reader", SECOND)
    town.gateway.tokens = {NEXT_TOKEN}
    town.mutual.want(papers)
    world.wait(
        lambda: all(len(town.lines_of(name)) >= since[name] + 4 for name in servers),
        what="four more ticks of each",
    )
    town.gateway.tokens = {TOKEN, NEXT_TOKEN}
    lost = {
        name: sum(line["score"] is None for line in town.lines_of(name)[since[name] :])
        for name in servers
    }
    print(f"ticks lost by rotation: {lost}")
    assert max(lost.values()) <= 1


# A server that hangs.


def lateness(lines: list[dict[str, Any]]) -> list[float]:
    """Seconds from each tick to its answer; ticks of an interval of 1 s are at whole seconds."""
    return [datetime.fromisoformat(x["timestamp"]).timestamp() % 1.0 for x in lines]


def test_one_server_that_hangs_makes_nobody_else_late(town: Town) -> None:
    world, number = town.own, 8
    with Gateway(town.plain) as one, Gateway(town.plain) as two, Gateway(town.plain) as hung:
        hung.hangs = True
        names = {
            id(server): [f"asks-{label}-{i}" for i in range(number)]
            for label, server in (("one", one), ("two", two), ("hung", hung))
        }

        def apply(server: Gateway) -> None:
            where = {"address": server.address}
            bodies = [
                trigger(world, name, prometheus=where, query=f"vector(0.125) + {i} * 0")
                for i, name in enumerate(names[id(server)])
            ]
            put(world, *bodies)

        def measure(seconds: float) -> list[float]:
            """Let ticks pass; returns the lateness of each tick of the two that answer."""
            watched = [*names[id(one)], *names[id(two)]]
            since = {name: len(town.lines_of(name)) for name in watched}
            time.sleep(seconds)
            news = {name: town.lines_of(name)[since[name] :] for name in watched}
            ticks = [len(lines) for lines in news.values()]
            assert min(ticks) >= seconds - 1, "no tick is missed"
            assert all(line["score"] == 0.125 for lines in news.values() for line in lines)
            return [late for lines in news.values() for late in lateness(lines)]

        for server in (one, two):
            apply(server)
        for name in (*names[id(one)], *names[id(two)]):
            world.wait(lambda name=name: len(town.lines_of(name)) > 1, what=name)
        before = measure(3)
        apply(hung)
        wait_until_asked(hung)
        during = measure(5)
        for bodies in names.values():
            world.kubectl(
                *("delete", "drifttrigger", *bodies, f"--namespace={world.namespace}"),
                "--wait=false",
            )
    for label, found in (("all three answer", before), ("one of three hangs", during)):
        median, p90 = statistics.median(found), statistics.quantiles(found, n=10)[-1]
        print(f"{label}: {len(found)} ticks, lateness median {median:.3f} s, p90 {p90:.3f} s")
    assert statistics.median(during) < statistics.median(before) + 0.25


# Secrets.


def test_no_planted_secret_is_anywhere(town: Town) -> None:
    """Last in the file: it searches what the tests above have made the operator write."""
    world = town.own
    basic = {"basic": {"username": "reader", "passwordFrom": ref("bad", "password")}}
    bearer = {"bearer": {"tokenFrom": ref("bad", "password")}}
    skip = {"insecureSkipVerify": True}
    servers = [
        {"address": town.password.address, "auth": basic, "tls": skip},
        {"address": town.gateway.address, "auth": basic},
        {"address": town.gateway.address, "auth": bearer},
        {"address": town.mutual.address, "auth": basic, "tls": skip},
        {"address": "http://169.254.169.254", "auth": basic},
    ]
    put(world, secret("bad", password=WRONG))
    for i, server in enumerate(servers):
        put(world, trigger(world, f"bad-{i}", prometheus=server))
    for i in range(len(servers)):
        world.wait_reason(f"bad-{i}", "Ready", "Unauthorized", "Unreachable")
    assert "link-local" in world.condition("bad-4", "Ready")["message"]
    written = {"log": world.operators[0].log.read_text()}
    written["metrics"] = Rest(town.metrics_url).get("/metrics").body.decode()
    kinds = world.kubectl("api-resources", "--verbs=list", "--namespaced", "--output=name").split()
    kinds = [kind for kind in kinds if kind not in ("secrets", "events.events.k8s.io")]
    for each in (town.own, town.strangers):
        objects = each.kubectl.get(",".join(kinds), f"--namespace={each.namespace}")["items"]
        for item in objects:
            # What a person has applied with kubectl is that person's own copy.
            item["metadata"].get("annotations", {}).clear()
        written[each.namespace] = json.dumps(objects)
        assert any(item["kind"] == "Event" for item in objects)
    assert "evaluated" in written["log"]
    assert "drifttrigger_source_up" in written["metrics"]
    found = [(where, word) for where, text in written.items() for word in PLANTED if word in text]
    assert found == []
