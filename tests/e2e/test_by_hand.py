"""What people ask for by annotation, and what else may become of a Job."""

from datetime import UTC, datetime, timedelta

import pytest

from drifttrigger.core.naming import child_name
from support.world import World

pytestmark = pytest.mark.e2e
NOW = "drifttrigger.dev/trigger-now"
HOLD = "drifttrigger.dev/hold"


def annotate(world: World, name: str, text: str) -> None:
    world.kubectl(
        "annotate", "--overwrite", "drifttrigger", name, text, "--namespace", world.namespace
    )


def ago(**duration: float) -> str:
    return (datetime.now(UTC) - timedelta(**duration)).strftime("%Y-%m-%dT%H:%M:%SZ")


def last_manual(world: World, name: str) -> str:
    return world.get("drifttrigger", name).get("status", {}).get("lastManual", {}).get("result", "")


def events(world: World) -> list[tuple[str, str]]:
    return [(event["reason"], event["message"]) for event in world.all("event")]


def test_trigger_now_starts_one_retraining_whatever_the_score(world: World) -> None:
    world.set("fraud", 0.1)
    world.operator()
    world.apply(world.trigger())
    world.wait_reason("fraud", "Drifted", "BelowThreshold")
    annotate(world, "fraud", f"{NOW}={ago(seconds=1)}")
    [job] = world.wait_jobs(1)
    [retraining] = world.all("retraining")
    assert retraining["spec"]["cause"] == "Manual"
    assert retraining["spec"]["evidence"]["score"] == 0.1
    assert last_manual(world, "fraud") == f"Accepted: {job['metadata']['name']}"
    world.wait(
        lambda: world.get("drifttrigger", "fraud")["status"].get("lastRetraining"), what="its end"
    )
    annotate(world, "fraud", "example.dev/other=1")
    world.wait_reason("fraud", "Drifted", "BelowThreshold")
    assert len(world.created_jobs()) == 1


@pytest.mark.parametrize(
    ("value", "words"),
    [
        pytest.param("tomorrow", "no RFC 3339 time", id="no time"),
        pytest.param("2020-01-01T00:00:00Z", "more than 10 minutes", id="long ago"),
    ],
)
def test_trigger_now_that_is_refused_says_why_and_starts_nothing(
    world: World, value: str, words: str
) -> None:
    world.set("fraud", 0.1)
    world.operator()
    world.apply(world.trigger())
    world.wait_reason("fraud", "Drifted", "BelowThreshold")
    annotate(world, "fraud", f"{NOW}={value}")
    world.wait(lambda: words in last_manual(world, "fraud"), what="the refusal")
    world.wait(
        lambda: any(r == "ManualRefused" and words in m for r, m in events(world)), what="an Event"
    )
    assert world.created_jobs() == []


def test_a_request_that_was_there_before_the_trigger_fires_nothing(world: World) -> None:
    world.set("fraud", 0.1)
    world.operator()
    world.apply(world.trigger(annotations={NOW: ago(seconds=1)}))
    world.wait_reason("fraud", "Drifted", "BelowThreshold")
    assert last_manual(world, "fraud").startswith("Ignored")
    assert world.created_jobs() == []


def test_a_hold_keeps_a_retraining_waiting_and_lets_it_go(world: World) -> None:
    world.set("fraud", 0.35)
    world.operator()
    world.apply(world.trigger(annotations={HOLD: "forever audit week"}))
    world.wait_reason("fraud", "Drifted", "RetrainingActive")
    world.wait(
        lambda: "audit week" in str(world.all("retraining")[0].get("status")), what="the hold"
    )
    assert world.created_jobs() == []
    world.kubectl("annotate", "drifttrigger", "fraud", f"{HOLD}-", "--namespace", world.namespace)
    world.wait_jobs(1)


def test_an_unreadable_hold_holds_for_ever_and_says_so(world: World) -> None:
    world.set("fraud", 0.35)
    world.operator()
    world.apply(world.trigger(annotations={HOLD: "next week"}))
    world.wait(lambda: any(r == "HoldUnreadable" for r, _ in events(world)), what="an Event")
    world.wait_reason("fraud", "Drifted", "RetrainingActive")
    assert world.created_jobs() == []


def test_a_held_retraining_whose_episode_ends_is_superseded(world: World) -> None:
    world.set("fraud", 0.35)
    world.operator()
    world.apply(world.trigger(annotations={HOLD: "forever"}))
    world.wait_reason("fraud", "Drifted", "RetrainingActive")
    world.set("fraud", 0.1)
    world.wait_reason("fraud", "Drifted", "BelowThreshold")
    world.wait(
        lambda: world.all("retraining")[0]["status"]["conditions"][0]["reason"] == "Superseded",
        what="Superseded",
    )
    world.wait(
        lambda: not world.get("drifttrigger", "fraud")["status"].get("active"), what="release"
    )
    assert "lastRetraining" not in world.get("drifttrigger", "fraud")["status"]
    assert world.created_jobs() == []


def test_a_suspended_job_is_told_apart_and_left_alone(world: World) -> None:
    world.set("fraud", 0.35)
    world.operator()
    body = world.trigger()
    body["spec"]["jobTemplate"]["spec"]["suspend"] = True
    world.apply(body)
    [job] = world.wait_jobs(1)
    world.wait(
        lambda: world.all("retraining")[0]["status"]["conditions"][0]["reason"] == "JobSuspended",
        what="JobSuspended",
    )
    patch = '{"spec":{"suspend":false}}'
    name = job["metadata"]["name"]
    world.kubectl("patch", "job", name, "--patch", patch, "--namespace", world.namespace)
    world.wait_reason("fraud", "Drifted", "CoolingDown")


def test_a_ttl_removes_the_job_only_after_its_outcome_is_recorded(world: World) -> None:
    world.set("fraud", 0.35)
    world.operator()
    body = world.trigger()
    body["spec"]["jobTemplate"]["spec"]["ttlSecondsAfterFinished"] = 0
    world.apply(body)
    [job] = world.wait_jobs(1)
    assert "ttlSecondsAfterFinished" not in job["spec"]
    world.wait_reason("fraud", "Drifted", "CoolingDown")
    world.wait(lambda: not world.all("job"), what="the TTL")
    [retraining] = world.all("retraining")
    assert retraining["status"]["conditions"][0]["reason"] == "Completed"


def test_a_late_job_of_a_superseded_retraining_is_deleted_as_a_stray(world: World) -> None:
    world.set("fraud", 0.35)
    world.operator()
    world.apply(world.trigger())
    world.wait_reason("fraud", "Drifted", "CoolingDown")
    [job] = world.all("job")
    [retraining] = world.all("retraining")
    world.kubectl("delete", "job", job["metadata"]["name"], "--namespace", world.namespace)
    late = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job["metadata"]["name"],
            "namespace": world.namespace,
            "labels": {"drifttrigger.dev/retraining": retraining["metadata"]["name"]},
            "ownerReferences": [
                {
                    "apiVersion": "drifttrigger.dev/v1alpha1",
                    "kind": "Retraining",
                    "name": retraining["metadata"]["name"],
                    "uid": retraining["metadata"]["uid"],
                    "controller": True,
                }
            ],
        },
        "spec": {
            "template": {
                "spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "b"}]}
            }
        },
    }
    world.kubectl("create", "--filename=-", stdin=late)
    world.wait(lambda: not world.all("job"), what="the stray's end")
    world.wait(lambda: any(r == "StrayJobDeleted" for r, _ in events(world)), what="an Event")


def test_a_foreign_job_of_the_name_is_never_touched(world: World) -> None:
    world.set("fraud", 0.1)
    world.operator()
    world.apply(world.trigger())
    world.wait_reason("fraud", "Drifted", "BelowThreshold")
    uid = world.get("drifttrigger", "fraud")["metadata"]["uid"]
    foreign = child_name("fraud", uid, 1)
    world.kubectl(
        "create", "job", foreign, "--image=x", "--namespace", world.namespace, "--", "true"
    )
    world.set("fraud", 0.35)
    world.wait_reason("fraud", "Ready", "JobRefused")
    [job] = world.all("job")
    assert job["metadata"]["name"] == foreign
    assert "ownerReferences" not in job["metadata"]


def test_a_retraining_deleted_by_hand_frees_its_trigger(world: World) -> None:
    world.set("fraud", 0.35)
    world.operator()
    world.apply(world.trigger(cooldown="1s", podTemplate={"outcome": "hang"}))
    [first] = world.wait_jobs(1)
    world.wait(lambda: "target" in world.all("retraining")[0].get("status", {}), what="the target")
    name = first["metadata"]["name"]
    world.kubectl("delete", "retraining", name, "--namespace", world.namespace)
    world.wait(
        lambda: [j["metadata"]["name"] for j in world.all("job")] not in ([], [name]),
        within_seconds=120,  # the garbage collector learns of a new kind every 30 s
        what="the next attempt",
    )
    assert len(world.created_jobs()) == 2


def test_a_hostile_template_is_its_own_triggers_trouble_alone(world: World) -> None:
    world.set("good", 0.1)
    operator = world.operator()
    hostile = world.trigger("hostile")
    pod = hostile["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    pod["containers"][0]["env"] = [{"name": {}}]
    world.apply(hostile)
    world.apply(world.trigger("good"))
    world.wait_reason("hostile", "Ready", "JobRefused")
    world.wait_reason("good", "Drifted", "BelowThreshold")
    assert operator.process.poll() is None
