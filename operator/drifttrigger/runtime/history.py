"""History limits: finished Retrainings beyond the limits go, the oldest by completion first.

Only final ones that are in neither `pending` nor `active` are removed, each with its uid and
resourceVersion as preconditions; unfinished ones never.
"""

from collections.abc import Iterable

import msgspec

from drifttrigger.api.errors import ConflictError, NotFoundError
from drifttrigger.api.v1alpha1 import LABEL_TRIGGER
from drifttrigger.clients.kube import RETRAININGS, KubeApi
from drifttrigger.runtime.views import RetrainingView, TriggerView, decode_retraining

BATCH = 20


def surplus(view: TriggerView, found: Iterable[RetrainingView]) -> list[RetrainingView]:
    """Choose what is beyond the limits of a trigger (pure).

    A final `Succeeded=True` counts against the successful limit, any other against the failed one.
    """
    kept = {entry.name for entry in view.status.active}
    kept |= {view.status.pending.name} if view.status.pending is not None else set()
    finished = [r for r in found if r.is_final and r.name not in kept and not r.is_deleting]
    finished.sort(key=lambda r: (r.ended_at, r.name), reverse=True)
    good = [r for r in finished if r.succeeded is not None and r.succeeded.status == "True"]
    bad = [r for r in finished if r.succeeded is not None and r.succeeded.status == "False"]
    beyond = good[view.successful_history_limit :] + bad[view.failed_history_limit :]
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
    for retraining in beyond[:BATCH]:
        preconditions = {"uid": retraining.uid, "resourceVersion": retraining.resource_version}
        try:
            await kube.delete(
                RETRAININGS, view.namespace, retraining.name, preconditions=preconditions
            )
        except (NotFoundError, ConflictError):
            continue  # gone or changed meanwhile: the next batch looks again
    return len(beyond) > BATCH
