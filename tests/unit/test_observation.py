"""Every answer has one name: the table of answers, read and named without a server."""

import json
import math
import re
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drifttrigger.api.reasons import Outcome
from drifttrigger.api.v1alpha1 import Reduce
from drifttrigger.clients.http import HttpReply
from drifttrigger.core.observation import (
    LABEL_LENGTH,
    LABELS_PER_SERIES,
    MESSAGE_LENGTH,
    WORST_SERIES,
    Answer,
    Observation,
    Sample,
    clean,
    format_value,
    observe,
    parse_value,
    reduce_values,
)
from drifttrigger.sources.prometheus import parse
from support.answers import Row, answers
from support.builders import rules, tick


def named(reply: HttpReply, **spec: Any) -> Observation:
    return observe(rules(**spec), parse(reply), tick(1))


def reply(body: bytes, *, status: int = 200, **headers: str) -> HttpReply:
    return HttpReply(status, {key.replace("_", "-"): value for key, value in headers.items()}, body)


@pytest.mark.parametrize("row", answers())
def test_an_answer_has_its_name(row: Row) -> None:
    headers = {name.lower(): value for name, value in row.headers.items()}
    row.check(named(HttpReply(row.status, headers, row.body), **row.spec))


# Whatever the bytes are.

NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
SPECS = st.sampled_from([{}, {"reduce": "Max"}, {"reduce": "Sum"}, {"partial_data": "Accept"}])
STATUSES = st.sampled_from([200, 200, 200, 204, 301, 400, 401, 422, 429, 500, 503])
HEADERS = st.dictionaries(
    st.sampled_from(["content-type", "location", "retry-after"]),
    st.one_of(st.text(max_size=8), st.sampled_from(["text/html", "12", "²", "１２", "-1", "1e9"])),
)
VALUES = st.one_of(
    st.sampled_from(["0.3", "NaN", "+Inf", "1e999", "", " 1", "0x1", "٣", "1_0", None, True, 7]),
    st.floats().map(repr),
    st.text(max_size=6),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(),
)
DOCUMENTS = st.fixed_dictionaries(
    {
        "status": st.sampled_from(["success", "success", "success", "error", None]),
        "data": st.fixed_dictionaries(
            {
                "resultType": st.sampled_from(["vector", "vector", "scalar", "matrix", "x"]),
                "result": st.lists(
                    st.fixed_dictionaries(
                        {
                            "metric": st.dictionaries(st.text(max_size=3), st.text(max_size=3)),
                            "value": st.tuples(st.sampled_from([1, 1.5, None, "1"]), VALUES),
                        }
                    ),
                    max_size=3,
                ),
            }
        ),
    },
    optional={
        "warnings": st.lists(st.one_of(st.text(max_size=9), st.just("PromQL x")), max_size=2),
        "isPartial": st.booleans(),
        "errorType": st.one_of(st.text(max_size=5), st.integers()),
        "error": st.one_of(st.text(max_size=5), st.none()),
    },
)


def check_sane(seen: Observation, body: bytes, status: int, spec: dict[str, Any]) -> None:
    """Hold an observation against a reading of the body of our own."""
    assert len(seen.message) <= MESSAGE_LENGTH
    assert seen.message.isprintable()
    assert seen.series is None or len(seen.series.worst) <= WORST_SERIES
    assert (seen.outcome in (Outcome.SCORE, Outcome.INFINITE)) == (seen.score is not None)
    encoded = msgspec.json.encode(seen)
    assert len(encoded) < 64_000
    if seen.outcome is not Outcome.SCORE:
        return
    assert seen.score is not None
    assert math.isfinite(seen.score)
    assert 200 <= status < 300
    document = json.loads(body)
    assert document["status"] == "success"
    result = document["data"]["result"]
    if document["data"]["resultType"] == "scalar":
        result = [{"value": result}]
    texts = [sample["value"][1] for sample in result]
    for text in texts:
        assert not isinstance(text, bool)
        if isinstance(text, str) and text not in ("NaN", "+Inf", "-Inf", "Inf"):
            assert NUMBER.fullmatch(text)
    numbers = [n for n in map(float, texts) if not math.isnan(n)]
    if "reduce" not in spec:
        assert numbers == [seen.score]
    elif spec["reduce"] == "Max":
        assert max(numbers) == seen.score
    else:
        assert math.isclose(sum(numbers), seen.score, rel_tol=1e-6, abs_tol=1e-6)


@given(st.binary(max_size=300), STATUSES, HEADERS, SPECS)
@example(b'{"status":"error"}', 429, {"retry-after": "²"}, {})
@example(b"\xff\xfe", 200, {}, {})
@example(b'{"status":"success","data":{"resultType":"\\ud800","result":[]}}', 200, {}, {})
def test_any_bytes_are_an_answer(
    body: bytes, status: int, headers: dict[str, str], spec: dict[str, Any]
) -> None:
    seen = named(HttpReply(status, headers, body), **spec)
    check_sane(seen, body, status, spec)


@given(DOCUMENTS, STATUSES, HEADERS, SPECS)
def test_any_document_like_an_answer_is_a_score_only_where_the_number_is(
    document: dict[str, Any], status: int, headers: dict[str, str], spec: dict[str, Any]
) -> None:
    body = json.dumps(document).encode(errors="surrogatepass")
    seen = named(HttpReply(status, headers, body), **spec)
    check_sane(seen, body, status, spec)


@given(DOCUMENTS, st.data(), SPECS)
def test_a_broken_answer_is_a_score_only_where_the_number_is(
    document: dict[str, Any], data: st.DataObject, spec: dict[str, Any]
) -> None:
    body = bytearray(json.dumps(document).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body)))
        width = data.draw(st.integers(0, 4))
        body[at : at + width] = data.draw(st.binary(max_size=3))
    seen = named(HttpReply(200, {}, bytes(body)), **spec)
    check_sane(seen, bytes(body), 200, spec)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_reads_back_as_the_same_double(value: float) -> None:
    assert repr(parse_value(format_value(value))) == repr(value + 0.0 if value else value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.2, "0.2"),
        (3.0, "3"),
        (1e-5, "1e-05"),
        (1e21, "1e+21"),
        (-0.0, "-0"),
        (math.nan, "NaN"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
    ],
)
def test_numbers_are_written_as_prometheus_writes_them(value: float, text: str) -> None:
    assert format_value(value) == text


# What an observation keeps.


def vector(*samples: Sample, **fields: Any) -> Answer:
    return Answer(samples=samples, **fields)


@pytest.mark.parametrize(
    ("comparison", "worst"),
    [
        pytest.param("GreaterThan", ["+Inf", "9", "7", "5", "3"], id="greater: the highest first"),
        pytest.param("LessThan", ["-1", "1", "3", "5", "7"], id="less: the lowest first"),
    ],
)
def test_the_worst_five_are_kept_with_their_labels(comparison: str, worst: list[str]) -> None:
    texts = ["1", "NaN", "9", "3", "+Inf", "5", "7", "-1"]
    samples = (Sample({"at": text}, text) for text in texts)
    of = rules(reduce="Max", comparison=comparison, threshold=4.0)
    seen = observe(of, vector(*samples), tick(1))
    assert seen.series is not None
    assert [(s.value, s.labels) for s in seen.series.worst] == [(v, {"at": v}) for v in worst]
    assert seen.series.count == 8
    assert seen.series.breaching == (4 if comparison == "GreaterThan" else 3)


def test_labels_are_bounded_and_printable() -> None:
    labels = {f"label{n:03d}": "x" * 5000 for n in range(100)} | {"a": "b\x1b[31m\nc"}
    seen = observe(rules(), vector(Sample(labels, "1")), tick(1))
    assert seen.series is not None
    kept = seen.series.worst[0].labels
    assert len(kept) == LABELS_PER_SERIES
    assert kept["a"] == "b [31m c"
    assert max(len(value) for value in kept.values()) == LABEL_LENGTH


def test_a_message_is_one_bounded_printable_line() -> None:
    assert clean("a\n\tb\x00  c\u202e") == "a b c"
    assert clean("x" * 600) == "x" * 511 + "…"
    assert clean("x" * 512) == "x" * 512
    assert clean("\x1b]0;title\x07") == "]0;title"


@pytest.mark.parametrize(
    "text", ["\\" * 600, "'" * 600, "é" * 600, '"' * 600], ids=["\\", "'", "é", '"']
)
def test_a_long_value_that_is_no_number_stays_within_bounds(text: str) -> None:
    seen = observe(rules(), vector(Sample({}, text)), tick(1))
    assert seen.outcome is Outcome.MALFORMED
    assert len(seen.message) <= MESSAGE_LENGTH
    assert seen.message.endswith("is no number")


def test_hostile_labels_keep_the_ambiguous_message_within_bounds() -> None:
    labels = {f"label{n}": "x" * 500 for n in range(16)}
    seen = observe(rules(), vector(Sample(labels, "1"), Sample({}, "2")), tick(1))
    assert seen.outcome is Outcome.AMBIGUOUS
    assert seen.message.startswith("the query answered with 2 series")
    assert len(seen.message) <= MESSAGE_LENGTH


def test_warnings_and_infos_are_kept_and_bounded() -> None:
    warnings = tuple(f"PromQL warning {n}" for n in range(8))
    infos = ("PromQL info: " + "x" * 600, "two", "three")
    seen = observe(rules(), vector(Sample({}, "1"), warnings=warnings, infos=infos), tick(1))
    assert seen.warnings[:8] == warnings
    assert len(seen.warnings) == 10
    assert max(map(len, seen.warnings)) == MESSAGE_LENGTH


def test_a_probe_is_marked() -> None:
    assert observe(rules(), vector(Sample({}, "1")), tick(1), is_probe=True).is_probe


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=6), st.randoms(), st.sampled_from(Reduce)
)
def test_the_order_of_series_does_not_change_the_score(
    values: list[float], random: Any, how: Reduce
) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)
    assert reduce_values(how, values) == reduce_values(how, shuffled)
    low, high = min(values), max(values)
    if how not in (Reduce.SUM, Reduce.COUNT):
        assert low <= reduce_values(how, values) <= high or math.isclose(low, high)


@pytest.mark.parametrize(
    ("query", "hint"),
    [
        pytest.param("max(drift) > 0.2", "`bool`", id="a comparison"),
        pytest.param("max(drift) < 0.2", "`bool`", id="the other way"),
        pytest.param("max(drift) >= 0.2", "`bool`", id="at least"),
        pytest.param("max(drift)", "last_over_time", id="a selector"),
        pytest.param('max(drift{job!="a",x=~"b"})', "last_over_time", id="matchers are none"),
    ],
)
def test_no_data_suggests_what_to_do(query: str, hint: str) -> None:
    seen = observe(rules(query=query), vector(), tick(1))
    assert seen.outcome is Outcome.NO_DATA
    assert hint in seen.message
