"""A trigger's spec as the decision needs it: defaults filled in, durations and ticks resolved.

Made once for each edit, from the spec alone; a spec that can't be used raises `SpecError` here and
nowhere later.
"""

import functools
import hashlib
import math
from datetime import timedelta
from typing import Any

import msgspec
import orjson

from drifttrigger.api.errors import SpecError
from drifttrigger.api.servers import PrometheusServer, SourceRef
from drifttrigger.api.v1alpha1 import (
    Comparison,
    ConcurrencyPolicy,
    DriftTriggerSpec,
    InfinityPolicy,
    Model,
    NoDataPolicy,
    PartialDataPolicy,
    Reduce,
    SpecHash,
)
from drifttrigger.core.schedule import CronSchedule, IntervalSchedule, cron_schedule, phase
from drifttrigger.core.servers import (
    NO_SOURCE,
    check_server,
    source_identity,
    source_name,
)
from drifttrigger.core.times import parse_duration

DEFAULT_INTERVAL = "5m"
DIGEST_VERSION = "1"
"""Part of every digest in a status: another version's digest says nothing about an edit."""


class Rules(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Everything that a decision asks of the spec.

    Attributes:
        source: Where scores come from: the inline block, or a reference resolved when asked.
        clear_threshold: Bound of the clear side; equal to threshold without hysteresis.
        required: Breaches needed among the last `window` deciding observations.
        window: Number of deciding observations that are remembered, 1–100.
        cooldown: Least time from the end of the last retraining to the next.
        max_attempts: Retrainings in one episode, 0 for no limit.
        schedule: The ticks.
        deadline: How long an unanswered or missed tick is worth asking again.
        hashes: Digests of the parts whose change resets state.
    """

    name: str
    namespace: str
    generation: int
    source: PrometheusServer | SourceRef
    query: str
    query_offset: timedelta
    reduce: Reduce | None
    schedule: IntervalSchedule | CronSchedule
    deadline: timedelta
    threshold: float
    comparison: Comparison
    clear_threshold: float
    required: int
    window: int
    no_data: NoDataPolicy
    infinity: InfinityPolicy
    partial_data: PartialDataPolicy
    cooldown: timedelta
    max_attempts: int
    concurrency: ConcurrencyPolicy
    suspend: bool
    dry_run: bool
    model: Model
    hashes: SpecHash

    @property
    def source_name(self) -> str:
        """Where scores come from, for people and for the evidence."""
        return source_name(self.source)


def rules_of(
    spec: DriftTriggerSpec, *, name: str, namespace: str, uid: str, generation: int, template: str
) -> Rules:
    """Resolve a spec.

    Args:
        spec: The spec as the API server holds it.
        name: Name of the trigger.
        namespace: Its namespace.
        uid: Its UID, from which the phase of its ticks is derived; empty for phase 0.
        generation: Its generation.
        template: Digest of its Job template.

    Raises:
        SpecError: A field can't be used; names the field.
    """
    window = spec.breaches.window if spec.breaches.window is not None else spec.breaches.required
    if not 1 <= spec.breaches.required <= window <= 100:
        raise SpecError("spec.breaches", "required must be at least 1 and at most window (≤ 100)")
    clear = spec.threshold if spec.clear_threshold is None else spec.clear_threshold
    for field, value in (("threshold", spec.threshold), ("clearThreshold", clear)):
        if not math.isfinite(value):
            raise SpecError(f"spec.{field}", "must be a finite number")
    if breaches(clear, spec.comparison, spec.threshold) and clear != spec.threshold:
        raise SpecError("spec.clearThreshold", "must not lie beyond threshold")
    return Rules(
        name=name,
        namespace=namespace,
        generation=generation,
        source=_source_of(spec),
        query=spec.query,
        query_offset=parse_duration(spec.query_offset, field="spec.queryOffset"),
        reduce=spec.reduce,
        schedule=_schedule_of(spec, uid=uid),
        deadline=parse_duration(spec.evaluation_deadline, field="spec.evaluationDeadline"),
        threshold=spec.threshold,
        comparison=spec.comparison,
        clear_threshold=clear,
        required=spec.breaches.required,
        window=window,
        no_data=spec.no_data,
        infinity=spec.infinity,
        partial_data=spec.partial_data,
        cooldown=parse_duration(spec.cooldown, field="spec.cooldown"),
        max_attempts=spec.max_attempts,
        concurrency=spec.concurrency_policy,
        suspend=spec.suspend,
        dry_run=spec.dry_run,
        model=msgspec.structs.replace(spec.model, name=spec.model.name or name),
        hashes=SpecHash(condition=condition_hash(spec), job_template=template),
    )


@functools.lru_cache(maxsize=4096)
def _shared(server: PrometheusServer) -> PrometheusServer:
    """Return one and the same block for equal ones: thousands of triggers ask one server."""
    return server


def _source_of(spec: DriftTriggerSpec) -> PrometheusServer | SourceRef:
    if spec.prometheus is not None and spec.source_ref is not None:
        raise SpecError("spec.sourceRef", "excludes prometheus; keep one of them")
    if spec.prometheus is not None:
        check_server(spec.prometheus, field="spec.prometheus")
        return _shared(spec.prometheus)
    return spec.source_ref or NO_SOURCE


def breaches(score: float, comparison: Comparison, threshold: float) -> bool:
    """Hold a score against a bound in IEEE doubles, without rounding."""
    match comparison:
        case Comparison.GREATER_THAN:
            return score > threshold
        case Comparison.GREATER_THAN_OR_EQUAL:
            return score >= threshold
        case Comparison.LESS_THAN:
            return score < threshold
        case Comparison.LESS_THAN_OR_EQUAL:
            return score <= threshold


def condition_hash(spec: DriftTriggerSpec) -> str:
    """Digest the part of the spec that says what drift is; its change ends the episode.

    What is left to its default digests like the default spelt out.
    """
    clear = spec.threshold if spec.clear_threshold is None else spec.clear_threshold
    window = spec.breaches.required if spec.breaches.window is None else spec.breaches.window
    offset = parse_duration(spec.query_offset, field="spec.queryOffset")
    return digest(
        [
            source_identity(_source_of(spec)),
            spec.query,
            offset.total_seconds(),
            spec.reduce,
            spec.threshold,
            spec.comparison,
            clear,
            [spec.breaches.required, window],
            spec.no_data,
            spec.infinity,
            spec.partial_data,
        ]
    )


def digest(value: Any) -> str:
    """Digest a JSON value whatever the order of keys: version, dot, 12 hexadecimal digits."""
    # The API server may hand out 1 where it was given 1.0: equal numbers digest alike.
    text = orjson.dumps(_plain_numbers(value), option=orjson.OPT_SORT_KEYS)
    return f"{DIGEST_VERSION}.{hashlib.blake2s(text).hexdigest()[:12]}"


def differs(old: str, new: str) -> bool:
    """Whether two digests tell of an edit: both known, of one version, and not the same."""
    return bool(old) and old.partition(".")[0] == new.partition(".")[0] and old != new


def _plain_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain_numbers(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


def _schedule_of(spec: DriftTriggerSpec, *, uid: str) -> IntervalSchedule | CronSchedule:
    if spec.schedule is not None:
        if spec.interval is not None:
            raise SpecError("spec.interval", "excludes spec.schedule")
        return cron_schedule(spec.schedule, spec.time_zone or "UTC")
    interval = _bounded(
        spec.interval or DEFAULT_INTERVAL, "spec.interval", low=1, high=30 * 24 * 3600
    )
    return IntervalSchedule(interval, phase(uid, interval))


def _bounded(text: str, field: str, *, low: int, high: int) -> timedelta:
    duration = parse_duration(text, field=field)
    if not low <= duration.total_seconds() <= high:
        raise SpecError(field, f"must be between {low} s and {high} s, is {text}")
    return duration
