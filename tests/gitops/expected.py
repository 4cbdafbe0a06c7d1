"""How GitOps tools must judge each state, whatever the names, scores and times of a run."""

from typing import NamedTuple

from gitops.kstatus import Status


class Judged(NamedTuple):
    """What Argo CD's health script must say (status, first word), and kstatus."""

    health: str
    reason: str
    kstatus: Status


# kstatus can't know of an object without a status that it will have one: "fresh" is current to it.
# The sample for Flux mends that with an expression of its own.
_FRESH = Judged("Progressing", "the operator has not looked at it yet", Status.CURRENT)
_BEHIND = Judged(
    "Progressing", "the operator has not looked at the latest edit yet", Status.IN_PROGRESS
)
_SOURCE = {
    "fresh": _FRESH,
    "answering": Judged("Healthy", "Answering", Status.CURRENT),
    "unreachable": Judged("Degraded", "Unreachable", Status.IN_PROGRESS),
    "generation-behind": _BEHIND,
}
EXPECTED: dict[str, dict[str, Judged]] = {
    "DriftTrigger": {
        "fresh": _FRESH,
        "evaluating": Judged("Healthy", "BelowThreshold", Status.CURRENT),
        "drifted": Judged("Healthy", "CoolingDown", Status.CURRENT),
        "running": Judged("Healthy", "RetrainingActive", Status.CURRENT),
        "failed": Judged("Healthy", "AttemptsExhausted", Status.CURRENT),
        "held": Judged("Healthy", "RetrainingActive", Status.CURRENT),
        "suspended": Judged("Healthy", "Suspended", Status.CURRENT),
        "stalled": Judged("Degraded", "SpecInvalid", Status.FAILED),
        "job-refused": Judged("Degraded", "JobRefused", Status.FAILED),
        "unreachable": Judged("Degraded", "Unreachable", Status.IN_PROGRESS),
        "no-data": Judged("Degraded", "NoData", Status.IN_PROGRESS),
        "generation-behind": _BEHIND,
    },
    "Retraining": {
        "fresh": _FRESH,
        "running": Judged("Healthy", "Running", Status.CURRENT),
        "held": Judged("Healthy", "Pending", Status.CURRENT),
        "completed": Judged("Healthy", "Completed", Status.CURRENT),
        "failed": Judged("Healthy", "JobFailed", Status.CURRENT),
    },
    "MetricsSource": _SOURCE,
    "ClusterMetricsSource": _SOURCE,
}
CASES = [(kind, state) for kind, states in EXPECTED.items() for state in states]
