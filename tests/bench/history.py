"""Finished Retrainings and their Jobs, as years of use leave them behind.

They are made through the API server like any other: Retraining, Job, then both statuses. They
belong to an earlier trigger of the same name, so that no name of theirs is asked for again.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from bench.exporter import HIGH
from bench.ground import HISTORY_LABEL, JOBS, RETRAININGS, THRESHOLD, Body, Ground
from bench.scraped import Trigger
from bench.sending import Request, Sender, in_parallel, run_with_sender
from drifttrigger.api.v1alpha1 import API_VERSION, LABEL_TRIGGER, RetrainingSpec
from drifttrigger.core.jobs import job_body
from drifttrigger.core.naming import child_name
from drifttrigger.core.times import format_instant
from support.world import pod_template

_EARLIER = "00000000-0000-4000-8000-00000000beef"
_LASTED = timedelta(minutes=20)
_NOBODY = "drifttrigger.dev/bench"
_CHUNK = 500


def lay_history(ground: Ground, triggers: Sequence[Trigger], *, each: int) -> None:
    """Make finished Retrainings and Jobs.

    Args:
        ground: Where.
        triggers: Whose.
        each: How many of both a trigger gets.
    """
    handle = ground.cluster.handle
    wanted = [(trigger, number) for number in range(1, each + 1) for trigger in triggers]
    started = time.monotonic()

    async def work(sender: Sender) -> None:
        async def finished(item: tuple[Trigger, int]) -> Body:
            return await _finished(sender, *item, address=str(ground.cluster.prometheus_url))

        for first in range(0, len(wanted), _CHUNK):
            await in_parallel(wanted[first : first + _CHUNK], finished)
            _tell(ground, min(first + _CHUNK, len(wanted)), len(wanted), started)

    run_with_sender(work, url=handle.url, ca_file=handle.ca_file, token=handle.token)


def _tell(ground: Ground, done: int, wanted: int, started: float) -> None:
    if done % (20 * _CHUNK) == 0 or done == wanted:
        seconds = time.monotonic() - started
        ground.say(f"  history: {done} of {wanted} after {seconds:.0f} s")


async def _finished(sender: Sender, trigger: Trigger, number: int, *, address: str) -> Body:
    """Make one Retraining with its Job, both ended."""
    namespace, _ = trigger
    ended = datetime.now(UTC) - timedelta(days=number)
    times = {
        "startTime": format_instant(ended - _LASTED),
        "completionTime": format_instant(ended),
    }
    retraining = _retraining(trigger, number, at=ended - _LASTED, address=address)
    made = await sender.send(Request("POST", RETRAININGS.format(namespace), retraining))
    child, uid = made["metadata"]["name"], made["metadata"]["uid"]
    job = _job(made["spec"], name=child, namespace=namespace, uid=uid)
    job = await sender.send(Request("POST", JOBS.format(namespace), job))
    conditions = [_condition("SuccessCriteriaMet", ended), _condition("Complete", ended)]
    status = {**times, "conditions": conditions, "succeeded": 1, "ready": 0, "terminating": 0}
    status |= {"uncountedTerminatedPods": {}}
    path = f"{JOBS.format(namespace)}/{child}/status"
    await sender.send(Request("PATCH", path, {"status": status}))
    target = {"apiVersion": "batch/v1", "kind": "Job", "name": child, "uid": job["metadata"]["uid"]}
    status = {**times, "target": target, "conditions": [_condition("Succeeded", ended)]}
    path = f"{RETRAININGS.format(namespace)}/{child}/status"
    return await sender.send(Request("PATCH", path, {"status": status}))


def _retraining(trigger: Trigger, number: int, *, at: datetime, address: str) -> Body:
    namespace, name = trigger
    evidence = {
        "source": address,
        "query": f'max(model_drift_score{{model="{name}"}})',
        "time": format_instant(at),
        "outcome": "Score",
        "threshold": THRESHOLD,
        "comparison": "GreaterThan",
        "score": HIGH,
        "value": str(HIGH),
        "series": {"count": 1, "breaching": 1, "worst": [{"labels": {}, "value": str(HIGH)}]},
        "window": ["Breach"],
    }
    return {
        "apiVersion": API_VERSION,
        "kind": "Retraining",
        "metadata": {
            "name": child_name(name, _EARLIER, number),
            "namespace": namespace,
            "labels": {LABEL_TRIGGER: name, HISTORY_LABEL: "true"},
        },
        "spec": {
            "triggerRef": {"name": name, "uid": _EARLIER, "generation": 1},
            "model": {"name": name},
            "cause": "Drift",
            "reason": f"the score {HIGH} is greater than the threshold {THRESHOLD}",
            "evidence": evidence,
            "jobTemplate": {"spec": {"template": pod_template()}},
            "episode": number,
            "attempt": 1,
        },
    }


def _job(spec: Body, *, name: str, namespace: str, uid: str) -> Body:
    """Build the Job as the operator would; no controller takes care of it, for it is over."""
    body = job_body(msgspec.convert(spec, RetrainingSpec), name=name, namespace=namespace, uid=uid)
    body["metadata"]["labels"][HISTORY_LABEL] = "true"
    body["spec"]["managedBy"] = _NOBODY
    return body


def _condition(kind: str, at: datetime) -> Body:
    return {
        "type": kind,
        "status": "True",
        "reason": "Completed",
        "lastTransitionTime": format_instant(at),
    }
