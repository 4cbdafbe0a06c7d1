"""Dashboards, alerts and logs are true of a real operator that a real Prometheus scrapes."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from drifttrigger.local.ports import free_ports
from drifttrigger.local.rest import Rest
from support.cluster import SharedCluster
from support.world import World

pytestmark = pytest.mark.e2e
MONITORING = Path(__file__).parents[2] / "manifests" / "monitoring"
DASHBOARDS = sorted(MONITORING.glob("dashboards/*.json"))
SPAN = "20s"


def alert_rules() -> list[dict[str, Any]]:
    body = yaml.safe_load((MONITORING / "prometheus-rule.yaml").read_text())
    return [rule for group in body["spec"]["groups"] for rule in group["rules"]]


def panel_queries(dashboard: Path) -> Iterator[tuple[str, str]]:
    for panel in json.loads(dashboard.read_text())["panels"]:
        for target in panel["targets"]:
            yield f"{dashboard.name}: {panel['title']}: {target['expr']}", target["expr"]


def filled_in(query: str, world: World) -> str:
    values = {"rate_interval": SPAN, "range": SPAN}
    for name, value in values.items():
        query = query.replace(f"$__{name}", value)
    return query.replace("$namespace", world.namespace).replace("$trigger", "fraud")


def ask(cluster: SharedCluster, query: str) -> list[dict[str, Any]]:
    url = cluster.prometheus_url
    assert url is not None
    answer = Rest(url).get(f"/api/v1/query?{urlencode({'query': query})}")
    found = json.loads(answer.body)
    assert found["status"] == "success", f"{query}: {found}"
    return found["data"]["result"]


def test_alerts_fire_when_they_should_and_only_then(cluster: SharedCluster, tmp_path: Path) -> None:
    body = yaml.safe_load((MONITORING / "prometheus-rule.yaml").read_text())
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(body["spec"]))
    shutil.copy(MONITORING / "alerts_test.yaml", tmp_path)
    promtool = cluster.binaries / "promtool"
    for command in (
        ["check", "rules", "--lint-fatal", "rules.yaml"],
        ["test", "rules", "alerts_test.yaml"],
    ):
        done = subprocess.run(
            [promtool, *command],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_shown_to_fire_and_to_be_silent() -> None:
    tests = yaml.safe_load((MONITORING / "alerts_test.yaml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    fires = {case["alertname"] for case in cases if case["exp_alerts"]}
    silent = {case["alertname"] for case in cases if not case["exp_alerts"]}
    names = {rule["alert"] for rule in alert_rules()}
    assert fires == names
    assert silent == names


def test_the_service_monitor_finds_the_service() -> None:
    monitor = yaml.safe_load((MONITORING / "service-monitor.yaml").read_text())["spec"]
    service = yaml.safe_load((MONITORING.parent / "operator" / "service.yaml").read_text())
    wanted = monitor["selector"]["matchLabels"].items()
    assert wanted <= service["metadata"]["labels"].items()
    ports = {port["name"] for port in service["spec"]["ports"]}
    assert {endpoint["port"] for endpoint in monitor["endpoints"]} <= ports


def test_every_panel_and_alert_is_true_of_a_real_run(world: World) -> None:
    [port] = free_ports(1)
    address = f"127.0.0.1:{port}"
    world.cluster.add_scrape_target(f"operator-{world.namespace}", address)
    world.set("fraud", 0.35)
    operator = world.operator(f"--metrics-address={address}")
    world.apply(world.trigger(cooldown="1h"))
    world.wait(
        lambda: world.get("drifttrigger", "fraud").get("status", {}).get("lastRetraining"),
        what="the end of a retraining",
    )
    missing = dict(query for dashboard in DASHBOARDS for query in panel_queries(dashboard))
    assert len(missing) > 30

    def all_have_series() -> bool:
        for name, query in list(missing.items()):
            if ask(world.cluster, filled_in(query, world)):
                del missing[name]
        return not missing

    try:
        world.wait(all_have_series, what="a series for every panel")
    except AssertionError as error:
        raise AssertionError("no series: " + "\n".join(missing)) from error
    fired = {rule["alert"]: ask(world.cluster, rule["expr"]) for rule in alert_rules()}
    # Whether ticks are late is a matter of this machine, not of the rules.
    late = {"DriftTriggerTicksLate", "DriftTriggerTicksMissed"}
    ours = {
        alert
        for alert, found in fired.items()
        if any(s["metric"].get("namespace", world.namespace) == world.namespace for s in found)
    }
    assert ours - late == {"DriftTriggerNotCured"}
    check_logs(operator.log)


def check_logs(log: Path) -> None:
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {"level", "logger", "message", "timestamp"} <= set.intersection(*map(set, lines))
    transitions = [line for line in lines if line["logger"] == "drifttrigger.transitions"]
    told = [line for line in transitions if line["level"] == "INFO" and "score" in line]
    assert {"namespace", "object", "generation", "reason", "threshold"} <= set(told[0])
    assert [line["state"] for line in lines if line["logger"] == "drifttrigger.audit"][:1] == [
        "Pending"
    ]


def test_the_series_of_a_trigger_vanish_with_it(world: World) -> None:
    [port] = free_ports(1)
    world.set("fraud", 0.1)
    world.operator(f"--metrics-address=127.0.0.1:{port}")
    world.apply(world.trigger())
    world.wait_reason("fraud", "Drifted", "BelowThreshold")
    metrics = Rest(f"http://127.0.0.1:{port}")
    series = f'{{namespace="{world.namespace}",trigger="fraud"}}'.encode()
    assert metrics.get("/metrics").body.count(series) == 4
    world.kubectl("delete", "drifttrigger", "fraud", "--namespace", world.namespace)
    world.wait(lambda: series not in metrics.get("/metrics").body, what="the end of its series")
