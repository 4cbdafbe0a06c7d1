"""kstatus, the rules by which Flux, `kubectl wait`-like tools and cli-utils judge custom resources.

After `Compute` of sigs.k8s.io/cli-utils, pkg/kstatus/status (status.go, generic.go), for kinds that
it has no rules of its own for: deletion, then the generation, then Reconciling and Stalled in the
order of the list, then Ready; whatever has none of these is current.
"""

from enum import StrEnum
from typing import Any, NamedTuple


class Status(StrEnum):
    """What becomes of an object."""

    IN_PROGRESS = "InProgress"
    FAILED = "Failed"
    CURRENT = "Current"
    TERMINATING = "Terminating"


class Result(NamedTuple):
    """What kstatus computes."""

    status: Status
    message: str


def compute(body: dict[str, Any]) -> Result:
    """Compute the status of a custom resource."""
    return _generic(body) or _ready(body) or Result(Status.CURRENT, "Resource is current")


def _generic(body: dict[str, Any]) -> Result | None:
    if body["metadata"].get("deletionTimestamp"):
        return Result(Status.TERMINATING, "Resource scheduled for deletion")
    generation = body["metadata"].get("generation")
    observed = body.get("status", {}).get("observedGeneration")
    if generation is not None and observed is not None and observed != generation:
        said = f"generation is {generation}, but latest observed generation is {observed}"
        return Result(Status.IN_PROGRESS, f"{body['kind']} {said}")
    for condition in _conditions(body):
        if condition["status"] == "True" and condition["type"] == "Reconciling":
            return Result(Status.IN_PROGRESS, condition.get("message", ""))
        if condition["status"] == "True" and condition["type"] == "Stalled":
            return Result(Status.FAILED, condition.get("message", ""))
    return None


def _ready(body: dict[str, Any]) -> Result | None:
    for condition in _conditions(body):
        if condition["type"] == "Ready" and condition["status"] == "True":
            return Result(Status.CURRENT, "Resource is Ready")
        if condition["type"] == "Ready" and condition["status"] in ("False", "Unknown"):
            return Result(Status.IN_PROGRESS, condition.get("message", ""))
    return None


def _conditions(body: dict[str, Any]) -> list[dict[str, Any]]:
    conditions: list[dict[str, Any]] = body.get("status", {}).get("conditions", [])
    return conditions
