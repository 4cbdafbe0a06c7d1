"""What one process may do to a cluster: writes a second, Jobs a minute, shared out fairly."""

import asyncio
from collections import Counter

import pytest

from drifttrigger.runtime.budget import Priority, StartRate, WriteBudget
from drifttrigger.runtime.views import Key
from support.clock import FakeClock

Starts = list[tuple[float, str]]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    made = FakeClock()
    monkeypatch.setattr("drifttrigger.runtime.budget.asyncio.sleep", made.sleep)
    return made


async def test_an_intent_never_waits(clock: FakeClock) -> None:
    budget = WriteBudget(clock, per_second=5)
    for _ in range(100):
        await budget.take(Priority.INTENT)
    assert clock.monotonic() == 1000.0


async def test_writes_keep_to_the_rate(clock: FakeClock) -> None:
    budget = WriteBudget(clock, per_second=20)
    for _ in range(120):
        await budget.take(Priority.OUTCOME)
    assert clock.monotonic() - 1000.0 == pytest.approx(5.0, abs=0.3)


async def test_what_intents_took_the_others_wait_for(clock: FakeClock) -> None:
    budget = WriteBudget(clock, per_second=10)
    for _ in range(30):
        await budget.take(Priority.INTENT)
    await budget.take(Priority.OUTCOME)
    assert clock.monotonic() - 1000.0 == pytest.approx(2.1, abs=0.2)


async def test_the_more_urgent_write_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, done = FakeClock(), list[str]()
    monkeypatch.setattr("drifttrigger.runtime.budget.asyncio.sleep", FakeClock().sleep)
    budget = WriteBudget(clock, per_second=1)
    await budget.take(Priority.OUTCOME)

    async def write(name: str, priority: Priority) -> None:
        await budget.take(priority)
        done.append(name)

    async with asyncio.TaskGroup() as group:
        for name, priority in [
            ("heartbeat", Priority.HEARTBEAT),
            ("outcome 1", Priority.OUTCOME),
            ("outcome 2", Priority.OUTCOME),
            ("spec error", Priority.SPEC_ERROR),
        ]:
            group.create_task(write(name, priority))
        for count in range(5):
            await clock.settle()
            assert len(done) == count
            clock.move(1)
    assert done == ["spec error", "outcome 1", "outcome 2", "heartbeat"]


async def test_a_write_that_is_given_up_holds_nobody_up(clock: FakeClock) -> None:
    budget = WriteBudget(clock, per_second=1)
    await budget.take(Priority.OUTCOME)
    first = asyncio.create_task(budget.take(Priority.SPEC_ERROR))
    second = asyncio.create_task(budget.take(Priority.OUTCOME))
    first.cancel()
    await second
    assert first.cancelled()


async def test_heartbeats_keep_to_their_own_rate(clock: FakeClock) -> None:
    budget = WriteBudget(clock, per_second=20, heartbeats_per_second=3)
    taken = 0
    for _ in range(1000):
        clock.move(0.01)
        taken += budget.take_heartbeat()
    assert 28 <= taken <= 34


async def test_a_crowd_of_intents_keeps_the_others_waiting_for_seconds_not_minutes(
    clock: FakeClock,
) -> None:
    budget = WriteBudget(clock, per_second=10)
    for _ in range(3000):
        await budget.take(Priority.INTENT)
    await budget.take(Priority.OUTCOME)
    assert clock.monotonic() - 1000.0 == pytest.approx(10.1, abs=0.2)


async def test_what_others_wait_to_hear_goes_first_but_keeps_to_the_budget(
    clock: FakeClock,
) -> None:
    budget = WriteBudget(clock, per_second=10)
    taken = 0
    for _ in range(100):
        clock.move(0.1)
        taken += sum(budget.take_early() for _ in range(5))
    assert 100 <= taken <= 130


async def test_heartbeats_yield_to_whatever_waits(clock: FakeClock) -> None:
    budget = WriteBudget(clock, per_second=2)
    for _ in range(4):
        await budget.take(Priority.INTENT)
    assert not budget.take_heartbeat()


# Jobs a minute.


def keys(namespace: str, count: int) -> list[Key]:
    return [(namespace, str(n)) for n in range(count)]


def starts(rate: StartRate, clock: FakeClock, due: dict[Key, float], *, until: float) -> Starts:
    """Ask for each key when it is told to, until all have started; return who started when."""
    found: Starts = []
    while due and clock.monotonic() < 1000 + until:
        key = min(due, key=lambda k: due[k])
        clock.move(max(0.0, 1000 + due[key] - clock.monotonic()))
        wait = rate.wait_seconds(key)
        if wait:
            due[key] = clock.monotonic() - 1000 + wait
        else:
            found.append((clock.monotonic() - 1000, key[0]))
            del due[key]
    return found


def test_at_most_so_many_jobs_start_in_any_minute_and_none_is_forgotten() -> None:
    clock = FakeClock()
    found = starts(
        StartRate(clock, per_minute=20), clock, dict.fromkeys(keys("a", 100), 0.0), until=900
    )
    assert len(found) == 100
    for at, _ in found:
        assert sum(at <= other < at + 60 for other, _ in found) <= 20


def test_who_waits_is_told_when_to_ask_again() -> None:
    clock = FakeClock()
    rate = StartRate(clock, per_minute=1)
    assert rate.wait_seconds(("a", "1")) == 0
    clock.move(20)
    assert rate.wait_seconds(("a", "2")) == pytest.approx(40, abs=1)
    clock.move(40)
    assert rate.wait_seconds(("a", "2")) == 0


def test_a_start_counts_from_the_moment_that_its_job_is_there() -> None:
    clock = FakeClock()
    rate = StartRate(clock, per_minute=1)
    assert rate.wait_seconds(("a", "1")) == 0
    clock.move(14)
    rate.started(("a", "1"))
    clock.move(46)
    assert rate.wait_seconds(("a", "2")) == pytest.approx(14)


def test_who_has_leave_and_asks_again_takes_no_second_place() -> None:
    clock = FakeClock()
    rate = StartRate(clock, per_minute=2)
    assert [rate.wait_seconds(("a", "1")) for _ in range(3)] == [0, 0, 0]
    assert rate.wait_seconds(("a", "2")) == 0
    assert rate.wait_seconds(("a", "3")) > 0


def test_a_quiet_namespace_does_not_wait_behind_a_loud_one() -> None:
    clock = FakeClock()
    due = dict.fromkeys(keys("loud", 300), 0.0) | dict.fromkeys(keys("quiet", 5), 30.0)
    found = starts(StartRate(clock, per_minute=20), clock, due, until=3600)
    quiet = [at for at, namespace in found if namespace == "quiet"]
    assert len(quiet) == 5
    assert max(quiet) < 300
    assert len(found) == 305


def test_starts_are_shared_out_evenly_while_they_are_scarce() -> None:
    clock = FakeClock()
    due = {key: 0.0 for namespace in "abc" for key in keys(namespace, 40)}
    found = starts(StartRate(clock, per_minute=12), clock, due, until=300)
    # At the first instant nobody but the first to ask is known.
    shares = Counter(namespace for at, namespace in found if at >= 60)
    assert sum(shares.values()) >= 36
    assert max(shares.values()) - min(shares.values()) <= 2
