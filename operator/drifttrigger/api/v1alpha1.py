"""The custom resources as Python values: group `drifttrigger.dev`, version `v1alpha1`.

The CRDs in `crds/` are the truth; contract tests hold these types against them in both directions.
Durations and instants stay the strings that the API server holds; `core.rules` and `core.times`
turn them into seconds and aware datetimes. Unknown fields are ignored on reading, so that an
operator can run beside a newer CRD; the API server refuses them on writing.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from drifttrigger.api.reasons import Outcome
from drifttrigger.api.servers import PrometheusServer, SourceRef, Value

GROUP = "drifttrigger.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

LABEL_TRIGGER = f"{GROUP}/trigger"
LABEL_RETRAINING = f"{GROUP}/retraining"
LABEL_ACTIVE = f"{GROUP}/active"
ANNOTATION_TRIGGER_NOW = f"{GROUP}/trigger-now"
ANNOTATION_HOLD = f"{GROUP}/hold"


class Comparison(StrEnum):
    """How a score is held against the threshold; it breaches when the comparison is true."""

    GREATER_THAN = "GreaterThan"
    GREATER_THAN_OR_EQUAL = "GreaterThanOrEqual"
    LESS_THAN = "LessThan"
    LESS_THAN_OR_EQUAL = "LessThanOrEqual"


class Reduce(StrEnum):
    """How many series become one score."""

    MAX = "Max"
    MIN = "Min"
    MEAN = "Mean"
    MEDIAN = "Median"
    SUM = "Sum"
    COUNT = "Count"


class NoDataPolicy(StrEnum):
    """What NoData and NotANumber mean to the decision."""

    HOLD = "Hold"
    BREACH = "Breach"
    CLEAR = "Clear"


class InfinityPolicy(StrEnum):
    """What an infinite score means to the decision."""

    HOLD = "Hold"
    COMPARE = "Compare"


class PartialDataPolicy(StrEnum):
    """What an answer that the server calls partial means to the decision."""

    HOLD = "Hold"
    ACCEPT = "Accept"


class ConcurrencyPolicy(StrEnum):
    """Whether a retraining may start while another of the same trigger runs."""

    FORBID = "Forbid"
    ALLOW = "Allow"


class DeletionPolicy(StrEnum):
    """What becomes of Retrainings and Jobs when their trigger is deleted."""

    RETAIN = "Retain"
    DELETE = "Delete"


class Verdict(StrEnum):
    """What one deciding observation said."""

    BREACH = "Breach"
    IN_BAND = "InBand"
    CLEAR = "Clear"


class Cause(StrEnum):
    """Who asked for a retraining."""

    DRIFT = "Drift"
    MANUAL = "Manual"


class Breaches(Value, frozen=True, kw_only=True):
    """N of the last M deciding observations."""

    required: int = 1
    window: int | None = None


class Model(Value, frozen=True, kw_only=True):
    """Which model this is about."""

    name: str = ""
    version: str = ""
    owner: str = ""
    risk_tier: str = ""


class DriftTriggerSpec(Value, frozen=True, kw_only=True):
    """What a user declares; the Job template is read live when a decision fires."""

    query: str
    threshold: float
    prometheus: PrometheusServer | None = None
    source_ref: SourceRef | None = None
    query_offset: str = "0s"
    reduce: Reduce | None = None
    interval: str | None = None
    schedule: str | None = None
    time_zone: str | None = None
    evaluation_deadline: str = "1h"
    comparison: Comparison = Comparison.GREATER_THAN
    clear_threshold: float | None = None
    breaches: Breaches = Breaches()
    no_data: NoDataPolicy = NoDataPolicy.HOLD
    infinity: InfinityPolicy = InfinityPolicy.HOLD
    partial_data: PartialDataPolicy = PartialDataPolicy.HOLD
    cooldown: str = "24h"
    max_attempts: int = 3
    concurrency_policy: ConcurrencyPolicy = ConcurrencyPolicy.FORBID
    suspend: bool = False
    dry_run: bool = False
    successful_history_limit: int = 10
    failed_history_limit: int = 10
    deletion_policy: DeletionPolicy = DeletionPolicy.RETAIN
    model: Model = Model()


class Condition(Value, frozen=True, kw_only=True):
    """A condition as metav1.Condition has it."""

    type: str
    status: str
    reason: str
    message: str = ""
    last_transition_time: str = ""
    observed_generation: int = 0


class SeriesSample(Value, frozen=True, kw_only=True):
    """One series of an answer: its labels and Prometheus' own text of its value."""

    labels: dict[str, str] = msgspec.field(default_factory=dict)
    value: str


class SeriesSummary(Value, frozen=True, kw_only=True):
    """The series behind a score: how many, how many breach alone, the worst five."""

    count: int = 0
    breaching: int = 0
    worst: tuple[SeriesSample, ...] = ()


class LastEvaluation(Value, frozen=True, kw_only=True):
    """The newest answer; `score` is absent when it is not a finite number."""

    time: str
    outcome: Outcome
    score: float | None = None
    value: str = ""
    series: SeriesSummary | None = None
    message: str = ""


class Episode(Value, frozen=True, kw_only=True):
    """Breaching (number 0: not yet an episode) or drifted (number ≥ 1)."""

    number: int = 0
    since: str
    attempts: int = 0
    worst_score: float | None = None


class Evidence(Value, frozen=True, kw_only=True):
    """Why a decision was made: enough to repeat it."""

    source: str
    query: str
    time: str
    outcome: Outcome
    threshold: float
    comparison: Comparison
    score: float | None = None
    value: str = ""
    series: SeriesSummary | None = None
    window: tuple[Verdict, ...] = ()
    warnings: tuple[str, ...] = ()


class Pending(Value, frozen=True, kw_only=True):
    """An intent that is written down and not yet carried out: a Retraining but its template."""

    name: str
    cause: Cause
    generation: int
    model: Model
    episode: int = 0
    attempt: int = 0
    dry_run: bool = False
    reason: str
    evidence: Evidence


class Active(Value, frozen=True, kw_only=True):
    """An unfinished Retraining that has the right to run; `started` once its Job exists (Allow)."""

    name: str
    uid: str
    time: str = ""
    started: bool = False


class LastRetraining(Value, frozen=True, kw_only=True):
    """The newest Retraining that ended; its end starts the cooldown."""

    name: str
    time: str
    completion_time: str
    result: str
    score_after: float | None = None


class LastManual(Value, frozen=True, kw_only=True):
    """The newest `trigger-now` that was taken or refused."""

    time: str
    result: str


class SpecHash(Value, frozen=True, kw_only=True):
    """Digests of the parts of the spec whose change resets state."""

    condition: str = ""
    job_template: str = ""


class DriftTriggerStatus(Value, frozen=True, kw_only=True):
    """What detection knows; every decision rests on this alone (`evaluation`, section 4)."""

    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()
    last_evaluation: LastEvaluation | None = None
    episode: Episode | None = None
    episodes: int = 0
    last_tick: str = ""
    window: tuple[Verdict, ...] = ()
    retrainings: int = 0
    pending: Pending | None = None
    last_retraining: LastRetraining | None = None
    active: tuple[Active, ...] = ()
    last_manual: LastManual | None = None
    spec_hash: SpecHash = SpecHash()


class TriggerRef(Value, frozen=True, kw_only=True):
    """The trigger that decided, as it was then."""

    name: str
    uid: str
    generation: int


class RetrainingSpec(Value, frozen=True, kw_only=True):
    """One decision to retrain; immutable."""

    trigger_ref: TriggerRef
    model: Model
    cause: Cause
    reason: str
    evidence: Evidence
    job_template: dict[str, Any]
    episode: int = 0
    attempt: int = 0
    dry_run: bool = False


class Target(Value, frozen=True, kw_only=True):
    """What was started for a Retraining."""

    api_version: str
    kind: str
    name: str
    uid: str


class RetrainingStatus(Value, frozen=True, kw_only=True):
    """How far a Retraining has come."""

    conditions: tuple[Condition, ...] = ()
    target: Target | None = None
    start_time: str = ""
    completion_time: str = ""
    score_after: float | None = None
    still_breaching: bool | None = None


class SourceError(Value, frozen=True, kw_only=True):
    """The newest failure of a server."""

    time: str
    message: str


class ServerInfo(Value, frozen=True, kw_only=True):
    """What a server tells of itself."""

    kind: str = ""
    version: str = ""


class MetricsSourceStatus(Value, frozen=True, kw_only=True):
    """How a server has answered lately; of both kinds of source."""

    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()
    last_error: SourceError | None = None
    server: ServerInfo | None = None
    triggers: int = 0
