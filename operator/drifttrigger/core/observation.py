"""From an answer of the metrics server to one observation with one name.

A source hands over an `Answer`: samples as the server wrote them, or the failure it met. `observe`
names its `Outcome`: every possible answer has exactly one, and none reads as healthy by accident.
Whether an outcome decides, holds or counts as a breach is not said here but in `core.decide`.
"""

import math
import re
import statistics
from collections.abc import Sequence
from datetime import datetime

import msgspec

from drifttrigger.api.reasons import Outcome
from drifttrigger.api.v1alpha1 import PartialDataPolicy, Reduce, SeriesSample, SeriesSummary
from drifttrigger.core.rules import Rules, breaches

_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_WORDS = {
    "NaN": math.nan,
    "+Inf": math.inf,
    "Inf": math.inf,
    "-Inf": -math.inf,
}
WORST_SERIES = 5
MESSAGE_LENGTH = 512
LABEL_LENGTH = 128
LABELS_PER_SERIES = 16


class Sample(msgspec.Struct, frozen=True, gc=False):
    """One series of an instant vector: labels, and the server's own text of the value."""

    labels: dict[str, str]
    value: str


class Answer(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the server said.

    Attributes:
        samples: The series, in the server's order; empty for an empty vector.
        failure: The outcome where there are no usable samples, else None.
        message: The server's words, or ours about the failure.
        warnings: `warnings` of the answer, in order.
        infos: `infos` of the answer, in order.
        is_partial: The server marked the answer as partial outside of warnings.
        needs_edit: Only an edit of the trigger can cure the failure (errorType bad_data).
        retry_after_seconds: The server's own wish (429), if it named one.
        is_held: Nothing was sent: the server backs off, for retry_after_seconds.
        is_late: No whole answer came in time; the query, or the server, is slow.
        is_servers: The server's own trouble, though it answered: it would say so to any query.
        is_scalar: The query's type is scalar.
        is_batched: It shared a request with others.
        seconds: From sending the request to its whole answer; 0 where none was sent.
    """

    samples: tuple[Sample, ...] = ()
    failure: Outcome | None = None
    message: str = ""
    warnings: tuple[str, ...] = ()
    infos: tuple[str, ...] = ()
    is_partial: bool = False
    needs_edit: bool = False
    retry_after_seconds: float | None = None
    is_held: bool = False
    is_late: bool = False
    is_servers: bool = False
    is_scalar: bool = False
    is_batched: bool = False
    seconds: float = 0.0


class Observation(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One named answer, at the tick it was asked for.

    Attributes:
        tick: The instant that was asked about, before queryOffset is taken off.
        outcome: Its one name.
        score: Finite score where outcome is Score, or the number that an accepted policy compares.
        value: Prometheus' own text of the score.
        series: What the score was made of.
        message: A sentence for people, ≤ 512 characters.
        is_probe: Asked for display only; never decides.
    """

    tick: datetime
    outcome: Outcome
    score: float | None = None
    value: str = ""
    series: SeriesSummary | None = None
    message: str = ""
    warnings: tuple[str, ...] = ()
    is_probe: bool = False
    needs_edit: bool = False
    retry_after_seconds: float | None = None
    is_held: bool = False
    is_batched: bool = False


def parse_value(text: str) -> float | None:
    """Read a sample value as Prometheus writes it; None when it is no such text.

    Hexadecimal floats, underscores, blanks and decimals beyond the range of a double are refused.
    """
    if text in _WORDS:
        return _WORDS[text]
    if not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    return number if math.isfinite(number) else None


def clean(text: str, *, limit: int = MESSAGE_LENGTH) -> str:
    """Make a server's text fit for a status: printable, one line, bounded."""
    if len(text) <= limit and text.isprintable() and " " not in text:
        return text
    head = text[: 4 * limit]
    line = " ".join("".join(c if c.isprintable() else " " for c in head).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def observe(rules: Rules, answer: Answer, tick: datetime, *, is_probe: bool = False) -> Observation:
    """Name an answer.

    Args:
        rules: The trigger's rules (reduce, partialData; comparison for the worst series).
        answer: What the server said.
        tick: The instant that was asked about.
        is_probe: Whether it was asked outside the ticks.
    """
    observation = _name(rules, answer, tick)
    if is_probe or answer.warnings or answer.infos or answer.failure is not None:
        return msgspec.structs.replace(
            observation,
            warnings=tuple(clean(w) for w in (*answer.warnings, *answer.infos)[:10]),
            is_probe=is_probe,
            needs_edit=answer.needs_edit,
            retry_after_seconds=answer.retry_after_seconds,
            is_held=answer.is_held,
            is_batched=answer.is_batched,
        )
    if answer.is_batched:
        return msgspec.structs.replace(observation, is_batched=True)
    return observation


def _name(rules: Rules, answer: Answer, tick: datetime) -> Observation:
    said_partial = [w for w in answer.warnings if not w.startswith("PromQL ")]
    if (said_partial or answer.is_partial) and rules.partial_data is PartialDataPolicy.HOLD:
        why = said_partial[0] if said_partial else "isPartial is true"
        return Observation(
            tick=tick, outcome=Outcome.PARTIAL, message=clean(f"the answer is partial: {why}")
        )
    if answer.failure is not None:
        return Observation(tick=tick, outcome=answer.failure, message=clean(answer.message))
    if not answer.samples:
        return Observation(tick=tick, outcome=Outcome.NO_DATA, message=_no_data_message(rules))
    values = [parse_value(sample.value) for sample in answer.samples]
    if None in values:
        bad = answer.samples[values.index(None)]
        return Observation(
            tick=tick,
            outcome=Outcome.MALFORMED,
            message=f"value {clean(bad.value, limit=64)!r} is no number",
        )
    numbers = [value for value in values if value is not None]
    if rules.reduce is None and len(numbers) > 1:
        return _ambiguous(answer, tick)
    return _score(rules, answer, numbers, tick)


def _score(rules: Rules, answer: Answer, numbers: list[float], tick: datetime) -> Observation:
    series = summarize(rules, answer.samples, numbers)
    valid = [number for number in numbers if not math.isnan(number)]
    dropped = len(numbers) - len(valid)
    note = f"{dropped} of {len(numbers)} series were NaN and left out" if dropped else ""
    if not valid:
        return Observation(
            tick=tick,
            outcome=Outcome.NOT_A_NUMBER,
            value="NaN",
            series=series,
            message="the score is NaN" if len(numbers) == 1 else "all series are NaN",
        )
    score = valid[0] if rules.reduce is None else reduce_values(rules.reduce, valid)
    text = answer.samples[0].value if rules.reduce is None else format_value(score)
    if math.isnan(score):
        outcome, message = Outcome.NOT_A_NUMBER, "the series reduce to NaN"
    elif math.isinf(score):
        outcome, message = Outcome.INFINITE, f"the score is {text}"
    else:
        outcome, message = Outcome.SCORE, ""
    return Observation(
        tick=tick,
        outcome=outcome,
        score=score if outcome is not Outcome.NOT_A_NUMBER else None,
        value=text[:64],
        series=series,
        message="; ".join(filter(None, (message, note))),
    )


def reduce_values(how: Reduce, values: list[float]) -> float:
    """Make one score of at least one number, none of them NaN.

    Sum and Mean use `math.fsum`: the result does not depend on the order of series.
    """
    match how:
        case Reduce.MAX:
            return max(values)
        case Reduce.MIN:
            return min(values)
        case Reduce.MEAN:
            return _sum(values) / len(values)
        case Reduce.MEDIAN:
            return statistics.median(values)
        case Reduce.SUM:
            return _sum(values)
        case Reduce.COUNT:
            return float(len(values))


def _sum(values: list[float]) -> float:
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):  # beyond the range of a double, or +Inf and -Inf together
        return sum(values)


def format_value(value: float) -> str:
    """Write a number as Prometheus does: shortest text that reads back as the same double."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    text = repr(value)
    return text.removesuffix(".0")


def summarize(rules: Rules, samples: tuple[Sample, ...], numbers: list[float]) -> SeriesSummary:
    """Count the series, those that breach alone, and keep the worst five with their labels."""
    breaching = [breaches(number, rules.comparison, rules.threshold) for number in numbers]
    return SeriesSummary(
        count=len(numbers),
        breaching=breaching.count(True),
        worst=tuple(
            SeriesSample(labels=_bounded(samples[i].labels), value=samples[i].value[:64])
            for i in _worst_first(rules, numbers)[:WORST_SERIES]
        ),
    )


def _worst_first(rules: Rules, numbers: list[float]) -> Sequence[int]:
    if len(numbers) == 1:
        return (0,)
    greater = rules.comparison.value.startswith("Greater")

    def badness(index: int) -> float:
        number = numbers[index]
        if math.isnan(number):
            return -math.inf
        return number if greater else -number

    return sorted(range(len(numbers)), key=badness, reverse=True)


def _bounded(labels: dict[str, str]) -> dict[str, str]:
    if not labels:
        return {}
    kept = sorted(labels.items())[:LABELS_PER_SERIES]
    return {
        clean(name, limit=LABEL_LENGTH): clean(value, limit=LABEL_LENGTH) for name, value in kept
    }


def _ambiguous(answer: Answer, tick: datetime) -> Observation:
    shown = ", ".join(
        "{" + ", ".join(f'{k}="{v}"' for k, v in sorted(_bounded(s.labels).items())) + "}"
        for s in answer.samples[:3]
    )
    message = (
        f"the query answered with {len(answer.samples)} series ({shown}"
        + (", …" if len(answer.samples) > 3 else "")
        + "); set spec.reduce or aggregate in the query"
    )
    return Observation(tick=tick, outcome=Outcome.AMBIGUOUS, message=clean(message))


def _no_data_message(rules: Rules) -> str:
    hint = "for scores that are written rarely, wrap the selector: last_over_time(…[1d])"
    if re.search(r"(?<![=!<>~])[<>]=?(?!~)", rules.query):
        hint = (
            "the query filters by a comparison of its own, so it is empty when healthy: "
            "leave the comparison to spec.threshold, or write it with `bool`"
        )
    return f"the query answered with no series; {hint}"
