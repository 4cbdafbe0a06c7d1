"""Objects as the API server has them, decoded once into slotted values.

A view is a snapshot: it carries the resourceVersion that every write based on it must carry too.
The Job template is digested and dropped; it is read live when a decision fires.
"""

import sys
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from drifttrigger.api.errors import SpecError
from drifttrigger.api.reasons import ConditionType, Reason, RetrainingResult
from drifttrigger.api.v1alpha1 import (
    ANNOTATION_HOLD,
    ANNOTATION_TRIGGER_NOW,
    LABEL_ACTIVE,
    LABEL_TRIGGER,
    Condition,
    DeletionPolicy,
    DriftTriggerSpec,
    DriftTriggerStatus,
    RetrainingSpec,
    RetrainingStatus,
)
from drifttrigger.core.conditions import find
from drifttrigger.core.rules import Rules, digest, rules_of
from drifttrigger.core.times import parse_instant

Json = dict[str, Any]
_WORDS = ("type", "status", "reason", "message")
StatusT = TypeVar("StatusT", DriftTriggerStatus, RetrainingStatus)
Key = tuple[str, str]
"""Namespace and name."""


class TriggerView(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A DriftTrigger as it is at one resourceVersion.

    Attributes:
        rules: Its spec, resolved; None when the spec can't be used.
        problem: Why the spec can't be used; empty when it can.
        status: Its status as the API server has it.
        trigger_now: Value of the annotation, None where absent.
        hold: Value of the annotation, None where absent.
    """

    namespace: str
    name: str
    uid: str
    resource_version: str
    generation: int
    created_at: datetime
    is_deleting: bool
    rules: Rules | None
    problem: str
    status: DriftTriggerStatus
    trigger_now: str | None
    hold: str | None
    deletion_policy: DeletionPolicy
    successful_history_limit: int
    failed_history_limit: int

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return self.namespace, self.name


class RetrainingView(msgspec.Struct, frozen=True, kw_only=True):
    """A Retraining as it is at one resourceVersion."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    created_at: datetime
    is_deleting: bool
    is_labelled_active: bool
    trigger: str
    owner_uid: str
    spec: RetrainingSpec
    status: RetrainingStatus

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return self.namespace, self.name

    @property
    def succeeded(self) -> Condition | None:
        """The condition Succeeded."""
        return find(self.status.conditions, ConditionType.SUCCEEDED)

    @property
    def is_final(self) -> bool:
        """Whether it has ended; a final Succeeded never changes."""
        condition = self.succeeded
        return condition is not None and condition.status in ("True", "False")

    @property
    def reason(self) -> Reason:
        """The reason of Succeeded; Pending where there is none, or another version's."""
        condition = self.succeeded
        known = condition is not None and condition.reason in set(Reason)
        return Reason(condition.reason) if condition is not None and known else Reason.PENDING

    @property
    def result(self) -> RetrainingResult:
        """How it ended; only for a final one."""
        if self.reason.value in set(RetrainingResult):
            return RetrainingResult(self.reason.value)
        return RetrainingResult.COMPLETED if self.is_success else RetrainingResult.JOB_FAILED

    @property
    def is_success(self) -> bool:
        """Whether it ended well."""
        return self.succeeded is not None and self.succeeded.status == "True"

    @property
    def ended_at(self) -> datetime:
        """When it ended; only for a final one."""
        return (
            parse_instant(self.status.completion_time)
            if self.status.completion_time
            else (self.created_at)
        )


def decode_trigger(body: Json, *, before: TriggerView | None = None) -> TriggerView:
    """Decode a DriftTrigger; a spec that can't be used becomes `problem`, never an exception.

    Args:
        body: The object.
        before: An older snapshot; of the same generation it has the same spec, which is then not
            decoded again.
    """
    metadata = body["metadata"]
    name, namespace, uid = metadata["name"], metadata["namespace"], metadata["uid"]
    generation = metadata.get("generation", 0)
    if before is not None and (before.uid, before.generation) == (uid, generation):
        annotations = metadata.get("annotations") or {}
        return msgspec.structs.replace(
            before,
            resource_version=metadata["resourceVersion"],
            is_deleting="deletionTimestamp" in metadata,
            status=_status(body.get("status"), DriftTriggerStatus),
            trigger_now=annotations.get(ANNOTATION_TRIGGER_NOW),
            hold=annotations.get(ANNOTATION_HOLD),
        )
    raw_spec = body.get("spec") or {}
    rules, spec, problem = None, None, ""
    try:
        spec = msgspec.convert(raw_spec, DriftTriggerSpec)
        rules = rules_of(
            spec,
            name=name,
            namespace=namespace,
            uid=uid,
            generation=generation,
            template=digest(raw_spec.get("jobTemplate")),
        )
    except (SpecError, msgspec.ValidationError) as error:
        problem = str(error)
    except (TypeError, ValueError, RecursionError) as error:
        problem = f"spec.jobTemplate: nested too deeply, or no JSON: {error}"
    annotations = metadata.get("annotations") or {}
    return TriggerView(
        namespace=namespace,
        name=name,
        uid=uid,
        resource_version=metadata["resourceVersion"],
        generation=generation,
        created_at=parse_instant(metadata["creationTimestamp"]),
        is_deleting="deletionTimestamp" in metadata,
        rules=rules,
        problem=problem,
        status=_status(body.get("status"), DriftTriggerStatus),
        trigger_now=annotations.get(ANNOTATION_TRIGGER_NOW),
        hold=annotations.get(ANNOTATION_HOLD),
        deletion_policy=spec.deletion_policy if spec else DeletionPolicy.RETAIN,
        successful_history_limit=spec.successful_history_limit if spec else 10,
        failed_history_limit=spec.failed_history_limit if spec else 10,
    )


def tells_more(before: TriggerView, after: TriggerView) -> bool:
    """Whether a snapshot tells more than what our own status writes do."""
    if before.generation != after.generation or before.is_deleting != after.is_deleting:
        return True
    if (before.trigger_now, before.hold) != (after.trigger_now, after.hold):
        return True
    old, new = before.status, after.status
    template = ConditionType.TEMPLATE_VALID
    return (
        old.pending != new.pending
        or old.active != new.active
        or old.retrainings > new.retrainings
        or find(old.conditions, template) != find(new.conditions, template)
    )


def decode_retraining(body: Json) -> RetrainingView:
    """Decode a Retraining.

    Raises:
        msgspec.ValidationError: Its spec is not one that this version can read.
    """
    metadata = body["metadata"]
    labels = metadata.get("labels") or {}
    spec = msgspec.convert(body.get("spec") or {}, RetrainingSpec)
    return RetrainingView(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        created_at=parse_instant(metadata["creationTimestamp"]),
        is_deleting="deletionTimestamp" in metadata,
        is_labelled_active=labels.get(LABEL_ACTIVE) == "true",
        trigger=labels.get(LABEL_TRIGGER) or spec.trigger_ref.name,
        owner_uid=next((o.get("uid", "") for o in metadata.get("ownerReferences") or []), ""),
        spec=spec,
        status=_status(body.get("status"), RetrainingStatus),
    )


def _status(body: Any, kind: type[StatusT]) -> StatusT:
    """Decode a status; one broken by hand counts as empty, and the LIST then repairs it."""
    _share_words(body)
    try:
        return msgspec.convert(body or {}, kind)
    except msgspec.ValidationError:
        return kind()


def _share_words(status: Any) -> None:
    """Keep one copy of what the conditions of thousands of triggers say alike."""
    conditions = status.get("conditions") if isinstance(status, dict) else None
    for condition in conditions if isinstance(conditions, list) else ():
        if isinstance(condition, dict):
            for field in _WORDS:
                text = condition.get(field)
                if type(text) is str:
                    condition[field] = sys.intern(text)
