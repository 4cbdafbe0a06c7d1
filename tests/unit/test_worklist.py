"""One timer for all objects: what is due is passed over, one pass at a time for each key."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from drifttrigger.runtime.views import Key
from drifttrigger.runtime.worklist import Worklist
from support.clock import FakeClock

settle = FakeClock.settle

A, B, C = ("ns", "a"), ("ns", "b"), ("ns", "c")
Handler = Callable[[Key], Awaitable[float | None]]


@asynccontextmanager
async def running(work: Worklist) -> AsyncIterator[None]:
    task = asyncio.create_task(work.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def recorder(seen: list[Key]) -> Handler:
    async def handler(key: Key) -> float | None:
        seen.append(key)
        return None

    return handler


async def test_what_is_due_is_passed_over_in_order() -> None:
    clock, seen = FakeClock(), list[Key]()
    work = Worklist(recorder(seen), clock, concurrency=1)
    work.wake(B, at=990)
    work.wake(A, at=980)
    work.wake(C, at=2000)
    async with running(work):
        await settle()
    assert seen == [A, B]
    assert len(work) == 1


async def test_the_earlier_of_two_wishes_counts() -> None:
    clock, seen = FakeClock(), list[Key]()
    work = Worklist(recorder(seen), clock, concurrency=1)
    work.wake(A, at=5000)
    work.wake(A)
    work.wake(A, at=6000)
    async with running(work):
        await settle()
    assert seen == [A]


async def test_a_key_that_is_woken_while_it_runs_is_passed_again_and_never_twice_at_once() -> None:
    clock, gate, under_way = FakeClock(), asyncio.Event(), 0
    passes = 0

    async def handler(_: Key) -> float | None:
        nonlocal under_way, passes
        under_way += 1
        passes += 1
        assert under_way == 1
        await gate.wait()
        under_way -= 1
        return None

    work = Worklist(handler, clock, concurrency=8)
    async with running(work):
        work.wake(A)
        await settle()
        work.wake(A)
        work.wake(A)
        await settle()
        assert passes == 1
        gate.set()
        await settle()
    assert passes == 2


async def test_a_running_key_does_not_hold_others_up() -> None:
    clock, gate, seen = FakeClock(), asyncio.Event(), list[Key]()

    async def handler(key: Key) -> float | None:
        seen.append(key)
        if key == A:
            await gate.wait()
        return None

    work = Worklist(handler, clock, concurrency=2)
    async with running(work):
        work.wake(A)
        await settle()
        work.wake(A)
        work.wake(B)
        await settle()
        assert seen == [A, B]
        gate.set()


async def test_no_more_passes_run_at_once_than_allowed() -> None:
    clock, gate, seen = FakeClock(), asyncio.Event(), list[Key]()

    async def handler(key: Key) -> float | None:
        seen.append(key)
        await gate.wait()
        return None

    work = Worklist(handler, clock, concurrency=3)
    async with running(work):
        for n in range(10):
            work.wake(("ns", str(n)))
        await settle()
        assert len(seen) == 3
        gate.set()
        await settle()
        assert len(seen) == 10


async def test_a_pass_says_when_the_next_one_is() -> None:
    clock, times = FakeClock(), list[float]()

    async def handler(_: Key) -> float | None:
        times.append(clock.monotonic())
        return clock.monotonic() + 30 if len(times) < 3 else None

    work = Worklist(handler, clock, concurrency=1)
    async with running(work):
        work.wake(A)
        await settle()
        for _ in range(5):
            clock.move(30)
            work.wake(B, at=1e9)  # anything that makes it look at the clock again
            work.drop(B)
            await settle()
    assert times == [1000.0, 1030.0, 1060.0]


async def test_a_dropped_key_is_forgotten() -> None:
    clock, seen = FakeClock(), list[Key]()
    work = Worklist(recorder(seen), clock, concurrency=1)
    work.wake(A)
    work.drop(A)
    async with running(work):
        await settle()
    assert seen == []
    assert len(work) == 0


async def test_lateness_is_that_of_the_most_overdue() -> None:
    clock = FakeClock()
    work = Worklist(recorder([]), clock, concurrency=1)
    assert work.lateness_seconds() == 0
    work.wake(A, at=1001)
    work.wake(B, at=1004)
    clock.move(10)
    assert work.lateness_seconds() == 9
    work.drop(A)
    assert work.lateness_seconds() == 6


async def test_a_defect_ends_the_run_with_its_error() -> None:
    async def handler(_: Key) -> float | None:
        raise KeyError("a defect")

    work = Worklist(handler, FakeClock(), concurrency=1)
    work.wake(A)
    with pytest.raises(KeyError, match="a defect"):
        await work.run()


async def test_a_stop_lets_the_passes_under_way_finish() -> None:
    gate, finished = asyncio.Event(), list[Key]()

    async def handler(key: Key) -> float | None:
        await gate.wait()
        finished.append(key)
        return None

    work = Worklist(handler, FakeClock(), concurrency=2)
    task = asyncio.create_task(work.run())
    work.wake(A)
    await settle()
    task.cancel()
    await settle()
    assert not task.done()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert finished == [A]
