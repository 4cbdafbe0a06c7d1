"""Small builders for the pure rooms: each shows only what matters to a test."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec.structs import replace

from drifttrigger.api.reasons import ConditionType, Outcome, Reason, RetrainingResult
from drifttrigger.api.v1alpha1 import (
    Active,
    Cause,
    Comparison,
    Condition,
    DriftTriggerSpec,
    DriftTriggerStatus,
    Episode,
    Evidence,
    LastRetraining,
    Model,
    Pending,
    Verdict,
)
from drifttrigger.core.decide import Action, Decision, decide
from drifttrigger.core.episode import released
from drifttrigger.core.observation import Observation, format_value
from drifttrigger.core.rules import Rules, rules_of
from drifttrigger.core.times import format_instant

START = datetime(2026, 3, 2, 12, tzinfo=UTC)
STEP = timedelta(minutes=5)
UID = "3f0c1b1e-8a44-4f6c-9d7e-0a4f4b7f0001"
VERDICTS = {"B": Verdict.BREACH, "I": Verdict.IN_BAND, "C": Verdict.CLEAR}


def tick(number: int) -> datetime:
    """Return the instant of a tick, five minutes apart."""
    return START + number * STEP


def instant(number: int) -> str:
    """Return the instant of a tick as the API server holds it."""
    return format_instant(tick(number))


def spec(*, breaches: tuple[int, int | None] = (1, None), **fields: Any) -> DriftTriggerSpec:
    """Build a spec; by default `score > 0.2` on `max(drift)`."""
    given: dict[str, Any] = {
        "prometheus": {"address": "http://prometheus.example:9090"},
        "query": "max(drift)",
        "threshold": 0.2,
        "breaches": {"required": breaches[0], "window": breaches[1]},
    }
    return msgspec.convert(given | {_camel(k): v for k, v in fields.items()}, DriftTriggerSpec)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def rules(
    *,
    name: str = "fraud",
    generation: int = 1,
    template: str = "1.first",
    uid: str = "",
    **fields: Any,
) -> Rules:
    """Build rules from the fields of a spec."""
    return rules_of(
        spec(**fields),
        name=name,
        namespace="models",
        uid=uid,
        generation=generation,
        template=template,
    )


def score(value: float, *, at: int = 1, probe: bool = False) -> Observation:
    """Observe a finite score."""
    return Observation(
        tick=tick(at),
        outcome=Outcome.SCORE,
        score=value,
        value=format_value(value),
        is_probe=probe,
    )


def infinite(value: float = float("inf"), *, at: int = 1, probe: bool = False) -> Observation:
    """Observe ±Inf."""
    text = format_value(value)
    return Observation(
        tick=tick(at),
        outcome=Outcome.INFINITE,
        score=value,
        value=text,
        message=f"the score is {text}",
        is_probe=probe,
    )


def without_score(outcome: Outcome, *, at: int = 1, probe: bool = False) -> Observation:
    """Observe anything that is no number."""
    return Observation(
        tick=tick(at), outcome=outcome, message=f"it was {outcome.value}", is_probe=probe
    )


def window(letters: str) -> tuple[Verdict, ...]:
    """Spell a window: B for a breach, I for in the band, C for clear."""
    return tuple(VERDICTS[letter] for letter in letters)


def status(of: Rules, *, verdicts: str = "", **fields: Any) -> DriftTriggerStatus:
    """Build the status that a trigger with these rules has."""
    return DriftTriggerStatus(
        observed_generation=of.generation, spec_hash=of.hashes, window=window(verdicts), **fields
    )


def drifted(
    of: Rules, *, number: int = 1, attempts: int = 0, verdicts: str = "B", **fields: Any
) -> DriftTriggerStatus:
    """Build the status of an open episode that began at tick 0."""
    episode = Episode(number=number, since=instant(0), attempts=attempts)
    return status(of, verdicts=verdicts, episode=episode, episodes=number, **fields)


def active(number: int = 1, *, at: int = 0, started: bool = False) -> Active:
    """Build the entry of an unfinished Retraining."""
    return Active(name=f"fraud-{number}", uid=f"uid-{number}", time=instant(at), started=started)


def last(
    result: RetrainingResult = RetrainingResult.COMPLETED,
    *,
    at: int = 0,
    ended: int = 0,
    score_after: float | None = None,
) -> LastRetraining:
    """Build the account of the newest retraining."""
    return LastRetraining(
        name="fraud-1",
        time=instant(at),
        completion_time=instant(ended),
        result=result,
        score_after=score_after,
    )


def pending(number: int = 1, *, at: int = 0, cause: Cause = Cause.DRIFT) -> Pending:
    """Build an intent."""
    return Pending(
        name=f"fraud-{number}",
        cause=cause,
        generation=1,
        model=Model(name="fraud"),
        reason="score 0.3 > threshold 0.2",
        evidence=Evidence(
            source="http://prometheus.example:9090",
            query="max(drift)",
            time=instant(at),
            outcome=Outcome.SCORE,
            threshold=0.2,
            comparison=Comparison.GREATER_THAN,
            score=0.3,
        ),
    )


def template_verdict(state: str, *, generation: int = 1) -> Condition:
    """Build execution's condition on the Job template: True, False or Unknown."""
    reasons = {"True": Reason.VALID, "False": Reason.REFUSED, "Unknown": Reason.UNKNOWN}
    return Condition(
        type=ConditionType.TEMPLATE_VALID,
        status=state,
        reason=reasons[state],
        message="spec.template: no such field",
        observed_generation=generation,
    )


class Story:
    """A trigger that lives through ticks, and whose Retrainings live through their steps.

    It does to the status what detection does, in memory: decide, confirm, release.
    """

    def __init__(self, of: Rules) -> None:
        self.rules = of
        self.status = DriftTriggerStatus()
        self.fired: list[int] = []
        self._at = 0

    def see(self, observation: Observation) -> Decision:
        """Decide one observation."""
        self.status, decision = decide(self.rules, self.status, observation, uid=UID)
        return decision

    def ticks(self, scores: Iterable[float], *, job: str = "instant") -> list[Decision]:
        """Go through one tick for each score.

        Args:
            scores: The scores, in order.
            job: `instant` ends each Job at its own tick, `forever` never ends one.
        """
        decisions = []
        for value in scores:
            self._at += 1
            decision = self.see(score(value, at=self._at))
            decisions.append(decision)
            if decision.action is Action.RETRAIN:
                self.fired.append(self._at)
                self.confirm()
                if job == "instant":
                    self.end(at=self._at)
        return decisions

    def confirm(self) -> None:
        """Bind the pending Retraining."""
        intent = self.status.pending
        assert intent is not None
        entry = Active(name=intent.name, uid=intent.name, time=intent.evidence.time)
        self.status = replace(self.status, pending=None, active=(*self.status.active, entry))

    def start(self) -> None:
        """Give every active Retraining its Job."""
        entries = tuple(replace(entry, started=True) for entry in self.status.active)
        self.status = replace(self.status, active=entries)

    def end(self, result: RetrainingResult = RetrainingResult.COMPLETED, *, at: int) -> None:
        """Let the oldest active Retraining end."""
        number = self.status.episode.number if self.status.episode is not None else 0
        self.status = released(
            self.status,
            self.status.active[0],
            result=result,
            episode=number,
            completed_at=tick(at),
        )
