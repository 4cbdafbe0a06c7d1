"""What a series meets on its way, and what the trigger's status says of it.

Ready turns False only after three failing asks and two minutes, since most such troubles pass;
`lastEvaluation` names the newest answer within seconds. What counts is that none of them fires.
"""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from drifttrigger.api.reasons import Outcome
from drifttrigger.api.v1alpha1 import LastEvaluation
from drifttrigger.cli.demo.errors import NotObserved
from drifttrigger.cli.demo.install import instant
from drifttrigger.cli.demo.stage import Stage
from drifttrigger.cli.demo.trigger import QUERY
from drifttrigger.cli.demo.watching import Sight
from drifttrigger.local.prometheus import PROMETHEUS

_CANARY_SCORE = 0.93
_READ_SECONDS = 1.5


class Hold(msgspec.Struct, frozen=True, rename="camel"):
    """What the status said while there was no usable score.

    Attributes:
        cause: What was done to the series.
        outcome: The name that the operator gave the answer.
        drifted: Status of the condition Drifted.
        message: The sentence of `lastEvaluation`.
        retrainings: How many decisions the trigger had made by then.
    """

    cause: str
    outcome: Outcome
    drifted: str
    message: str
    retrainings: int


@dataclass(frozen=True, slots=True)
class Incident:
    """One kind of trouble.

    Args:
        cause: What happens.
        outcome: What the operator must call it.
        begin: Makes it happen.
        end: Makes it pass.
        answers: What Prometheus answers meanwhile.
    """

    cause: str
    outcome: Outcome
    begin: Callable[[Stage], None]
    end: Callable[[Stage], None]
    answers: Callable[[list[str]], bool]


def _as_before(stage: Stage) -> None:
    stage.exporter.show(stage.scores[-1])


INCIDENTS = (
    Incident(
        cause="the model reports NaN",
        outcome=Outcome.NOT_A_NUMBER,
        begin=lambda stage: stage.exporter.show(float("nan")),
        end=_as_before,
        answers=lambda values: values == ["NaN"],
    ),
    Incident(
        cause="the model reports nothing",
        outcome=Outcome.NO_DATA,
        begin=lambda stage: stage.exporter.show_nothing(),
        end=_as_before,
        answers=lambda values: not values,
    ),
    Incident(
        cause=f"a second series appears, with score {_CANARY_SCORE}",
        outcome=Outcome.AMBIGUOUS,
        begin=lambda stage: stage.exporter.show_two(stage.scores[-1], _CANARY_SCORE),
        end=_as_before,
        answers=lambda values: len(values) == 2,
    ),
    Incident(
        cause="Prometheus is stopped",
        outcome=Outcome.UNREACHABLE,
        begin=lambda stage: stage.cluster.stop_process(PROMETHEUS),
        end=lambda stage: stage.cluster.start_process(PROMETHEUS),
        answers=lambda values: not values,
    ),
)


def meet(stage: Stage, incident: Incident) -> Hold:
    """Let one incident happen and pass, and keep what the status said of it.

    Raises:
        NotObserved: The status did not name it, something fired, or it did not pass.
    """
    stage.chapter(f"{incident.cause[0].upper()}{incident.cause[1:]}")
    incident.begin(stage)
    stage.until(
        lambda _: incident.answers(instant(stage.prometheus, QUERY)),
        f"Prometheus shows that {incident.cause}",
    )
    seen = stage.until(
        lambda sight: _says(sight, incident.outcome), f"the status says {incident.outcome}"
    )
    hold = Hold(
        cause=incident.cause,
        outcome=incident.outcome,
        drifted=seen.drifted.status,
        message=_last(seen).message,
        retrainings=seen.status.retrainings,
    )
    stage.screen.say(f"status: {hold.outcome}: {hold.message}")
    stage.linger(_READ_SECONDS)
    incident.end(stage)
    after = stage.until(_is_calm, f"the score is back after {incident.cause}")
    if after.status.retrainings or after.pending is not None or after.retrainings:
        raise NotObserved(f"a retraining was decided although {incident.cause}")
    return hold


def _last(sight: Sight) -> LastEvaluation:
    return sight.status.last_evaluation or LastEvaluation(time="", outcome=Outcome.NO_DATA)


def _says(sight: Sight, outcome: Outcome) -> bool:
    return sight.is_current and bool(_last(sight).time) and _last(sight).outcome is outcome


def _is_calm(sight: Sight) -> bool:
    is_back = _says(sight, Outcome.SCORE) and sight.score is not None
    return is_back and sight.drifted.status == "False"
