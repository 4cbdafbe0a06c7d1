"""What was observed, for people and for machines."""

from pathlib import Path

import msgspec

from drifttrigger.cli.demo.audit import AuditCount
from drifttrigger.cli.demo.incidents import Hold


class _Fact(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Something that was observed."""


class Reference(_Fact, frozen=True, kw_only=True):
    """The exercise's own series, from the generator."""

    steps: int
    peak: float
    peak_step: int
    threshold: float
    first_crossing: int
    first_crossing_score: float


class History(_Fact, frozen=True, kw_only=True):
    """What Prometheus held before the live series began."""

    samples: int
    days: int
    peak: float


class Crossing(_Fact, frozen=True, kw_only=True):
    """The decision, and the kill that followed its intent."""

    step: int
    score: float
    threshold: float
    retraining: str
    reason: str
    killed_pid: int


class JobRun(_Fact, frozen=True, kw_only=True):
    """The one Job."""

    name: str
    uid: str
    state: str
    drift_score: str
    started_at_step: float
    ended_at_step: float


class Cleared(_Fact, frozen=True, kw_only=True):
    """The end of the episode."""

    step: int
    score: float
    message: str


class Summary(_Fact, frozen=True, kw_only=True):
    """The whole demo; exists only when all of it was observed."""

    reference: Reference
    history: History
    holds: list[Hold]
    crossing: Crossing
    job: JobRun
    cleared: Cleared
    audit: AuditCount
    plot: Path
    seconds: float

    def lines(self) -> list[str]:
        """Tell it to people; the last line is the audit log's."""
        ref, crossing, job = self.reference, self.crossing, self.job
        held = ", ".join(hold.outcome for hold in self.holds)
        return [
            f"{ref.steps} reference scores: peak {ref.peak:.4f} at step {ref.peak_step}, "
            f"never above θ = {ref.threshold}",
            f"{len(self.holds)} incidents held, none fired: {held}",
            f"step {crossing.step}: {crossing.reason}",
            f"the operator (pid {crossing.killed_pid}) was killed after the intent; the next one "
            f"carried it out",
            f"Job {job.name}: {job.state}, DRIFT_SCORE={job.drift_score}",
            f"step {self.cleared.step}: {self.cleared.message}; the episode cleared",
            f"plot: {self.plot}",
            f"took {self.seconds:.0f} s",
            f"counted from the API server's audit log: {self.audit.sentence}",
        ]

    def to_json(self) -> str:
        """Tell it to machines."""
        encoded = msgspec.json.encode(self, enc_hook=str)
        return msgspec.json.format(encoded, indent=2).decode()
