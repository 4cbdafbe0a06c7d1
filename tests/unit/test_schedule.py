"""Ticks: wall-clock aligned, the same after a restart, each nominal time once."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drifttrigger.api.errors import SpecError
from drifttrigger.core.schedule import (
    CronSchedule,
    IntervalSchedule,
    Schedule,
    cron_schedule,
    phase,
)
from support.builders import UID, rules

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
INSTANTS = st.integers(0, 15 * 365 * 86_400_000).map(
    lambda ms: datetime(2020, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
)
SECONDS = st.integers(1, 30 * 86400)
ZONES = st.sampled_from(
    [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "Asia/Kolkata",
        "America/Santiago",
        "Africa/Casablanca",
        "Asia/Beirut",
        "Pacific/Apia",
    ]
)
MINUTES = st.sampled_from(["0", "30", "15", "59", "0,30", "1-5", "*/10", "*", "7-59/20"])
HOURS = st.sampled_from(["0", "1", "2", "3", "2,3", "1-4", "23", "*/2", "*", "*/7"])
DAYS = st.sampled_from(["* * *", "* * *", "* * SUN", "1 * *", "L * *", "* 3,10,11 *", "*/5 * MON"])
CRONS = st.builds("{} {} {}".format, MINUTES, HOURS, DAYS)


def local(zone: str, text: str, *, fold: int = 0) -> datetime:
    """Return the UTC instant of a local time; fold 1 is the second of two."""
    naive = datetime.fromisoformat(text)
    return naive.replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)


def ticks(schedule: Schedule, start: datetime, end: datetime) -> list[datetime]:
    """Iterate `following` from start to end."""
    found: list[datetime] = []
    at: datetime | None = start
    while (at := schedule.following(at)) is not None and at < end:
        assert not found or at > found[-1], "time stands still"
        found.append(at)
    return found


# Intervals.


@given(SECONDS, INSTANTS, st.uuids().map(str))
def test_a_tick_is_at_a_multiple_of_the_interval_plus_the_phase(
    seconds: int, now: datetime, uid: str
) -> None:
    interval = timedelta(seconds=seconds)
    schedule = IntervalSchedule(interval, phase(uid, interval))
    latest, following = schedule.latest(now), schedule.following(now)
    assert latest <= now < following
    assert following - latest == interval == schedule.shortest_wait()
    assert (latest - EPOCH - schedule.phase) % interval == timedelta(0)
    assert latest.microsecond == 0


@given(SECONDS, INSTANTS)
def test_the_tick_that_follows_is_then_the_latest(seconds: int, now: datetime) -> None:
    schedule = IntervalSchedule(timedelta(seconds=seconds), timedelta(seconds=seconds // 3))
    following = schedule.following(now)
    assert schedule.latest(following) == following
    assert schedule.latest(following - timedelta(microseconds=1)) == schedule.latest(now)


@given(SECONDS, st.uuids().map(str))
def test_a_phase_is_whole_seconds_within_the_interval(seconds: int, uid: str) -> None:
    interval = timedelta(seconds=seconds)
    found = phase(uid, interval)
    assert timedelta(0) <= found < interval
    assert found.microseconds == 0
    assert found == phase(uid, interval)


def test_phases_spread_over_the_interval() -> None:
    uids = [f"00000000-0000-0000-0000-{n:012d}" for n in range(3000)]
    found = [phase(uid, timedelta(minutes=5)).seconds for uid in uids]
    assert len(set(found)) == 300
    assert all(sum(a <= f < a + 60 for f in found) in range(500, 700) for a in range(0, 300, 60))


def test_without_a_uid_the_phase_is_zero() -> None:
    assert phase("", timedelta(days=1)) == timedelta(0)


def test_a_trigger_without_interval_or_schedule_is_asked_every_five_minutes() -> None:
    schedule = rules(uid=UID).schedule
    assert isinstance(schedule, IntervalSchedule)
    assert schedule == IntervalSchedule(timedelta(minutes=5), phase(UID, timedelta(minutes=5)))


# Cron.


@given(CRONS, ZONES, INSTANTS)
@example("30 2 * * *", "Europe/Berlin", local("Europe/Berlin", "2026-10-25T02:10", fold=1))
@example("30 2 * * *", "Europe/Berlin", local("Europe/Berlin", "2026-10-25T02:30", fold=1))
@example("0 3 * * *", "Europe/Berlin", local("Europe/Berlin", "2026-10-25T02:59", fold=1))
@example("30 2 * * *", "Europe/Berlin", local("Europe/Berlin", "2026-03-29T03:00"))
@example("45 1 * * *", "Australia/Lord_Howe", local("Australia/Lord_Howe", "2026-04-05T01:40"))
@example("15 2 * * *", "Australia/Lord_Howe", local("Australia/Lord_Howe", "2026-10-04T02:30"))
@example("30 0 * * *", "Asia/Beirut", local("Asia/Beirut", "2026-03-29T01:00"))
def test_latest_and_following_agree(expression: str, zone: str, now: datetime) -> None:
    schedule = CronSchedule(expression, zone)
    latest, following = schedule.latest(now), schedule.following(now)
    assert latest is not None
    assert following is not None
    assert latest <= now < following
    assert schedule.latest(following) == following
    assert schedule.latest(following - timedelta(microseconds=1)) == latest
    assert schedule.following(latest) == following


TRANSITIONS = [
    ("Europe/Berlin", "2026-03-29T00:00"),
    ("Europe/Berlin", "2026-10-25T00:00"),
    ("America/New_York", "2026-03-08T00:00"),
    ("America/New_York", "2026-11-01T00:00"),
    ("Australia/Lord_Howe", "2026-04-05T00:00"),
    ("Australia/Lord_Howe", "2026-10-04T00:00"),
    ("UTC", "2026-03-29T00:00"),
]


@pytest.mark.parametrize(("zone", "day"), TRANSITIONS)
@pytest.mark.parametrize(
    "expression",
    ["30 2 * * *", "0 2 * * *", "0 3 * * *", "15 1 * * *", "45 1 * * *", "0,30 1-3 * * *"],
)
@pytest.mark.parametrize("minutes", [7, 20])
def test_latest_says_what_iterating_following_says(
    zone: str, day: str, expression: str, minutes: int
) -> None:
    schedule = CronSchedule(expression, zone)
    start = local(zone, day) - timedelta(days=1)
    end = start + timedelta(days=3)
    seen = ticks(schedule, start - timedelta(days=2), end)
    now = start
    while now < end:
        assert schedule.latest(now) == max(tick for tick in seen if tick <= now)
        now += timedelta(minutes=minutes)


@pytest.mark.parametrize(("zone", "day"), TRANSITIONS)
@pytest.mark.parametrize(
    ("expression", "a_day"),
    [
        pytest.param("30 2 * * *", 1, id="half past two"),
        pytest.param("15 2 * * *", 1, id="a quarter past two"),
        pytest.param("45 1 * * *", 1, id="a quarter to two"),
        pytest.param("0 3 * * *", 1, id="three"),
        pytest.param("30 1 * * *", 1, id="half past one"),
        pytest.param("0 0 * * *", 1, id="midnight"),
        pytest.param("30 12 * * *", 1, id="noon"),
    ],
)
def test_each_nominal_time_comes_once_a_day(
    zone: str, day: str, expression: str, a_day: int
) -> None:
    start = local(zone, day) - timedelta(days=2)
    found = ticks(CronSchedule(expression, zone), start, start + timedelta(days=5, hours=3))
    dates = [tick.astimezone(ZoneInfo(zone)).date() for tick in found]
    whole = [date for date in dates if date < dates[-1]]
    assert len(set(whole)) == len(whole) * a_day
    assert all(later - earlier == timedelta(days=1) for earlier, later in pairwise(whole))


@pytest.mark.parametrize(
    ("zone", "expression", "after", "expected"),
    [
        pytest.param(
            "Europe/Berlin",
            "30 2 * * *",
            "2026-03-28T12:00",
            ["2026-03-29T01:00Z", "2026-03-30T00:30Z"],
            id="what the spring skips comes right after",
        ),
        pytest.param(
            "Europe/Berlin",
            "30 2 * * *",
            "2026-10-24T12:00",
            ["2026-10-25T00:30Z", "2026-10-26T01:30Z"],
            id="what the autumn repeats comes the first time",
        ),
        pytest.param(
            "America/New_York",
            "30 2 * * *",
            "2026-03-07T12:00",
            ["2026-03-08T07:00Z", "2026-03-09T06:30Z"],
            id="New York, spring",
        ),
        pytest.param(
            "America/New_York",
            "30 1 * * *",
            "2026-10-31T12:00",
            ["2026-11-01T05:30Z", "2026-11-02T06:30Z"],
            id="New York, autumn",
        ),
        pytest.param(
            "Australia/Lord_Howe",
            "15 2 * * *",
            "2026-10-03T12:00",
            ["2026-10-03T15:30Z", "2026-10-04T15:15Z"],
            id="Lord Howe moves by half an hour, spring",
        ),
        pytest.param(
            "Australia/Lord_Howe",
            "45 1 * * *",
            "2026-04-04T12:00",
            ["2026-04-04T14:45Z", "2026-04-05T15:15Z"],
            id="Lord Howe, autumn",
        ),
        pytest.param(
            "Asia/Kolkata",
            "0 9 * * *",
            "2026-01-01T12:00",
            ["2026-01-02T03:30Z", "2026-01-03T03:30Z"],
            id="a zone of half hours",
        ),
    ],
)
def test_daylight_saving_is_honoured(
    zone: str, expression: str, after: str, expected: list[str]
) -> None:
    start = local(zone, after)
    found = ticks(CronSchedule(expression, zone), start, start + timedelta(days=2))
    assert found[:2] == [datetime.fromisoformat(text) for text in expected]


@pytest.mark.parametrize(("zone", "day"), TRANSITIONS)
@pytest.mark.parametrize(
    "expression", ["*/30 * * * *", "*/10 2 * * *", "0 */2 * * *", "* 1-3 * * *"]
)
def test_a_wildcard_repeats_no_nominal_time_either(zone: str, day: str, expression: str) -> None:
    start = local(zone, day)
    found = ticks(CronSchedule(expression, zone), start, start + timedelta(hours=23))
    nominal = [tick.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for tick in found]
    assert sorted(set(nominal)) == nominal


def test_cron_knows_nothing_shorter_than_a_minute() -> None:
    assert CronSchedule("* * * * *").shortest_wait() == timedelta(minutes=1)


@pytest.mark.parametrize(
    ("expression", "zone", "field"),
    [
        pytest.param("", "UTC", "spec.schedule", id="empty"),
        pytest.param("* * * *", "UTC", "spec.schedule", id="four fields"),
        pytest.param("0 * * * * *", "UTC", "spec.schedule", id="six fields"),
        pytest.param("@daily", "UTC", "spec.schedule", id="a nickname"),
        pytest.param("60 * * * *", "UTC", "spec.schedule", id="minute 60"),
        pytest.param("0 24 * * *", "UTC", "spec.schedule", id="hour 24"),
        pytest.param("0 0 0 * *", "UTC", "spec.schedule", id="day 0"),
        pytest.param("0 0 * 13 *", "UTC", "spec.schedule", id="month 13"),
        pytest.param("0 0 * * MUN", "UTC", "spec.schedule", id="a day that is none"),
        pytest.param("5-1 * * * *", "UTC", "spec.schedule", id="a range backwards"),
        pytest.param("*/0 * * * *", "UTC", "spec.schedule", id="a step of zero"),
        pytest.param("a b c d e", "UTC", "spec.schedule", id="words"),
        pytest.param("0 0 30 2 *", "UTC", "spec.schedule", id="30 February"),
        pytest.param(
            "0 0 */31 * 0#2", "UTC", "spec.schedule", id="a first that is a second Sunday"
        ),
        pytest.param("0 0 L/x * *", "UTC", "spec.schedule", id="a step that is none"),
        pytest.param("0 0 * * L", "UTC", "spec.schedule", id="a last without a day"),
        pytest.param("0 0 L-3 * *", "UTC", "spec.schedule", id="three before the last"),
        pytest.param("0 0 1/L * *", "UTC", "spec.schedule", id="a step of last"),
        pytest.param("0 0 * * 1#2/2", "UTC", "spec.schedule", id="a step of the second Monday"),
        pytest.param("0 0 * * 1L/2", "UTC", "spec.schedule", id="a step of the last Monday"),
        pytest.param("٣ 0 * * *", "UTC", "spec.schedule", id="digits of another script"),
        pytest.param("0 0 * * *", "Mars/Olympus", "spec.timeZone", id="a zone that is none"),
        pytest.param("0 0 * * *", "Europe", "spec.timeZone", id="a continent"),
        pytest.param("0 0 * * *", "../../etc/passwd", "spec.timeZone", id="a path"),
        pytest.param("0 0 * * *", "/etc/localtime", "spec.timeZone", id="an absolute path"),
        pytest.param("0 0 * * *", "a\x00b", "spec.timeZone", id="a zero"),
    ],
)
def test_what_can_not_be_used_names_its_field(expression: str, zone: str, field: str) -> None:
    with pytest.raises(SpecError) as caught:
        cron_schedule(expression, zone)
    assert caught.value.field == field


@given(st.text("0123456789*/,-#LW SUNMOFR", max_size=20))
def test_any_expression_is_a_schedule_or_a_spec_error(expression: str) -> None:
    try:
        schedule = cron_schedule(expression, "UTC")
    except SpecError:
        return
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert schedule.following(now) is not None
    assert schedule.latest(now) is not None


@pytest.mark.parametrize(
    "expression", ["0 0 29 2 *", "0 0 L * *", "0 9 * * MON-FRI", "0 0 * * 1#2", "5 4 LW * *"]
)
def test_schedules_that_come_seldom_are_schedules(expression: str) -> None:
    schedule = cron_schedule(expression, "Europe/Berlin")
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert schedule.following(now) is not None
    assert schedule.latest(now) is not None
