"""What happened, read from the API server's audit log alone.

```
status patch that sets `pending`      a decision, by trigger UID and sequence number
create of a Retraining                a Retraining, by UID
status patch with an entry in active  that Retraining is bound: it has the right to run
create of a Job                       a Job, by UID
status patch that sets target.uid     that Job is its Retraining's target
status update of a Job, a deletion    the Job's end
```
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from support.operator import SYSTEM_NAMESPACE

OPERATOR = f"system:serviceaccount:{SYSTEM_NAMESPACE}:drifttrigger"
WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})

Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Decision:
    """An intent that the API server took."""

    trigger_uid: str
    sequence: int
    namespace: str
    trigger: str
    name: str
    cause: str
    tick: str
    at: datetime


@dataclass(slots=True)
class Made:
    """A Retraining that was created."""

    uid: str
    namespace: str
    name: str
    trigger: str
    at: datetime
    is_bound: bool = False
    outcome: str = ""
    targets: list[str] = field(default_factory=list)
    deleted_by: str = ""


@dataclass(slots=True)
class Job:
    """A Job that was created."""

    uid: str
    namespace: str
    name: str
    trigger: str
    retraining: str
    at: datetime
    ended_at: datetime | None = None
    deleted_at: datetime | None = None
    deleted_by: str = ""

    @property
    def over_at(self) -> datetime | None:
        """When it could no longer run."""
        ends = [end for end in (self.ended_at, self.deleted_at) if end is not None]
        return min(ends, default=None)


@dataclass(slots=True)
class Ledger:
    """All of it."""

    decisions: dict[tuple[str, int], Decision] = field(default_factory=dict)
    made: dict[str, Made] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    deleted_triggers: dict[str, datetime] = field(default_factory=dict)
    contradictions: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, events: Iterable[Event]) -> "Ledger":
        """Read the audit log."""
        ledger = cls()
        for event in taken(events):
            what = event["objectRef"].get("resource"), event["objectRef"].get("subresource", "")
            take = _TAKE.get((event["verb"], *what))
            if take is not None:
                take(ledger, event)
        return ledger

    def decided(self, event: Event) -> None:
        """Take a patch of a trigger's status."""
        body = event.get("requestObject") or {}
        uid, status = body["metadata"]["uid"], body.get("status") or {}
        for entry in status.get("active") or ():
            if entry["uid"] in self.made:
                self.made[entry["uid"]].is_bound = True
            else:
                self.contradictions.append(f"{entry['name']} is bound but was never created")
        pending = status.get("pending")
        if not pending or "name" not in pending:
            return
        key = uid, status["retrainings"]
        if key in self.decisions:
            self.contradictions.append(f"{pending['name']} was decided twice")
        self.decisions[key] = Decision(
            *key,
            namespace=event["objectRef"]["namespace"],
            trigger=event["objectRef"]["name"],
            name=pending["name"],
            cause=pending["cause"],
            tick=pending["evidence"]["time"],
            at=_time(event, "stageTimestamp"),
        )

    def retraining_created(self, event: Event) -> None:
        """Take the creation of a Retraining."""
        body = event["responseObject"]
        metadata = body["metadata"]
        self.made[metadata["uid"]] = Made(
            uid=metadata["uid"],
            namespace=metadata["namespace"],
            name=metadata["name"],
            trigger=body["spec"]["triggerRef"]["name"],
            at=_time(event, "stageTimestamp"),
        )

    def retraining_told(self, event: Event) -> None:
        """Take a patch of a Retraining's status."""
        body = event["requestObject"]
        made = self.made.get(body["metadata"]["uid"])
        if made is None:
            self.contradictions.append(f"{event['objectRef']['name']} was never created")
            return
        status = body.get("status") or {}
        target = (status.get("target") or {}).get("uid")
        if target and target not in made.targets:
            made.targets.append(target)
        for condition in status.get("conditions") or ():
            if condition["type"] == "Succeeded" and condition["status"] != "Unknown":
                if made.outcome and made.outcome != condition["reason"]:
                    self.contradictions.append(
                        f"{made.name} ended as {made.outcome}, then as {condition['reason']}"
                    )
                made.outcome = condition["reason"]

    def job_created(self, event: Event) -> None:
        """Take the creation of a Job."""
        metadata = event["responseObject"]["metadata"]
        [owner] = metadata["ownerReferences"]
        self.jobs[metadata["uid"]] = Job(
            uid=metadata["uid"],
            namespace=metadata["namespace"],
            name=metadata["name"],
            trigger=metadata["labels"]["drifttrigger.dev/trigger"],
            retraining=owner["uid"],
            at=_time(event, "stageTimestamp"),
        )

    def job_told(self, event: Event) -> None:
        """Take an update of a Job's status."""
        body = event.get("requestObject") or {}
        job = self.jobs.get((body.get("metadata") or {}).get("uid", ""))
        conditions = (body.get("status") or {}).get("conditions") or ()
        ended = any(
            c["type"] in ("Complete", "Failed") and c["status"] == "True" for c in conditions
        )
        if job is not None and job.ended_at is None and ended:
            job.ended_at = _time(event, "requestReceivedTimestamp")

    def deleted(self, event: Event) -> None:
        """Take a deletion."""
        answer = event.get("responseObject") or {}
        uid = (answer.get("details") or answer.get("metadata") or {}).get("uid", "")
        at = _time(event, "requestReceivedTimestamp")
        if event["objectRef"]["resource"] == "drifttriggers":
            self.deleted_triggers[uid] = at
        elif uid in self.jobs:
            job = self.jobs[uid]
            job.deleted_at, job.deleted_by = job.deleted_at or at, _user(event)
        elif uid in self.made:
            self.made[uid].deleted_by = _user(event)

    @property
    def targets(self) -> dict[str, str]:
        """Retraining by the Job that is its target."""
        return {job: made.uid for made in self.made.values() for job in made.targets}


_TAKE = {
    ("patch", "drifttriggers", "status"): Ledger.decided,
    ("create", "retrainings", ""): Ledger.retraining_created,
    ("patch", "retrainings", "status"): Ledger.retraining_told,
    ("create", "jobs", ""): Ledger.job_created,
    ("update", "jobs", "status"): Ledger.job_told,
    ("patch", "jobs", "status"): Ledger.job_told,
    ("delete", "jobs", ""): Ledger.deleted,
    ("delete", "retrainings", ""): Ledger.deleted,
    ("delete", "drifttriggers", ""): Ledger.deleted,
}


def taken(events: Iterable[Event]) -> Iterator[Event]:
    """Leave out what was refused, unfinished or a dry run."""
    for event in events:
        is_whole = event.get("stage") == "ResponseComplete" and "objectRef" in event
        if not is_whole or event["responseStatus"].get("code", 500) >= 300:
            continue
        if "dryRun" not in event["requestURI"]:
            yield event


def operator_writes(events: Iterable[Event]) -> Iterator[Event]:
    """Leave only the operator's writes, answered in whatever way; dry runs are no writes."""
    for event in events:
        is_write = event["verb"] in WRITES and event.get("stage") == "ResponseComplete"
        if not is_write or _user(event) != OPERATOR or "dryRun" in event["requestURI"]:
            continue
        if event["objectRef"].get("resource") != "selfsubjectaccessreviews":
            yield event


def what_of(event: Event) -> str:
    """Name a write, as in `patch drifttriggers/status`."""
    reference = event["objectRef"]
    parts = filter(None, (reference.get("resource"), reference.get("subresource")))
    return f"{event['verb']} {'/'.join(parts)}"


def is_urgent(event: Event) -> bool:
    """Whether a write is exempt from the budget: it carries a decision, or starts or ends a Job.

    Those are intent, Retraining, confirmation, release and clearing; then claim, Job, target and
    outcome, which the start rate bounds.
    """
    what = what_of(event)
    status = (event.get("requestObject") or {}).get("status") or {}
    if what == "patch drifttriggers/status":
        return bool({"pending", "active", "window", "episode"} & status.keys())
    if what == "patch retrainings/status":
        reasons = {condition["reason"] for condition in status.get("conditions") or ()}
        return not reasons & {"Deferred", "Pending"}
    return what in ("create retrainings", "create jobs", "patch jobs", "patch retrainings")


def is_confirmation(event: Event) -> bool:
    """Whether a write binds a Retraining: the decision is carried out."""
    status = (event.get("requestObject") or {}).get("status") or {}
    return status.get("pending", ...) is None and bool(status.get("active"))


def sent_at(event: Event) -> datetime:
    """When the API server received a request."""
    return _time(event, "requestReceivedTimestamp")


def show(event: Event) -> str:
    """Print an event for a trace."""
    body = json.dumps(event.get("requestObject"))[:600]
    return f"{event['stageTimestamp']} {_user(event)} {event['verb']} {event['requestURI']} {body}"


def _user(event: Event) -> str:
    return event["user"]["username"]


def _time(event: Event, field_name: str) -> datetime:
    return datetime.fromisoformat(event[field_name])
