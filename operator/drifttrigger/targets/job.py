"""batch/v1 Jobs as targets: create, read the state, let the TTL run once the outcome is recorded.

The end of a Job is its condition Complete or Failed, never FailureTarget or SuccessCriteriaMet,
which come before its pods have stopped (KEP-3998).
"""

from datetime import datetime, timedelta
from typing import Any

from drifttrigger.api.errors import NotFoundError
from drifttrigger.api.reasons import Reason
from drifttrigger.api.v1alpha1 import RetrainingSpec, Target
from drifttrigger.clients.kube import JOBS, KubeApi
from drifttrigger.core.jobs import job_body, ttl_of
from drifttrigger.core.observation import clean
from drifttrigger.core.times import parse_instant
from drifttrigger.targets.base import Running

Json = dict[str, Any]
PENDING_AFTER = timedelta(minutes=10)
REHEARSAL_UID = "00000000-0000-0000-0000-000000000000"
_ENDS = ("Complete", "Failed")


class JobLauncher:
    """Launcher for Jobs.

    Args:
        kube: The API server.
    """

    def __init__(self, kube: KubeApi) -> None:
        self._kube = kube

    async def find(self, namespace: str, name: str, *, now: datetime) -> Running | None:
        """Read the Job live, None when there is none."""
        try:
            job = await self._kube.get(JOBS, namespace, name)
        except NotFoundError:
            return None
        return running_of(job, now=now)

    async def start(
        self, spec: RetrainingSpec, *, name: str, namespace: str, uid: str, now: datetime
    ) -> Running:
        """Create the Job, owned by the Retraining."""
        body = job_body(spec, name=name, namespace=namespace, uid=uid)
        return running_of(await self._kube.create(JOBS, namespace, body), now=now)

    async def rehearse(self, spec: RetrainingSpec, *, name: str, namespace: str) -> None:
        """Create the Job as a strict server-side dry run."""
        body = job_body(spec, name=name, namespace=namespace, uid=REHEARSAL_UID)
        body["metadata"].pop("ownerReferences")
        ttl = ttl_of(spec)
        if ttl is not None:
            body["spec"]["ttlSecondsAfterFinished"] = ttl
        await self._kube.create(JOBS, namespace, body, dry_run=True)

    async def settle(self, spec: RetrainingSpec, running: Running, namespace: str) -> None:
        """Set the template's ttlSecondsAfterFinished."""
        ttl = ttl_of(spec)
        if ttl is None:
            return
        patch = {
            "metadata": {"uid": running.target.uid},
            "spec": {"ttlSecondsAfterFinished": ttl},
        }
        try:
            await self._kube.patch(JOBS, namespace, running.target.name, patch)
        except NotFoundError:
            return  # somebody cleaned it up already, which is all that the TTL is for

    async def discard(self, running: Running, namespace: str) -> None:
        """Delete a stray Job, by uid."""
        await self._kube.delete(
            JOBS, namespace, running.target.name, preconditions={"uid": running.target.uid}
        )


def running_of(job: Json, *, now: datetime) -> Running:
    """Read the state of a Job.

    Args:
        job: The Job as the API server has it.
        now: The present, to tell a Job whose pods have not been ready for 10 minutes.
    """
    metadata = job["metadata"]
    reason, message, ended_at, look_again_at = _state(job, now)
    owners = metadata.get("ownerReferences") or []
    return Running(
        target=Target(
            api_version="batch/v1", kind="Job", name=metadata["name"], uid=metadata["uid"]
        ),
        owner_uid=next((o.get("uid", "") for o in owners if o.get("controller")), ""),
        is_being_deleted="deletionTimestamp" in metadata,
        reason=reason,
        message=message,
        ended_at=ended_at,
        look_again_at=look_again_at,
    )


def has_ended(job: Json) -> bool:
    """Whether a Job is Complete or Failed for good."""
    conditions = (job.get("status") or {}).get("conditions") or []
    return any(c.get("type") in _ENDS and c.get("status") == "True" for c in conditions)


def _state(job: Json, now: datetime) -> tuple[Reason, str, datetime | None, datetime | None]:
    status = job.get("status") or {}
    true = {c["type"]: c for c in status.get("conditions") or [] if c.get("status") == "True"}
    if complete := true.get("Complete"):
        ended = status.get("completionTime") or complete.get("lastTransitionTime")
        return Reason.COMPLETED, "the Job completed", _instant(ended, now), None
    if failed := true.get("Failed"):
        message = clean(f"{failed.get('reason', '')}: {failed.get('message', '')}".strip(": "))
        ended = failed.get("lastTransitionTime")
        return Reason.JOB_FAILED, message or "the Job failed", _instant(ended, now), None
    if (job.get("spec") or {}).get("suspend"):
        return Reason.JOB_SUSPENDED, "the Job's spec.suspend is true", None, None
    if status.get("ready") or status.get("succeeded"):
        return Reason.RUNNING, "a pod of the Job is ready", None, None
    since = _instant(status.get("startTime") or job["metadata"].get("creationTimestamp"), now)
    if now - since >= PENDING_AFTER:
        minutes = int(PENDING_AFTER.total_seconds() // 60)
        return Reason.JOB_PENDING, f"no pod ready for {minutes} minutes", None, None
    return Reason.RUNNING, "the Job has started", None, since + PENDING_AFTER


def _instant(text: str | None, now: datetime) -> datetime:
    return parse_instant(text) if text else now
