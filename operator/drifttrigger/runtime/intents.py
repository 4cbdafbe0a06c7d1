"""Detection's side of "exactly one Retraining per decision".

```
T.status --intent--> pending --create--> Retraining --confirm--> active --release--> T.status
```

1. Intent: one compare-and-swap writes the new state and `pending`. Nothing has been created.
2. Create: the Retraining gets the name that the trigger's UID and the sequence number give. Two
   replicas, or one before and after a crash, ask for the same name; AlreadyExists is looked at.
3. Confirm: a compare-and-swap puts name and UID into `active`. Only this binding lets it run; a
   create that lands late makes an inert object.
4. Release: after reading T and then, live, the Retraining.

Decisions rest on T.status alone. Every function here takes a view and returns the view after its
write; ConflictError says that T is not as it was, and the caller reads it again. The functions
await nothing but the API server, so that a test can stop them between any two calls.
"""

from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec.structs import replace

from drifttrigger.api.errors import (
    AlreadyExists,
    ConflictError,
    DriftTriggerError,
    NotFoundError,
    TransientError,
)
from drifttrigger.api.reasons import RetrainingResult
from drifttrigger.api.v1alpha1 import (
    API_VERSION,
    LABEL_ACTIVE,
    LABEL_TRIGGER,
    Active,
    Cause,
    DeletionPolicy,
    DriftTriggerStatus,
    LastRetraining,
    Pending,
    RetrainingSpec,
    TriggerRef,
)
from drifttrigger.clients.clock import Clock
from drifttrigger.clients.kube import DRIFT_TRIGGERS, JOBS, RETRAININGS, KubeApi
from drifttrigger.core.conditions import restated
from drifttrigger.core.episode import released
from drifttrigger.core.manual import recorded_as_done
from drifttrigger.core.naming import sequence_of
from drifttrigger.core.status import meaning, status_patch, to_json
from drifttrigger.core.times import format_instant, parse_instant
from drifttrigger.runtime import faults
from drifttrigger.runtime.freshness import Freshness
from drifttrigger.runtime.views import (
    Key,
    RetrainingView,
    TriggerView,
    decode_retraining,
    decode_trigger,
)

Json = dict[str, Any]


class NameTaken(DriftTriggerError):  # noqa: N818 - the name is the reason
    """An object that is not this trigger's has the name of its next Retraining."""


class Released(msgspec.Struct, frozen=True, kw_only=True):
    """What a release found.

    Attributes:
        view: T after the write.
        ended: Retrainings that had ended.
        vanished: Names of those that are gone, and their Jobs too.
        waits: One is gone whose Job is still there: no event will tell of that Job's end.
    """

    view: TriggerView
    ended: list[RetrainingView] = []
    vanished: list[str] = []
    waits: bool = False


class Intents:
    """The writes of detection.

    Args:
        kube: The API server.
        clock: The clock.
    """

    def __init__(self, kube: KubeApi, clock: Clock) -> None:
        self._kube = kube
        self._clock = clock

    async def read(self, key: Key) -> TriggerView | None:
        """Read T live, None when there is none."""
        try:
            return decode_trigger(await self._kube.get(DRIFT_TRIGGERS, *key))
        except NotFoundError:
            return None

    async def commit(
        self, view: TriggerView, status: DriftTriggerStatus, *, fresh: Freshness
    ) -> TriggerView:
        """Write a status, if T is still as the view has it.

        Raises:
            ConflictError: T changed, or the read is too old.
        """
        patch = status_patch(
            view.status, status, uid=view.uid, resource_version=view.resource_version
        )
        if not patch["status"]:
            return view
        fresh.check()
        body = await self._kube.patch(
            DRIFT_TRIGGERS, view.namespace, view.name, patch, subresource="status"
        )
        written = decode_trigger(body, before=view)
        if written.uid != view.uid:  # a wrong uid in a patch is not refused
            raise ConflictError(f"{view.name} was deleted and created again")
        return written

    async def adopt(self, view: TriggerView) -> DriftTriggerStatus:
        """Take up the Retrainings that lie under the name of a trigger without history.

        T must have been read live before. Unfinished ones go to active, the newest end to
        lastRetraining; a trigger-now that was there first is recorded as done.
        """
        label = f"{LABEL_TRIGGER}={view.name}"
        bodies = await self._kube.list_all(RETRAININGS, view.namespace, labels=label)
        found = [r for r in map(_readable, bodies) if r is not None and not r.is_deleting]
        return adopted(view, found)

    async def carry_out(self, view: TriggerView, *, fresh: Freshness) -> TriggerView:
        """Create the Retraining that `pending` names, and confirm it.

        Raises:
            ConflictError: T changed; read it and look again.
            NameTaken: Somebody else's object has the name.
            PermanentError: The API server refuses the Retraining.
        """
        pending = view.status.pending
        if pending is None:
            return view
        live = await self._kube.get(DRIFT_TRIGGERS, view.namespace, view.name)
        now_view = decode_trigger(live)
        if now_view.uid != view.uid or now_view.status.pending != pending:
            raise ConflictError(f"{view.name} has another intent now")
        if now_view.is_deleting:
            return await self.commit(now_view, replace(now_view.status, pending=None), fresh=fresh)
        template = (live.get("spec") or {}).get("jobTemplate") or {}
        body = retraining_body(now_view, pending, template)
        fresh.check()
        created: Json | None
        try:
            created = await self._kube.create(RETRAININGS, view.namespace, body)
        except AlreadyExists:
            created = await self._existing(now_view, pending)
        if created is None:
            return await self._after_reset(now_view, fresh=fresh)
        faults.point("retraining-created")
        return await self.confirm(now_view, pending, uid=created["metadata"]["uid"], fresh=fresh)

    async def confirm(
        self, view: TriggerView, pending: Pending, *, uid: str, fresh: Freshness
    ) -> TriggerView:
        """Bind the Retraining: from here on it has the right to run."""
        entry = Active(name=pending.name, uid=uid, time=pending.evidence.time)
        status = replace(view.status, pending=None, active=(*view.status.active, entry))
        if view.rules is not None:
            conditions = restated(view.rules, status, now=self._clock.now())
            status = replace(status, conditions=conditions)
        written = await self.commit(view, status, fresh=fresh)
        faults.point("confirmed")
        return written

    async def _existing(self, view: TriggerView, pending: Pending) -> Json | None:
        """Look at what has the name; None when the status was reset and numbers are behind."""
        try:
            body = await self._kube.get(RETRAININGS, view.namespace, pending.name)
        except NotFoundError as error:
            raise ConflictError(f"{pending.name} was there and is gone") from error
        found = _readable(body)
        if found is None or found.spec.trigger_ref.uid != view.uid:
            raise NameTaken(f"{pending.name} exists and belongs to another trigger")
        if found.is_deleting:
            raise TransientError(f"{pending.name} of the same name is being deleted")
        same_tick = found.spec.evidence.time == pending.evidence.time
        if same_tick and found.spec.cause == pending.cause:
            return body
        return None

    async def _after_reset(self, view: TriggerView, *, fresh: Freshness) -> TriggerView:
        """Continue numbering after the highest that exists; the decision is made again."""
        label = f"{LABEL_TRIGGER}={view.name}"
        bodies = await self._kube.list_all(RETRAININGS, view.namespace, labels=label)
        found = [r for r in map(_readable, bodies) if r is not None]
        status = without_intent(view.status)
        status = replace(status, retrainings=highest_sequence(view, found))
        return await self.commit(view, status, fresh=fresh)

    async def release(
        self,
        view: TriggerView,
        base: DriftTriggerStatus,
        *,
        now: datetime,
        fresh: Freshness,
        starts: bool = False,
    ) -> Released:
        """Take ended Retrainings out of active.

        Args:
            view: T, read live by the caller before.
            base: Its status, with the newest tick that was decided here.
            now: The end of a Retraining that vanished together with its Job.
            fresh: Age of that read.
            starts: Also note which ones have their Job (concurrencyPolicy Allow).

        Returns:
            T after the write, the ended Retrainings, those that vanished, and whether one did whose
            Job is still there.
        """
        status, ended, vanished, waits = base, [], [], False
        for entry in view.status.active:
            found = await self._retraining(view.namespace, entry.name)
            if found is not None and found.uid == entry.uid:
                if found.is_final:
                    status = released(
                        status,
                        entry,
                        result=found.result,
                        episode=found.spec.episode,
                        completed_at=found.ended_at,
                    )
                    ended.append(found)
                elif starts and found.status.target is not None and not entry.started:
                    status = _started(status, entry)
                continue
            if await self._job_lives(view.namespace, entry):
                waits = True
                continue
            vanished.append(entry.name)
            status = released(
                status, entry, result=RetrainingResult.JOB_DELETED, episode=0, completed_at=now
            )
        if meaning(status) == meaning(view.status):
            return Released(view=view, waits=waits)
        if view.rules is not None:
            conditions = restated(view.rules, status, now=now)
            status = replace(status, conditions=conditions)
        written = await self.commit(view, status, fresh=fresh)
        return Released(view=written, ended=ended, vanished=vanished, waits=waits)

    async def _retraining(self, namespace: str, name: str) -> RetrainingView | None:
        try:
            return decode_retraining(await self._kube.get(RETRAININGS, namespace, name))
        except NotFoundError:
            return None

    async def _job_lives(self, namespace: str, entry: Active) -> bool:
        """Whether a Job of the vanished Retraining is still there."""
        try:
            job = await self._kube.get(JOBS, namespace, entry.name)
        except NotFoundError:
            return False
        owners = job["metadata"].get("ownerReferences") or []
        return any(owner.get("uid") == entry.uid for owner in owners)

    async def record_score_after(
        self, view: TriggerView, name: str, score: float, *, still_breaching: bool
    ) -> None:
        """Write on a finished Retraining what it achieved; it may be gone by now."""
        found = await self._retraining(view.namespace, name)
        if found is None or not found.is_final or found.status.score_after is not None:
            return
        patch = {
            "metadata": {"uid": found.uid, "resourceVersion": found.resource_version},
            "status": {"scoreAfter": score, "stillBreaching": still_breaching},
        }
        await self._kube.patch(RETRAININGS, view.namespace, name, patch, subresource="status")


def without_intent(status: DriftTriggerStatus) -> DriftTriggerStatus:
    """Take back an intent that was never carried out, so that its tick decides again."""
    pending, episode = status.pending, status.episode
    if pending is None:
        return status
    if pending.cause is Cause.MANUAL:
        return replace(status, pending=None, last_manual=None)
    if episode is not None and not pending.dry_run:
        episode = replace(episode, attempts=max(0, episode.attempts - 1))
    before = parse_instant(pending.evidence.time) - timedelta(seconds=1)
    return replace(status, pending=None, episode=episode, last_tick=format_instant(before))


def adopted(view: TriggerView, found: list[RetrainingView]) -> DriftTriggerStatus:
    """Fold the Retrainings of the trigger's name into a status without history (pure)."""
    status = view.status
    # What another trigger of this name owns goes with it: garbage collection is on its way.
    found = [r for r in found if r.owner_uid in ("", view.uid)]
    known = {entry.uid for entry in status.active}
    unfinished = sorted(
        (r for r in found if not r.is_final and r.uid not in known), key=lambda r: r.created_at
    )
    entries = tuple(
        Active(
            name=r.name,
            uid=r.uid,
            time=r.spec.evidence.time,
            started=r.status.target is not None,
        )
        for r in unfinished
    )
    status = replace(status, active=status.active + entries)
    ended = [r for r in found if r.is_final and r.result is not RetrainingResult.SUPERSEDED]
    if ended and status.last_retraining is None:
        newest = max(ended, key=lambda r: (r.ended_at, r.name))
        last = LastRetraining(
            name=newest.name,
            time=max(r.spec.evidence.time for r in ended),  # Allow counts from the newest start
            completion_time=format_instant(newest.ended_at),
            result=newest.result,
            score_after=newest.status.score_after,
        )
        status = replace(status, last_retraining=last)
    status = replace(status, retrainings=max(status.retrainings, highest_sequence(view, found)))
    if not view.status.observed_generation:
        status = recorded_as_done(status, view.trigger_now)
    return status


def highest_sequence(view: TriggerView, found: list[RetrainingView]) -> int:
    """Return the highest sequence number that this very trigger gave out, 0 for none."""
    numbers = (sequence_of(r.name, view.name, view.uid) for r in found)
    return max((number for number in numbers if number is not None), default=0)


def retraining_body(view: TriggerView, pending: Pending, template: Json) -> Json:
    """Build the Retraining of an intent; under deletionPolicy Delete the trigger owns it."""
    spec = RetrainingSpec(
        trigger_ref=TriggerRef(name=view.name, uid=view.uid, generation=view.generation),
        model=pending.model,
        cause=pending.cause,
        reason=pending.reason,
        evidence=pending.evidence,
        job_template=template,
        episode=pending.episode,
        attempt=pending.attempt,
        dry_run=pending.dry_run,
    )
    metadata: Json = {
        "name": pending.name,
        "namespace": view.namespace,
        "labels": {LABEL_TRIGGER: view.name, LABEL_ACTIVE: "true"},
    }
    if view.deletion_policy is DeletionPolicy.DELETE:
        metadata["ownerReferences"] = [
            {
                "apiVersion": API_VERSION,
                "kind": "DriftTrigger",
                "name": view.name,
                "uid": view.uid,
                "controller": True,
            }
        ]
    return {
        "apiVersion": API_VERSION,
        "kind": "Retraining",
        "metadata": metadata,
        "spec": to_json(spec),
    }


def _started(status: DriftTriggerStatus, entry: Active) -> DriftTriggerStatus:
    active = tuple(replace(a, started=True) if a.uid == entry.uid else a for a in status.active)
    return replace(status, active=active)


def _readable(body: Json) -> RetrainingView | None:
    try:
        return decode_retraining(body)
    except msgspec.ValidationError:
        return None
