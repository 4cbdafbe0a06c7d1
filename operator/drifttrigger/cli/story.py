"""The story of a trigger, episode by episode, in the order in which things happened.

Pure: made from what the API server holds (trigger, Retrainings, Jobs, Events), told by `describe`
as text and by `page` as HTML.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import msgspec

from drifttrigger.api.reasons import ConditionType, Outcome, Reason
from drifttrigger.api.v1alpha1 import (
    Cause,
    Comparison,
    Condition,
    DriftTriggerStatus,
    Evidence,
    RetrainingSpec,
    RetrainingStatus,
    SeriesSummary,
)
from drifttrigger.core.conditions import find
from drifttrigger.core.rules import breaches
from drifttrigger.core.times import parse_instant

SIGNS = {
    Comparison.GREATER_THAN: ">",
    Comparison.GREATER_THAN_OR_EQUAL: "≥",
    Comparison.LESS_THAN: "<",
    Comparison.LESS_THAN_OR_EQUAL: "≤",
}
_BY_HAND = "By hand"
_TOLD_BY_RETRAININGS = frozenset(
    {
        Reason.RETRAINING_REQUESTED,
        Reason.RETRAINING_ACTIVE,
        Reason.MANUAL_ACCEPTED,
        Reason.STARTING,
        Reason.RUNNING,
    }
)


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A Retraining."""

    name: str
    uid: str
    created_at: datetime
    spec: RetrainingSpec
    status: RetrainingStatus

    @property
    def succeeded(self) -> Condition | None:
        """Its one condition."""
        return find(self.status.conditions, ConditionType.SUCCEEDED)


class JobSeen(msgspec.Struct, frozen=True, kw_only=True):
    """The Job of a Retraining, as far as it is still there."""

    name: str
    created_at: datetime
    failed_pods: int = 0


class EventSeen(msgspec.Struct, frozen=True, kw_only=True):
    """An Event of the trigger or of one of its Retrainings."""

    at: datetime
    about: str
    is_warning: bool
    reason: str
    message: str


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a story is made from."""

    threshold: float
    comparison: Comparison
    status: DriftTriggerStatus
    records: tuple[Record, ...]
    jobs: tuple[JobSeen, ...]
    events: tuple[EventSeen, ...]


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened.

    Attributes:
        at: When, as it is sorted.
        what: One or two words.
        text: A sentence or less.
        tone: good, bad, warn or plain.
        is_timed: False where only the order is known.
    """

    at: datetime
    what: str
    text: str
    tone: str = "plain"
    is_timed: bool = True


class Chapter(msgspec.Struct, frozen=True):
    """An episode, a request by hand, or what came before all of them."""

    title: str
    moments: tuple[Moment, ...]


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One score that is known, for the plot."""

    at: datetime
    score: float
    label: str
    is_breach: bool


def story_of(sources: Sources) -> tuple[Chapter, ...]:
    """Tell what happened, oldest first; Events beyond the server's memory are not in it."""
    chapters: dict[str, list[Moment]] = {}
    for record in sorted(sources.records, key=lambda r: r.created_at):
        title = f"Episode {record.spec.episode}" if record.spec.episode else _BY_HAND
        job = next((job for job in sources.jobs if job.name == record.name), None)
        key = title if record.spec.cause is Cause.DRIFT else f"{_BY_HAND}, {record.name}"
        chapters.setdefault(key, []).extend(_moments(record, job))
    _add_events(chapters, sources.events)
    told = [
        Chapter(title, tuple(sorted(moments, key=lambda m: m.at)))
        for title, moments in chapters.items()
    ]
    return tuple(sorted(told, key=lambda chapter: chapter.moments[0].at))


def _add_events(chapters: dict[str, list[Moment]], events: Iterable[EventSeen]) -> None:
    """Put each Event that tells something new into the chapter during which it happened."""
    begins = {title: min(m.at for m in moments) for title, moments in chapters.items()}
    for event in events:
        if event.reason in _TOLD_BY_RETRAININGS or _is_told(chapters, event):
            continue
        open_then = [title for title, begin in begins.items() if begin <= event.at]
        title = max(open_then, key=lambda t: begins[t]) if open_then else "Before"
        moment = Moment(
            at=event.at,
            what=event.reason,
            text=event.message,
            tone="warn" if event.is_warning else "plain",
        )
        chapters.setdefault(title, []).append(moment)


def _is_told(chapters: dict[str, list[Moment]], event: EventSeen) -> bool:
    return any(
        moment.what == event.reason and event.message in moment.text
        for moments in chapters.values()
        for moment in moments
    )


def _moments(record: Record, job: JobSeen | None) -> Iterator[Moment]:
    spec, status = record.spec, record.status
    evaluated_at = parse_instant(spec.evidence.time)
    tone = "plain" if spec.cause is Cause.MANUAL else "warn"
    yield Moment(
        at=min(evaluated_at, record.created_at),
        what="Evaluated",
        text=evidence_words(spec.evidence),
        tone=tone,
    )
    attempt = f"attempt {spec.attempt}" if spec.attempt else "no attempt of an episode"
    yield Moment(at=record.created_at, what="Decided", text=f"{spec.reason}")
    name = f"{record.name} ({'dry run, ' if spec.dry_run else ''}{attempt})"
    yield Moment(at=record.created_at, what="Retraining", text=name)
    if started := _job_moment(record, job):
        yield started
    yield from _end(record, job)
    if status.score_after is not None and status.completion_time:
        yield Moment(
            at=parse_instant(status.completion_time),
            what="Score after",
            text=f"{status.score_after:g}"
            + (", which still breaches" if status.still_breaching else ", which does not breach"),
            tone="bad" if status.still_breaching else "good",
            is_timed=False,
        )


def _job_moment(record: Record, job: JobSeen | None) -> Moment | None:
    target, started = record.status.target, record.status.start_time
    if job is not None:
        return Moment(at=job.created_at, what="Job", text=job.name)
    if target is None:
        return None
    at = parse_instant(started) if started else record.created_at
    return Moment(at=at, what=target.kind, text=f"{target.name} (removed since)")


def _end(record: Record, job: JobSeen | None) -> Iterator[Moment]:
    condition = record.succeeded
    if condition is None:
        return
    failed = f"; {job.failed_pods} pods failed" if job is not None and job.failed_pods else ""
    text = f"{condition.message}{failed}"
    if condition.status == "Unknown":
        at = parse_instant(condition.last_transition_time)
        yield Moment(at=at, what=condition.reason, text=text, is_timed=False)
        return
    ended = record.status.completion_time or condition.last_transition_time
    tone = "good" if condition.status == "True" else "bad"
    yield Moment(at=parse_instant(ended), what=condition.reason, text=text, tone=tone)


def evidence_words(evidence: Evidence) -> str:
    """Say what an answer was, against θ."""
    if evidence.outcome is not Outcome.SCORE:
        return f"{evidence.outcome}; threshold {evidence.threshold:g}"
    score = evidence.value or f"{evidence.score}"
    sign = SIGNS[evidence.comparison]
    is_breach = evidence.score is not None and breaches(
        evidence.score, evidence.comparison, evidence.threshold
    )
    words = f"score {score}{' ' if is_breach else ', not '}{sign} {evidence.threshold:g}"
    return words + series_words(evidence.series)


def series_words(series: SeriesSummary | None) -> str:
    """Say which series are the worst; nothing for a single one without labels."""
    if series is None or not series.worst:
        return ""
    worst = series.worst[0]
    labels = ", ".join(f'{k}="{v}"' for k, v in worst.labels.items() if k != "__name__")
    if series.count == 1:
        return f"; {{{labels}}}" if labels else ""
    return f"; {series.breaching} of {series.count} series breach, worst {{{labels}}} {worst.value}"


def points_of(sources: Sources) -> tuple[Point, ...]:
    """Collect every score that objects remember, in order of time."""
    found = [point for record in sources.records for point in _points(record)]
    last = sources.status.last_evaluation
    if last is not None and last.score is not None:
        found.append(
            Point(
                at=parse_instant(last.time),
                score=last.score,
                label="newest",
                is_breach=breaches(last.score, sources.comparison, sources.threshold),
            )
        )
    return tuple(sorted(found, key=lambda point: point.at))


def _points(record: Record) -> Iterator[Point]:
    evidence, status = record.spec.evidence, record.status
    if evidence.score is not None:
        yield Point(
            at=parse_instant(evidence.time),
            score=evidence.score,
            label=f"decided {record.name}",
            is_breach=breaches(evidence.score, evidence.comparison, evidence.threshold),
        )
    if status.score_after is not None and status.completion_time:
        yield Point(
            at=parse_instant(status.completion_time),
            score=status.score_after,
            label=f"after {record.name} (its time is that of the end)",
            is_breach=bool(status.still_breaching),
        )


def shown_time(at: datetime) -> str:
    """Write an instant for people, in UTC."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
