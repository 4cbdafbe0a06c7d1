"""How a trigger stands now, as facts with a label each; pure.

Shared by the text and the page of `describe`, so that both say the same.
"""

from collections.abc import Iterator
from datetime import datetime

import msgspec

from drifttrigger.api.reasons import SENTENCES, ConditionType, Reason
from drifttrigger.api.v1alpha1 import Condition, DriftTriggerSpec, DriftTriggerStatus
from drifttrigger.cli.story import SIGNS, series_words
from drifttrigger.core.conditions import find
from drifttrigger.core.manual import Hold
from drifttrigger.core.rules import DEFAULT_INTERVAL
from drifttrigger.core.times import format_duration, parse_instant

_GOOD = {
    ConditionType.READY: "True",
    ConditionType.DRIFTED: "False",
    ConditionType.STALLED: "False",
}


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """A trigger as it is now."""

    name: str
    namespace: str
    uid: str
    spec: DriftTriggerSpec
    status: DriftTriggerStatus
    hold: Hold | None
    now: datetime


class Fact(msgspec.Struct, frozen=True):
    """One line: what it is about, what is so, and how that is: good, bad, warn or plain."""

    label: str
    text: str
    tone: str = "plain"


def facts_of(standing: Standing) -> tuple[Fact, ...]:
    """Say how a trigger stands."""
    return (*_declared(standing), *_known(standing))


def _declared(standing: Standing) -> Iterator[Fact]:
    spec = standing.spec
    yield Fact("Name", standing.name)
    yield Fact("Namespace", standing.namespace)
    model = spec.model
    parts = (model.name or standing.name, model.version, model.owner, model.risk_tier)
    yield Fact("Model", ", ".join(part for part in parts if part))
    yield Fact("Query", spec.query)
    yield Fact("Source", _source(spec))
    yield Fact("Drifted when", _rule(spec))
    zone = f" {spec.time_zone or 'UTC'}"
    every = (
        f"{spec.schedule}{zone}" if spec.schedule else f"every {spec.interval or DEFAULT_INTERVAL}"
    )
    yield Fact("Asked", every)
    attempts = f"at most {spec.max_attempts}" if spec.max_attempts else "any number of"
    yield Fact(
        "Retraining", f"{attempts} attempts an episode, at least {spec.cooldown} after the last"
    )
    if spec.dry_run:
        yield Fact("Dry run", "decides and records, starts nothing", "warn")


def _source(spec: DriftTriggerSpec) -> str:
    if spec.prometheus is not None:
        return spec.prometheus.address
    if spec.source_ref is not None:
        return f"{spec.source_ref.kind}/{spec.source_ref.name}"
    return "the ClusterMetricsSource called default"


def _rule(spec: DriftTriggerSpec) -> str:
    text = f"score {SIGNS[spec.comparison]} {spec.threshold:g}"
    window = spec.breaches.window or spec.breaches.required
    if window > 1:
        text += f", {spec.breaches.required} of the last {window} times"
    if spec.clear_threshold is not None and spec.clear_threshold != spec.threshold:
        text += f"; it ends on the clear side of {spec.clear_threshold:g}"
    return text


def _known(standing: Standing) -> Iterator[Fact]:
    status = standing.status
    for kind in (ConditionType.READY, ConditionType.DRIFTED, ConditionType.STALLED):
        condition = find(status.conditions, kind)
        if condition is not None and (kind is not ConditionType.STALLED or _is_stalled(condition)):
            yield Fact(kind.value, _condition_words(condition), _tone(condition, kind))
    if not status.conditions:
        yield Fact("Ready", "no operator has looked at it yet", "warn")
    if (last := status.last_evaluation) is not None:
        age = format_duration(standing.now - parse_instant(last.time))
        what = f"score {last.value}" if last.score is not None else last.outcome.value
        note = f"; {last.message}" if last.message and last.score is None else ""
        yield Fact("Last answer", f"{what}{series_words(last.series)}, {age} ago{note}")
    if (episode := status.episode) is not None:
        yield Fact("Episode", _episode_words(status), "bad" if episode.number else "warn")
    if standing.hold is not None:
        yield Fact("Hold", standing.hold.text(), "warn")
    yield from _retraining_facts(status)


def _episode_words(status: DriftTriggerStatus) -> str:
    episode = status.episode
    if episode is None:
        return ""
    number = f"number {episode.number}" if episode.number else "none yet: breaching"
    worst = f", worst score {episode.worst_score:g}" if episode.worst_score is not None else ""
    return f"{number}, since {episode.since}, {episode.attempts} attempts{worst}"


def _retraining_facts(status: DriftTriggerStatus) -> Iterator[Fact]:
    if status.pending is not None:
        yield Fact("Pending", f"{status.pending.name}: {status.pending.reason}", "warn")
    if status.active:
        yield Fact("Active", ", ".join(active.name for active in status.active))
    if (last := status.last_retraining) is not None:
        after = f", score after {last.score_after:g}" if last.score_after is not None else ""
        text = f"{last.name}: {last.result} at {last.completion_time}{after}"
        yield Fact("Last retraining", text)
    if status.last_manual is not None:
        manual = status.last_manual
        yield Fact("Last by hand", f"{manual.time}: {manual.result}")


def _is_stalled(condition: Condition) -> bool:
    return condition.status == "True"


def _tone(condition: Condition, kind: ConditionType) -> str:
    if condition.status == "Unknown":
        return "warn"
    return "good" if condition.status == _GOOD[kind] else "bad"


def _condition_words(condition: Condition) -> str:
    known = condition.reason in set(Reason)
    message = condition.message or (SENTENCES[Reason(condition.reason)] if known else "")
    return f"{condition.status}, {condition.reason}: {message}".rstrip(": ")
