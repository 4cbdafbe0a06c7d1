"""Durations and instants as the API server writes them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drifttrigger.api.errors import SpecError
from drifttrigger.core.times import (
    format_duration,
    format_instant,
    format_precise,
    parse_duration,
    parse_instant,
)

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
INSTANTS = st.datetimes(timezones=st.just(UTC))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0s", 0),
        ("90s", 90),
        ("1h30m", 5400),
        ("1d", 86400),
        ("2w", 1_209_600),
        ("1w1d1h1m1s", 694_861),
        ("007s", 7),
        ("52000w", 52000 * 604800),
    ],
)
def test_a_duration_is_read(text: str, seconds: int) -> None:
    assert parse_duration(text, field="spec.cooldown") == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("90", id="no unit"),
        pytest.param("1.5h", id="a fraction"),
        pytest.param("30m1h", id="smaller unit first"),
        pytest.param("1h1h", id="a unit twice"),
        pytest.param("100ms", id="milliseconds"),
        pytest.param("1y", id="years"),
        pytest.param("-5m", id="negative"),
        pytest.param(" 5m", id="a blank"),
        pytest.param("5m\n", id="a line end"),
        pytest.param("5M", id="a capital unit"),
        pytest.param("٣s", id="digits of another script"),
        pytest.param("999999999w", id="longer than a thousand years"),
        pytest.param("9999999999s", id="ten digits"),
    ],
)
def test_what_is_no_duration_names_its_field(text: str) -> None:
    with pytest.raises(SpecError, match=r"^spec\.cooldown: ") as caught:
        parse_duration(text, field="spec.cooldown")
    assert caught.value.field == "spec.cooldown"


@given(st.integers(0, 1000 * 365 * 86400))
def test_a_duration_reads_back(seconds: int) -> None:
    duration = timedelta(seconds=seconds)
    assert parse_duration(format_duration(duration), field="x") == duration


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(0), "0s"),
        (timedelta(seconds=-5), "0s"),
        (timedelta(milliseconds=1), "1s"),
        (timedelta(seconds=59, microseconds=1), "1m"),
        (timedelta(days=8, minutes=5), "1w1d5m"),
    ],
)
def test_a_duration_is_written_with_the_fewest_units(duration: timedelta, text: str) -> None:
    assert format_duration(duration) == text


@given(INSTANTS)
def test_an_instant_reads_back_in_whole_seconds(instant: datetime) -> None:
    assert parse_instant(format_instant(instant)) == instant.replace(microsecond=0)


@given(INSTANTS)
def test_a_precise_instant_reads_back_in_milliseconds(instant: datetime) -> None:
    cut = instant.replace(microsecond=instant.microsecond // 1000 * 1000)
    assert parse_instant(format_precise(instant)) == cut


@given(INSTANTS, INSTANTS)
def test_written_instants_sort_as_instants_do(one: datetime, other: datetime) -> None:
    before = one.replace(microsecond=0) < other.replace(microsecond=0)
    assert (format_instant(one) < format_instant(other)) == before


def test_an_instant_is_written_in_utc() -> None:
    east = NOON.astimezone(timezone(timedelta(hours=5, minutes=45)))
    assert format_instant(east) == format_precise(east) == "2026-03-02T12:00:00Z"
    assert format_precise(east.replace(microsecond=120_999)) == "2026-03-02T12:00:00.120Z"


@pytest.mark.parametrize(
    "text",
    ["2026-03-02T12:00:00Z", "2026-03-02T13:00:00+01:00", "2026-03-02T06:30:00.000-05:30"],
)
def test_an_instant_is_read_in_any_zone(text: str) -> None:
    assert parse_instant(text) == NOON
    assert parse_instant(text).tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("now", id="a word"),
        pytest.param("2026-03-02", id="a date"),
        pytest.param("12:00:00Z", id="a time"),
        pytest.param("2026-03-02T12:00:00", id="no offset"),
        pytest.param("2026-03-02 12:00:00Z", id="a blank for the T"),
        pytest.param("2026-02-29T12:00:00Z", id="a day that is none"),
        pytest.param("2026-03-02T25:00:00Z", id="an hour that is none"),
        pytest.param("1772452800", id="seconds since 1970"),
        pytest.param("0001-01-01T00:00:00+01:00", id="before the first year"),
        pytest.param("9999-12-31T23:59:59-01:00", id="after the last year"),
    ],
)
def test_what_is_no_instant_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):
        parse_instant(text)


@given(st.text(max_size=30))
def test_any_text_is_an_instant_or_a_value_error(text: str) -> None:
    try:
        instant = parse_instant(text)
    except ValueError:
        return
    assert instant.tzinfo is UTC
