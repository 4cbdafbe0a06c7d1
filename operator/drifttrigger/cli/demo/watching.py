"""What the demo sees: everything it claims is read here, from the API server or the operator."""

from typing import Generic, TypeVar

import msgspec

from drifttrigger.api.reasons import ConditionType
from drifttrigger.api.v1alpha1 import (
    API_VERSION,
    LABEL_TRIGGER,
    Condition,
    DriftTriggerStatus,
    Pending,
    RetrainingSpec,
    RetrainingStatus,
)
from drifttrigger.cli.demo.trigger import NAME, NAMESPACE
from drifttrigger.local.rest import Rest

Item = TypeVar("Item")
NOTHING = Condition(type="", status="–", reason="")

_OURS = f"/apis/{API_VERSION}/namespaces/{NAMESPACE}"
_JOBS = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs?labelSelector={LABEL_TRIGGER}%3D{NAME}"


class Metadata(msgspec.Struct, frozen=True):
    """What identifies an object."""

    name: str
    uid: str
    generation: int = 0


class Retraining(msgspec.Struct, frozen=True):
    """A Retraining as the API server has it."""

    metadata: Metadata
    spec: RetrainingSpec
    status: RetrainingStatus = RetrainingStatus()

    @property
    def succeeded(self) -> Condition:
        """How far it is."""
        return _find(self.status.conditions, ConditionType.SUCCEEDED)


class JobStatus(msgspec.Struct, frozen=True):
    """The part of a Job's status that tells how it went."""

    conditions: tuple[Condition, ...] = ()
    active: int = 0
    succeeded: int = 0


class Variable(msgspec.Struct, frozen=True):
    """An environment variable of a container."""

    name: str
    value: str = ""


class Container(msgspec.Struct, frozen=True):
    """A container's part that carries the evidence."""

    env: tuple[Variable, ...] = ()


class PodSpec(msgspec.Struct, frozen=True):
    """A pod's containers."""

    containers: tuple[Container, ...] = ()


class PodTemplate(msgspec.Struct, frozen=True):
    """The pod of a Job."""

    spec: PodSpec


class JobSpec(msgspec.Struct, frozen=True):
    """What a Job runs."""

    template: PodTemplate


class Job(msgspec.Struct, frozen=True):
    """A Job as the API server has it."""

    metadata: Metadata
    spec: JobSpec
    status: JobStatus = JobStatus()

    @property
    def state(self) -> str:
        """Complete, Failed, Running or Starting."""
        for kind in ("Complete", "Failed"):
            if _find(self.status.conditions, kind).status == "True":
                return kind
        return "Running" if self.status.active else "Starting"

    @property
    def environment(self) -> dict[str, str]:
        """Variables of its first container."""
        return {
            variable.name: variable.value for variable in self.spec.template.spec.containers[0].env
        }


class _List(msgspec.Struct, Generic[Item], frozen=True):
    items: tuple[Item, ...]


class _Trigger(msgspec.Struct, frozen=True):
    metadata: Metadata
    status: DriftTriggerStatus = DriftTriggerStatus()


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """Everything at one moment.

    Attributes:
        score: Newest score that the operator has seen; None while it is down or has none.
        generation: Of the trigger's spec; 0 when there is no trigger.
        status: The trigger's, as the API server has it.
        retrainings: All of the trigger's namespace.
        jobs: All of the trigger.
    """

    score: float | None = None
    generation: int = 0
    status: DriftTriggerStatus = DriftTriggerStatus()
    retrainings: tuple[Retraining, ...] = ()
    jobs: tuple[Job, ...] = ()

    @property
    def ready(self) -> Condition:
        """The trigger's condition Ready."""
        return _find(self.status.conditions, ConditionType.READY)

    @property
    def drifted(self) -> Condition:
        """The trigger's condition Drifted."""
        return _find(self.status.conditions, ConditionType.DRIFTED)

    @property
    def pending(self) -> Pending | None:
        """The intent that is written down and not carried out."""
        return self.status.pending

    @property
    def is_current(self) -> bool:
        """Whether the status speaks of the present spec."""
        return self.generation > 0 and self.status.observed_generation == self.generation


def look(api: Rest, *, score: float | None) -> Sight:
    """Read the trigger, its Retrainings and its Jobs.

    Args:
        api: The API server.
        score: What the operator says.
    """
    trigger = _read(api, f"{_OURS}/drifttriggers/{NAME}", _Trigger)
    if trigger is None:
        return Sight()
    retrainings = _read(api, f"{_OURS}/retrainings", _List[Retraining])
    jobs = _read(api, _JOBS, _List[Job])
    return Sight(
        score=score,
        generation=trigger.metadata.generation,
        status=trigger.status,
        retrainings=retrainings.items if retrainings is not None else (),
        jobs=jobs.items if jobs is not None else (),
    )


def _read(api: Rest, path: str, kind: type[Item]) -> Item | None:
    answer = api.get(path)
    return msgspec.json.decode(answer.body, type=kind) if answer.status == 200 else None


def _find(conditions: tuple[Condition, ...], kind: str) -> Condition:
    return next((found for found in conditions if found.type == kind), NOTHING)
