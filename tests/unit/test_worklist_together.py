"""Keys of one lane that are due at once are passed over together, where that is as good."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import pytest

from drifttrigger.runtime.views import Key
from drifttrigger.runtime.worklist import Worklist
from support.clock import FakeClock

settle = FakeClock.settle


class Crowd:
    """Keys whose lane is the first letter of their name; capital ones want a pass of their own.

    Attributes:
        alone: Passes of their own, in order.
        together: Groups, in order.
        again: When each is due again; absent for never.
        gate: Passes and groups end once it is open.
    """

    def __init__(self, *, concurrency: int = 1000, width: int = 1000) -> None:
        self.clock = FakeClock()
        self.alone: list[str] = []
        self.together: list[list[str]] = []
        self.again: dict[str, float] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.running: set[str] = set()
        self.defect: Exception | None = None
        self.work = Worklist(
            self._pass,
            self.clock,
            concurrency=concurrency,
            lane_of=lambda key: key[1][0].lower(),
            lane_width=width,
            together=self,
        )

    def suits(self, key: Key) -> bool:
        return key[1].islower()

    async def look(self, keys: Sequence[Key]) -> list[float | None]:
        names = [name for _, name in keys]
        self.together.append(names)
        await self._work(names)
        if self.defect is not None:
            raise self.defect
        return [self.again.get(name) for name in names]

    async def _pass(self, key: Key) -> float | None:
        self.alone.append(key[1])
        await self._work([key[1]])
        return self.again.get(key[1])

    async def _work(self, names: list[str]) -> None:
        assert not self.running & set(names), "one pass at a time"
        self.running |= set(names)
        await self.gate.wait()
        self.running -= set(names)

    async def wake(self, *names: str, at: float | None = None) -> None:
        for name in names:
            self.work.wake(("ns", name), at=at)
        await settle()

    async def move(self, seconds: float) -> None:
        self.clock.move(seconds)
        self.work._changed.set()
        await settle()

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator["Crowd"]:
        task = asyncio.create_task(self.work.run())
        try:
            yield self
        finally:
            self.gate.set()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def test_those_of_one_lane_go_together_and_others_alone() -> None:
    async with Crowd().at_work() as crowd:
        await crowd.wake("a1", "b1", "a2", "A3", "b2", "c1")
        assert sorted(map(sorted, crowd.together)) == [["a1", "a2"], ["b1", "b2"]]
        assert sorted(crowd.alone) == ["A3", "c1"], "one that is by itself needs no group"


async def test_a_group_is_no_larger_than_a_request() -> None:
    async with Crowd().at_work() as crowd:
        await crowd.wake(*(f"a{n}" for n in range(450)))
        assert [len(group) for group in crowd.together] == [200, 200, 50]
        assert len({name for group in crowd.together for name in group}) == 450


@pytest.mark.parametrize(("concurrency", "width"), [(3, 1000), (1000, 3)])
async def test_a_group_takes_a_place_for_each(concurrency: int, width: int) -> None:
    async with Crowd(concurrency=concurrency, width=width).at_work() as crowd:
        crowd.gate.clear()
        await crowd.wake(*(f"a{n}" for n in range(5)))
        assert [len(group) for group in crowd.together] == [3]
        crowd.gate.set()
        await settle()
        assert [len(group) for group in crowd.together] == [3, 2]


async def test_each_is_due_again_when_it_says() -> None:
    async with Crowd().at_work() as crowd:
        start = crowd.clock.monotonic()
        crowd.again = {"a1": start + 5, "a2": start + 5, "a3": start + 9}
        await crowd.wake("a1", "a2", "a3", "a4")
        crowd.again = {}
        await crowd.move(5)
        await crowd.move(5)
        assert list(map(sorted, crowd.together)) == [["a1", "a2", "a3", "a4"], ["a1", "a2"]]
        assert crowd.alone == ["a3"]
        assert len(crowd.work) == 0


async def test_one_that_is_woken_while_its_group_runs_is_passed_again() -> None:
    async with Crowd().at_work() as crowd:
        crowd.gate.clear()
        await crowd.wake("a1", "a2")
        await crowd.wake("a1")
        await crowd.wake("a1", "a1")
        assert crowd.alone == []
        crowd.gate.set()
        await settle()
        assert crowd.alone == ["a1"]


async def test_one_that_is_dropped_while_its_group_runs_is_let_finish() -> None:
    async with Crowd().at_work() as crowd:
        crowd.gate.clear()
        await crowd.wake("a1", "a2")
        crowd.work.drop(("ns", "a1"))
        crowd.gate.set()
        await settle()
        assert crowd.together == [["a1", "a2"]]
        assert len(crowd.work) == 0


async def test_a_defect_in_a_group_ends_the_run_with_its_error() -> None:
    crowd = Crowd()
    crowd.defect = RuntimeError("a defect")
    task = asyncio.create_task(crowd.work.run())
    crowd.work.wake(("ns", "a1"))
    crowd.work.wake(("ns", "a2"))
    with pytest.raises(RuntimeError, match="a defect"):
        await task
