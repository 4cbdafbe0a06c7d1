"""The main job on the real control plane: score > θ makes exactly one retraining Job."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from support.world import World

pytestmark = pytest.mark.e2e
AUDIT = Path(__file__).parents[2] / "docs" / "reference" / "audit.md"


def environment(job: dict[str, Any]) -> dict[str, str]:
    container = job["spec"]["template"]["spec"]["containers"][0]
    return {variable["name"]: variable.get("value", "") for variable in container["env"]}


def test_columns_appear_and_a_score_of_exactly_theta_makes_no_job(world: World) -> None:
    world.set("fraud", 0.2)
    world.operator()
    world.apply(world.trigger(interval="1s"))
    world.wait_reason("fraud", "Drifted", "BelowThreshold", within_seconds=10)
    columns = world.kubectl("get", "drifttriggers", "--namespace", world.namespace).splitlines()
    assert columns[0].split()[:6] == ["NAME", "SCORE", "THRESHOLD", "DRIFTED", "READY", "REASON"]
    assert columns[1].split()[:6] == ["fraud", "0.2", "0.2", "False", "True", "BelowThreshold"]
    assert world.all("retraining") == []
    assert world.all("job") == []


def test_a_score_above_theta_makes_one_job_with_the_evidence(world: World) -> None:
    world.set("fraud", 0.1)
    world.operator()
    world.apply(world.trigger())
    world.wait_reason("fraud", "Drifted", "BelowThreshold")
    world.set("fraud", 0.35)
    [job] = world.wait_jobs(1)
    [retraining] = world.all("retraining")
    values = environment(job)
    assert values["DRIFT_SCORE"] == "0.35"
    assert values["DRIFT_THRESHOLD"] == "0.2"
    assert values["DRIFT_TRIGGER"] == "fraud"
    assert values["DRIFT_RETRAINING"] == retraining["metadata"]["name"] == job["metadata"]["name"]
    assert values["DRIFT_REASON"].startswith("score 0.35 > threshold 0.2")
    assert json.loads(values["DRIFT_SERIES"])[0]["value"] == "0.35"
    assert job["metadata"]["ownerReferences"][0]["uid"] == retraining["metadata"]["uid"]
    world.wait_reason("fraud", "Drifted", "CoolingDown")
    [ended] = world.all("retraining")
    assert ended["status"]["conditions"][0]["reason"] == "Completed"
    assert ended["status"]["target"]["uid"] == job["metadata"]["uid"]
    world.set("fraud", 0.1)
    world.wait_reason("fraud", "Drifted", "BelowThreshold")
    assert world.created_jobs() == [job["metadata"]["name"]]


def test_edits_touch_no_running_job(world: World) -> None:
    world.set("fraud", 0.35)
    world.operator()
    world.apply(world.trigger(podTemplate={"outcome": "hang"}))
    [before] = world.wait_jobs(1)
    for change in (
        {"threshold": 0.3},
        {"interval": "2s"},
        {"podTemplate": {"outcome": "hang", "note": "new"}},
        {"threshold": 0.9},
    ):
        world.apply(world.trigger(**({"podTemplate": {"outcome": "hang"}} | change)))
        generation = world.get("drifttrigger", "fraud")["metadata"]["generation"]
        world.wait(
            lambda g=generation: (
                world.get("drifttrigger", "fraud")["status"]["observedGeneration"] == g
            ),
            what="the edit",
        )
    [after] = world.all("job")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["spec"] == before["spec"]
    assert len(world.created_jobs()) == 1


@pytest.mark.parametrize(
    "point", ["intent-written", "retraining-created", "claimed", "job-created"]
)
def test_kill_9_between_two_writes_gives_one_job(world: World, point: str) -> None:
    world.set("fraud", 0.35)
    killed = world.operator(fault=f"kill:{point}")
    world.apply(world.trigger())
    assert killed.process.wait(30) == -9
    world.operator()
    [job] = world.wait_jobs(1)
    world.wait_reason("fraud", "Drifted", "CoolingDown")
    assert world.created_jobs() == [job["metadata"]["name"]]
    assert len(world.all("retraining")) == 1


@pytest.mark.parametrize("point", ["intent-written", "claimed", "job-created"])
def test_a_paused_replica_that_wakes_up_doubles_nothing(world: World, point: str) -> None:
    world.set("fraud", 0.35)
    paused = world.operator(fault=f"stop:{point}")
    world.apply(world.trigger())
    paused.wait_stopped()
    world.operator()
    world.wait_reason("fraud", "Drifted", "CoolingDown")
    paused.process.send_signal(18)
    writes = world.status_writes("fraud")
    world.set("fraud", 0.1)
    world.wait_reason("fraud", "Drifted", "BelowThreshold")
    assert len(world.created_jobs()) == 1
    assert len(world.all("job")) == 1
    assert world.status_writes("fraud") > writes


def test_a_steady_state_is_not_written(world: World) -> None:
    world.set("fraud", 0.1)
    world.operator()
    world.apply(world.trigger(interval="1s"))
    world.wait_reason("fraud", "Drifted", "BelowThreshold")
    before = world.status_writes("fraud")
    evaluations = itertools.count()
    seen: set[str] = set()

    def evaluated_for_30_s() -> bool:
        next(evaluations)
        lines = [o.lines() for o in world.operators]
        ticks = {
            line["timestamp"] for group in lines for line in group if line["message"] == "evaluated"
        }
        seen.update(ticks)
        return len(seen) >= 30

    world.wait(evaluated_for_30_s, within_seconds=60, what="30 evaluations")
    assert world.status_writes("fraud") - before <= 1
    trigger = world.get("drifttrigger", "fraud")
    assert "finalizers" not in trigger["metadata"]
    assert set(trigger["metadata"]["annotations"]) == {
        "kubectl.kubernetes.io/last-applied-configuration"
    }


def test_deleting_and_applying_again_goes_on_with_the_same_job(world: World) -> None:
    world.set("fraud", 0.35)
    world.operator()
    body = world.trigger(podTemplate={"outcome": "succeed", "duration": "8s"})
    world.apply(body)
    [before] = world.wait_jobs(1)
    world.wait(lambda: "target" in world.all("retraining")[0].get("status", {}), what="the target")
    world.kubectl("delete", "drifttrigger", "fraud", "--namespace", world.namespace)
    world.apply(body)
    world.wait_reason("fraud", "Drifted", "RetrainingActive")
    [after] = world.all("job")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    world.wait_reason("fraud", "Drifted", "CoolingDown")
    assert len(world.created_jobs()) == 1


def test_deletion_policy_delete_takes_retraining_and_job_along(world: World) -> None:
    world.set("fraud", 0.35)
    world.operator()
    world.apply(world.trigger(deletionPolicy="Delete", podTemplate={"outcome": "hang"}))
    world.wait_jobs(1)
    world.kubectl("delete", "drifttrigger", "fraud", "--namespace", world.namespace)
    world.wait(lambda: not world.all("job") and not world.all("retraining"), what="the end")


def test_faulty_triggers_say_so_in_the_servers_words_and_disturb_nobody(world: World) -> None:
    world.set("good", 0.1)
    world.set("bad-template", 0.1)
    world.operator()
    world.apply(world.trigger("bad-query", query="max(model_drift_score"))
    world.apply(world.trigger("no-server", prometheus={"address": "http://127.0.0.1:1"}))
    refused = world.trigger("bad-template")
    refused["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["imagee"] = "x"
    world.apply(refused)
    world.apply(world.trigger("good"))
    world.wait_reason("good", "Drifted", "BelowThreshold")
    world.wait_reason("bad-query", "Ready", "QueryError")
    world.wait_reason("no-server", "Ready", "Unreachable")
    world.wait_reason("bad-template", "Ready", "JobRefused")
    assert "unclosed left parenthesis" in world.condition("bad-query", "Ready")["message"]
    assert world.condition("bad-query", "Stalled")["status"] == "True"
    assert "127.0.0.1:1" in world.condition("no-server", "Ready")["message"]
    assert world.condition("no-server", "Stalled")["status"] == "False"
    assert "imagee" in world.condition("bad-template", "Ready")["message"]
    assert world.condition("bad-template", "Stalled")["status"] == "True"
    assert world.condition("good", "Ready")["status"] == "True"
    world.apply(world.trigger("bad-template"))
    world.wait_reason("bad-template", "Drifted", "BelowThreshold")
    assert world.condition("bad-template", "Ready")["status"] == "True"
    assert world.condition("bad-template", "Stalled")["status"] == "False"


def test_suspend_and_dry_run_start_nothing(world: World) -> None:
    world.set("asleep", 0.35)
    world.set("dry", 0.35)
    world.operator()
    world.apply(world.trigger("asleep", suspend=True))
    world.apply(world.trigger("dry", dryRun=True))
    world.wait_reason("asleep", "Drifted", "Suspended")
    world.wait_reason("dry", "Drifted", "CoolingDown")
    [retraining] = world.all("retraining")
    assert retraining["status"]["conditions"][0]["reason"] == "DryRun"
    assert world.get("drifttrigger", "dry")["status"]["episode"].get("attempts", 0) == 0
    assert world.created_jobs() == []


def test_attempts_end_and_history_is_limited(world: World) -> None:
    world.set("fraud", 0.35)
    world.operator()
    world.apply(world.trigger(cooldown="0s", maxAttempts=3, successfulHistoryLimit=1))
    world.wait_reason("fraud", "Drifted", "AttemptsExhausted", within_seconds=40)
    world.wait(
        lambda: "ineffective" in world.condition("fraud", "Drifted")["message"],
        what="the score after the last attempt",
    )
    assert len(world.created_jobs()) == 3
    world.wait(lambda: len(world.all("retraining")) == 1, what="the history limit")
    assert world.all("retraining")[0]["metadata"]["name"].endswith("-3")


def test_failed_and_deleted_jobs_are_told_apart(world: World) -> None:
    world.set("fails", 0.35)
    world.set("vanishes", 0.35)
    world.operator()
    failing = world.trigger("fails", podTemplate={"outcome": "fail"})
    failing["spec"]["jobTemplate"]["spec"]["backoffLimit"] = 0
    world.apply(failing)
    body = world.trigger("vanishes", podTemplate={"outcome": "hang"})
    world.apply(body)
    world.wait(lambda: len(world.all("job")) == 2, what="both Jobs")
    name = next(
        j["metadata"]["name"] for j in world.all("job") if "vanishes" in j["metadata"]["name"]
    )
    world.wait(
        lambda: "target" in world.get("retraining", name).get("status", {}), what="the target"
    )
    world.kubectl("delete", "job", name, "--namespace", world.namespace)

    def reasons() -> set[str]:
        found = world.all("retraining")
        return {c["reason"] for r in found for c in r.get("status", {}).get("conditions", [])}

    world.wait(
        lambda: reasons() == {"JobFailed", "JobDeleted"}, within_seconds=60, what="both outcomes"
    )
    assert len(world.created_jobs()) == 2


def test_the_audit_trail_has_a_line_per_transition(world: World) -> None:
    world.set("fraud", 0.35)
    operator = world.operator()
    world.apply(world.trigger())
    world.wait_reason("fraud", "Drifted", "CoolingDown")
    audit = [line for line in operator.lines() if line["logger"] == "drifttrigger.audit"]
    assert [line["state"] for line in audit] == ["Pending", "Running", "Completed"]
    assert all(line["evidence"]["score"] == 0.35 for line in audit)
    assert audit[-1]["target"]["name"] == audit[0]["retraining"]["name"]
    documented = set(re.findall(r"`(\w+)`", AUDIT.read_text().split("|---|---|")[1]))
    assert {key for line in audit for key in line} <= documented
