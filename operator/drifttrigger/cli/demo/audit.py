"""What happened, as the API server wrote it down itself: nothing here asks the operator.

A kill is seen too: each operator process has a token of its own, and a decision that one token
wrote and another one carried out is a decision whose author did not live to carry it out.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from drifttrigger.api.v1alpha1 import GROUP

_CREDENTIAL = "authentication.kubernetes.io/credential-id"
Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AuditCount:
    """How often each thing happened, in all namespaces.

    Args:
        decisions: Intents written to a DriftTrigger's status.
        retrainings: Retrainings created.
        jobs: Jobs created, whoever created them.
        kills: Decisions that another process carried out than the one that wrote them.
        requests: All requests of the operator's service account.
        refused: Those of them that its rights did not allow.
    """

    decisions: int
    retrainings: int
    jobs: int
    kills: int
    requests: int
    refused: int

    @property
    def is_exactly_one(self) -> bool:
        """Whether each of the four was counted once, within the operator's rights."""
        counts = (self.decisions, self.retrainings, self.jobs, self.kills)
        return counts == (1, 1, 1, 1) and self.refused == 0

    @property
    def sentence(self) -> str:
        """The four counts for people."""
        counts = {
            "decision": self.decisions,
            "Retraining": self.retrainings,
            "Job": self.jobs,
            "kill -9": self.kills,
        }
        return ", ".join(
            f"{n} {word}{'s' if n != 1 and word != 'kill -9' else ''}" for word, n in counts.items()
        )


def count(events: Iterable[Event], *, user: str) -> AuditCount:
    """Count the events of an audit log.

    Args:
        events: Of `audit.k8s.io/v1`, all levels.
        user: The operator's service account.
    """
    done = [event for event in events if event["stage"] == "ResponseComplete"]
    decisions = [event for event in done if _is_decision(event)]
    retrainings = [event for event in done if _is_creation(event, GROUP, "retrainings")]
    creators = {_object(event).get("name"): _credential(event) for event in retrainings}
    own = [event for event in done if event["user"]["username"] == user]
    return AuditCount(
        decisions=len(decisions),
        retrainings=len(retrainings),
        jobs=sum(_is_creation(event, "batch", "jobs") for event in done),
        kills=sum(
            creators.get(_pending(event)["name"], _credential(event)) != _credential(event)
            for event in decisions
        ),
        requests=len(own),
        refused=sum(event["responseStatus"].get("code") == 403 for event in own),
    )


def _is_decision(event: Event) -> bool:
    found = _object(event)
    kind = (found.get("apiGroup"), found.get("resource"), found.get("subresource"))
    if kind != (GROUP, "drifttriggers", "status") or not _succeeded(event):
        return False
    return bool(_pending(event))


def _is_creation(event: Event, group: str, resource: str) -> bool:
    found = _object(event)
    is_kind = (found.get("apiGroup"), found.get("resource")) == (group, resource)
    is_real = "dryRun" not in event["requestURI"] and "subresource" not in found
    return event["verb"] == "create" and is_kind and is_real and _succeeded(event)


def _succeeded(event: Event) -> bool:
    code: int = event["responseStatus"].get("code", 0)
    return 200 <= code < 300


def _pending(event: Event) -> Mapping[str, Any]:
    """Give the intent that a write of a status carries; empty when it carries none."""
    body = event.get("requestObject") or {}
    return (body.get("status") or {}).get("pending") or {}


def _object(event: Event) -> Mapping[str, Any]:
    return event.get("objectRef") or {}


def _credential(event: Event) -> tuple[str, ...]:
    return tuple((event["user"].get("extra") or {}).get(_CREDENTIAL) or ())
