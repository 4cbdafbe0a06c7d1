"""History: finished Retrainings beyond the limits go, the oldest by completion first.

Those whose trigger is gone for good go 30 days after their end.

Only final ones that are in neither `pending` nor `active` are removed, each with its uid and
resourceVersion as preconditions; unfinished ones never.
"""

from collections.abc import Container, Iterable
from datetime import datetime, timedelta

import msgspec

from drifttrigger.api.errors import ConflictError, NotFoundError
from drifttrigger.api.reasons import Reason
from drifttrigger.api.v1alpha1 import LABEL_ACTIVE, LABEL_TRIGGER
from drifttrigger.clients.kube import (
    DRIFT_TRIGGERS,
    RETRAININGS,
    KubeApi,
    KubernetesApi,
    Metadata,
)
from drifttrigger.core.times import parse_instant
from drifttrigger.runtime.views import (
    Key,
    RetrainingView,
    TriggerView,
    decode_retraining,
    decode_trigger,
)

BATCH = 20
ORPHANS_KEPT = timedelta(days=30)


def surplus(view: TriggerView, found: Iterable[RetrainingView]) -> list[RetrainingView]:
    """Choose what is beyond the limits of a trigger (pure).

    A final `Succeeded=True` counts against the successful limit, any other against the failed one;
    Superseded ones started nothing: they take no place of the others, and as many are kept.
    """
    kept = {entry.name for entry in view.status.active}
    kept |= {view.status.pending.name} if view.status.pending is not None else set()
    finished = [r for r in found if r.is_final and r.name not in kept and not r.is_deleting]
    superseded = [r for r in finished if r.reason is Reason.SUPERSEDED]
    finished = [r for r in finished if r.reason is not Reason.SUPERSEDED]
    finished.sort(key=lambda r: (r.ended_at, r.name), reverse=True)
    good = [r for r in finished if r.succeeded is not None and r.succeeded.status == "True"]
    bad = [r for r in finished if r.succeeded is not None and r.succeeded.status == "False"]
    beyond = good[view.successful_history_limit :] + bad[view.failed_history_limit :]
    beyond += superseded[view.failed_history_limit :]
    return sorted(beyond, key=lambda r: r.ended_at)


async def clean_history(kube: KubeApi, view: TriggerView) -> bool:
    """Remove at most one batch of what is beyond the limits.

    Returns:
        Whether more is left.
    """
    label = f"{LABEL_TRIGGER}={view.name}"
    found = []
    for body in await kube.list_all(RETRAININGS, view.namespace, labels=label):
        try:
            found.append(decode_retraining(body))
        except msgspec.ValidationError:
            continue  # written by another version: not ours to judge
    beyond = surplus(view, found)
    if beyond:  # T as it is after the LIST: the view may not know yet what was bound since
        view = decode_trigger(await kube.get(DRIFT_TRIGGERS, view.namespace, view.name))
        beyond = surplus(view, found)
    for retraining in beyond[:BATCH]:
        preconditions = {"uid": retraining.uid, "resourceVersion": retraining.resource_version}
        try:
            await kube.delete(
                RETRAININGS, view.namespace, retraining.name, preconditions=preconditions
            )
        except (NotFoundError, ConflictError):
            continue  # gone or changed meanwhile: the next batch looks again
    return len(beyond) > BATCH


async def clean_orphans(
    kube: KubernetesApi, namespaces: tuple[str, ...], triggers: Container[Key], *, now: datetime
) -> int:
    """Remove finished Retrainings without a trigger, 30 days after their end.

    Args:
        kube: The API server.
        namespaces: Where to look; empty for everywhere.
        triggers: Namespace and name of all triggers.
        now: The present.

    Returns:
        How many were removed.
    """
    removed = 0
    for namespace in namespaces or (None,):
        pages = kube.list_metadata(RETRAININGS, namespace, labels=f"{LABEL_ACTIVE}!=true")
        async for page in pages:
            for metadata in page:
                trigger = (metadata.labels or {}).get(LABEL_TRIGGER, "")
                is_young = now - parse_instant(metadata.creation_timestamp) < ORPHANS_KEPT
                if is_young or (metadata.namespace, trigger) in triggers:
                    continue
                removed += await _remove_orphan(kube, metadata, now)
    return removed


async def _exists(kube: KubernetesApi, namespace: str, trigger: str) -> bool:
    try:
        await kube.get(DRIFT_TRIGGERS, namespace, trigger)
    except NotFoundError:
        return False
    return True


async def _remove_orphan(kube: KubernetesApi, metadata: Metadata, now: datetime) -> bool:
    namespace, name = metadata.namespace, metadata.name
    try:
        found = decode_retraining(await kube.get(RETRAININGS, namespace, name))
        if await _exists(kube, namespace, found.trigger):
            return False
        if not found.is_final or now - found.ended_at < ORPHANS_KEPT:
            return False
        preconditions = {"uid": found.uid, "resourceVersion": found.resource_version}
        await kube.delete(RETRAININGS, namespace, name, preconditions=preconditions)
    except (NotFoundError, ConflictError, msgspec.ValidationError):
        return False  # gone, changed, or another version's
    return True
