"""Every condition type, reason and event name, each with its sentence.

One vocabulary for conditions, Events, log lines, metrics and the command line. A reason is a word
that a person can search for; its sentence is what the reason means, whatever the numbers are.
"""

from enum import StrEnum


class ConditionType(StrEnum):
    """Condition types of both kinds."""

    READY = "Ready"
    DRIFTED = "Drifted"
    STALLED = "Stalled"
    TEMPLATE_VALID = "TemplateValid"
    SUCCEEDED = "Succeeded"


class Outcome(StrEnum):
    """What an answer of the metrics server was; exactly one for every possible answer."""

    SCORE = "Score"
    NO_DATA = "NoData"
    NOT_A_NUMBER = "NotANumber"
    INFINITE = "Infinite"
    PARTIAL = "Partial"
    AMBIGUOUS = "Ambiguous"
    UNSUPPORTED = "Unsupported"
    MALFORMED = "Malformed"
    QUERY_ERROR = "QueryError"
    UNAUTHORIZED = "Unauthorized"
    UNREACHABLE = "Unreachable"
    TOO_LARGE = "TooLarge"

    @property
    def is_error(self) -> bool:
        """Whether the tick is asked again: nothing was learnt about the score."""
        return self in _ERRORS


_ERRORS = frozenset(
    {
        Outcome.AMBIGUOUS,
        Outcome.UNSUPPORTED,
        Outcome.MALFORMED,
        Outcome.QUERY_ERROR,
        Outcome.UNAUTHORIZED,
        Outcome.UNREACHABLE,
        Outcome.TOO_LARGE,
    }
)


class Reason(StrEnum):
    """Why something is as it is."""

    # DriftTrigger, Ready
    EVALUATING = "Evaluating"
    NOT_YET_EVALUATED = "NotYetEvaluated"
    SUSPENDED = "Suspended"
    SPEC_INVALID = "SpecInvalid"
    JOB_REFUSED = "JobRefused"
    NAME_TAKEN = "NameTaken"
    CANNOT_RECORD = "CannotRecord"
    AMBIGUOUS = "Ambiguous"
    UNSUPPORTED = "Unsupported"
    MALFORMED = "Malformed"
    QUERY_ERROR = "QueryError"
    UNAUTHORIZED = "Unauthorized"
    UNREACHABLE = "Unreachable"
    TOO_LARGE = "TooLarge"
    # DriftTrigger, Drifted=True
    RETRAINING_REQUESTED = "RetrainingRequested"
    RETRAINING_ACTIVE = "RetrainingActive"
    COOLING_DOWN = "CoolingDown"
    DEFERRED = "Deferred"
    ATTEMPTS_EXHAUSTED = "AttemptsExhausted"
    DRIFTED = "Drifted"
    # DriftTrigger, Drifted=False
    BELOW_THRESHOLD = "BelowThreshold"
    BREACHING = "Breaching"
    IN_BAND = "InBand"
    # DriftTrigger, Drifted=Unknown
    AWAITING_TICK = "AwaitingTick"
    NO_DATA = "NoData"
    NOT_A_NUMBER = "NotANumber"
    INFINITE = "Infinite"
    PARTIAL = "Partial"
    SOURCE_ERROR = "SourceError"
    # MetricsSource, Ready=True
    ANSWERING = "Answering"
    # TemplateValid
    VALID = "Valid"
    REFUSED = "Refused"
    UNKNOWN = "Unknown"
    # Retraining, Succeeded
    PENDING = "Pending"
    RUNNING = "Running"
    JOB_PENDING = "JobPending"
    JOB_SUSPENDED = "JobSuspended"
    STARTING = "Starting"
    COMPLETED = "Completed"
    JOB_FAILED = "JobFailed"
    JOB_DELETED = "JobDeleted"
    JOB_NOT_CREATED = "JobNotCreated"
    DRY_RUN = "DryRun"
    SUPERSEDED = "Superseded"
    # Events about what people asked for by annotation
    MANUAL_ACCEPTED = "ManualAccepted"
    MANUAL_REFUSED = "ManualRefused"
    HOLD_UNREADABLE = "HoldUnreadable"
    HELD = "Held"
    STRAY_JOB_DELETED = "StrayJobDeleted"
    # DriftTrigger, Stalled=False
    PROGRESSING = "Progressing"


SENTENCES: dict[Reason, str] = {
    Reason.EVALUATING: "the query is asked on schedule and answers",
    Reason.NOT_YET_EVALUATED: "no answer has come yet since the last edit",
    Reason.SUSPENDED: "spec.suspend is true: nothing is evaluated, running Jobs go on",
    Reason.SPEC_INVALID: "a field of the spec can't be used; edit it",
    Reason.JOB_REFUSED: "the API server refuses the Job that jobTemplate describes; edit it",
    Reason.NAME_TAKEN: "an object that is not ours has the name of the next Retraining",
    Reason.CANNOT_RECORD: "a decision was made, but its Retraining can't be created yet",
    Reason.AMBIGUOUS: "the query answered with more than one series, and reduce is not set",
    Reason.UNSUPPORTED: "the query answered with a type that is no score",
    Reason.MALFORMED: "the server's answer is not what the Prometheus API promises",
    Reason.QUERY_ERROR: "the server refuses the query, or failed to evaluate it",
    Reason.UNAUTHORIZED: "the server refuses the credentials",
    Reason.UNREACHABLE: "the server can't be reached, or did not answer in time",
    Reason.TOO_LARGE: "the answer is larger than 8 MiB",
    Reason.RETRAINING_REQUESTED: "a Retraining has just been decided",
    Reason.RETRAINING_ACTIVE: "a Retraining of this trigger has not ended",
    Reason.COOLING_DOWN: "the cooldown since the last retraining has not passed",
    Reason.DEFERRED: "the Retraining waits for a limit to allow its start",
    Reason.ATTEMPTS_EXHAUSTED: "maxAttempts retrainings of this episode did not bring it to an end",
    Reason.DRIFTED: "the episode is open; the present observation does not ask for a retraining",
    Reason.BELOW_THRESHOLD: "the score is on the clear side",
    Reason.BREACHING: "the score breaches, but not yet often enough (breaches)",
    Reason.IN_BAND: "the score lies between clearThreshold and threshold",
    Reason.AWAITING_TICK: "the first tick since the last edit has not come",
    Reason.NO_DATA: "the query answered with no series",
    Reason.NOT_A_NUMBER: "the score is NaN",
    Reason.INFINITE: "the score is infinite",
    Reason.PARTIAL: "the server says that its answer is partial",
    Reason.SOURCE_ERROR: "the server gave no usable answer",
    Reason.ANSWERING: "the server answers queries",
    Reason.VALID: "the API server would accept the Job",
    Reason.REFUSED: "the API server refuses the Job",
    Reason.UNKNOWN: "whether the API server would accept the Job can't be told now",
    Reason.PENDING: "decided, and not started",
    Reason.RUNNING: "the Job runs",
    Reason.JOB_PENDING: "no pod of the Job has been ready for 10 minutes",
    Reason.JOB_SUSPENDED: "the Job is suspended (spec.suspend), by Kueue or by its owner",
    Reason.STARTING: "the Job is being created",
    Reason.COMPLETED: "the Job completed",
    Reason.JOB_FAILED: "the Job failed",
    Reason.JOB_DELETED: "the Job was deleted before it ended",
    Reason.JOB_NOT_CREATED: "the API server refused the Job",
    Reason.DRY_RUN: "dryRun is true: decided and recorded, not started",
    Reason.SUPERSEDED: "the decision no longer stands; nothing was started",
    Reason.MANUAL_ACCEPTED: "a retraining was asked for by hand, and begins",
    Reason.MANUAL_REFUSED: "a retraining was asked for by hand, and refused",
    Reason.HOLD_UNREADABLE: "the hold annotation can't be read, so it holds for ever",
    Reason.HELD: "the hold annotation keeps retrainings from starting",
    Reason.STRAY_JOB_DELETED: "a Job that no Retraining counts as its own was deleted",
    Reason.PROGRESSING: "nothing asks for an edit",
}


class RetrainingResult(StrEnum):
    """How a Retraining ended, as the trigger remembers it."""

    COMPLETED = "Completed"
    JOB_FAILED = "JobFailed"
    JOB_DELETED = "JobDeleted"
    JOB_NOT_CREATED = "JobNotCreated"
    DRY_RUN = "DryRun"
    SUPERSEDED = "Superseded"


NO_ATTEMPT = frozenset(
    {RetrainingResult.DRY_RUN, RetrainingResult.JOB_NOT_CREATED, RetrainingResult.SUPERSEDED}
)
"""Results that do not count against maxAttempts."""
