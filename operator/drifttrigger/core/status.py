"""What of a status is worth a write, and the smallest patch that says it.

A status is written when its meaning changes: anything a decision rests on, or the type, status or
reason of a condition. Scores, messages, `worstScore` and `lastTick` alone wait for the heartbeat.
"""

from typing import Any

import msgspec
from msgspec.structs import replace

from drifttrigger.api.v1alpha1 import DriftTriggerStatus

Json = dict[str, Any]


def to_json(value: msgspec.Struct) -> Json:
    """Turn a value into what the API server holds."""
    result: Json = msgspec.to_builtins(value)
    return result


def meaning(status: DriftTriggerStatus) -> DriftTriggerStatus:
    """Strip what may wait for the heartbeat."""
    conditions = tuple(
        replace(c, message="", last_transition_time="")
        for c in sorted(status.conditions, key=lambda c: c.type)
    )
    episode = status.episode
    return replace(
        status,
        conditions=conditions,
        last_evaluation=None,
        last_tick="",
        episode=replace(episode, worst_score=None) if episode is not None else None,
    )


def merge_patch(old: Json, new: Json) -> Json:
    """Make the JSON merge patch (RFC 7386) that turns old into new; lists are replaced whole."""
    patch: Json = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            if inner := merge_patch(before, value):
                patch[key] = inner
        elif key not in old or before != value:
            patch[key] = value
    return patch


def status_patch(
    old: DriftTriggerStatus, new: DriftTriggerStatus, *, uid: str, resource_version: str
) -> Json:
    """Make the compare-and-swap patch of /status that turns old into new.

    The API server answers 409 when the object is no longer at resource_version.
    """
    return {
        "metadata": {"uid": uid, "resourceVersion": resource_version},
        "status": merge_patch(to_json(old), to_json(new)),
    }
