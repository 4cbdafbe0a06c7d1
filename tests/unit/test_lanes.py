"""Lanes of a worklist: a full one keeps its own keys waiting, in order, and nobody else's."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from drifttrigger.runtime.views import Key
from drifttrigger.runtime.worklist import Worklist
from support.clock import FakeClock

settle = FakeClock.settle


def key(name: str) -> Key:
    return ("ns", name)


class Crowd:
    """Keys whose lane is the first letter of their name, and passes that end when told to.

    Attributes:
        running: Passes under way.
        started: Every pass, in order.
        moved: Keys that have another lane by now.
    """

    def __init__(self, *, concurrency: int = 100, width: int = 1) -> None:
        self.clock = FakeClock()
        self.running: dict[Key, asyncio.Future[float | None]] = {}
        self.lanes: dict[Key, str] = {}
        self.started: list[str] = []
        self.moved: dict[Key, str] = {}
        self.work = Worklist(
            self._pass,
            self.clock,
            concurrency=concurrency,
            lane_of=self.lane_of,
            lane_width=width,
        )

    def lane_of(self, key: Key) -> str:
        return self.moved.get(key, key[1][0])

    async def _pass(self, key: Key) -> float | None:
        assert key not in self.running, "one pass at a time"
        self.lanes[key] = self.lane_of(key)
        self.running[key] = asyncio.get_running_loop().create_future()
        self.started.append(key[1])
        return await self.running[key]

    async def wake(self, *names: str, at: float | None = None) -> None:
        """Make keys due, each a moment after the other, and see what starts."""
        for name in names:
            self.clock.move(0.001)
            self.work.wake(key(name), at=at)
        await settle()

    async def finish(self, *names: str, again: float | None = None) -> None:
        """End passes, and see what starts."""
        for name in names:
            self.running.pop(key(name)).set_result(again)
        await settle()

    async def move(self, seconds: float) -> None:
        """Let time pass, and let the worklist notice."""
        self.clock.move(seconds)
        self.work._changed.set()
        await settle()

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator["Crowd"]:
        task = asyncio.create_task(self.work.run())
        try:
            yield self
        finally:
            for waiting in self.running.values():
                waiting.set_result(None)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def test_a_full_lane_delays_nobody_elses_keys() -> None:
    async with Crowd(width=2).at_work() as crowd:
        await crowd.wake("s1", "s2", "s3", "s4", "f1", "f2")
        assert crowd.started == ["s1", "s2", "f1", "f2"]
        await crowd.finish("f1", "f2")
        await crowd.wake("f3", "f1")
        assert crowd.started[4:] == ["f3", "f1"]


async def test_keys_without_lanes_of_their_own_share_one_as_wide_as_all() -> None:
    clock, gate, seen = FakeClock(), asyncio.Event(), list[Key]()

    async def handler(key: Key) -> float | None:
        seen.append(key)
        await gate.wait()
        return None

    work = Worklist(handler, clock, concurrency=3)
    task = asyncio.create_task(work.run())
    for name in "abcde":
        work.wake(key(name))
    await settle()
    assert len(seen) == 3
    gate.set()
    await settle()
    assert len(seen) == 5
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_who_waits_for_a_place_is_started_in_order() -> None:
    async with Crowd(width=2).at_work() as crowd:
        names = [f"s{n}" for n in range(9)]
        await crowd.wake(*names)
        while crowd.running:
            await crowd.finish(crowd.started[-1])
            if len(crowd.started) == len(names):
                await crowd.finish(*(name for _, name in list(crowd.running)))
        assert crowd.started == names


async def test_who_has_waited_goes_before_who_comes_when_a_place_is_free() -> None:
    async with Crowd().at_work() as crowd:
        await crowd.wake("s1", "s2", "s3")
        crowd.clock.move(1)
        crowd.running.pop(key("s1")).set_result(None)
        crowd.work.wake(key("s4"))
        await settle()
        assert crowd.started == ["s1", "s2"]
        await crowd.finish("s2")
        await crowd.finish("s3")
        assert crowd.started == ["s1", "s2", "s3", "s4"]


async def test_one_that_is_dropped_while_it_waits_gives_its_place_to_the_next() -> None:
    async with Crowd().at_work() as crowd:
        await crowd.wake("s1", "s2", "s3")
        crowd.work.drop(key("s2"))
        await crowd.finish("s1")
        assert crowd.started == ["s1", "s3"]


async def test_one_that_is_dropped_and_comes_back_later_keeps_nobody_waiting() -> None:
    async with Crowd().at_work() as crowd:
        await crowd.wake("s1", "s2", "s3")
        crowd.work.drop(key("s2"))
        await crowd.wake("s2", at=crowd.clock.monotonic() + 60)
        await crowd.finish("s1")
        assert crowd.started == ["s1", "s3"]
        await crowd.finish("s3")
        await crowd.move(61)
        assert crowd.started == ["s1", "s3", "s2"]


async def test_one_that_is_dropped_and_woken_again_runs_once() -> None:
    async with Crowd().at_work() as crowd:
        await crowd.wake("s1", "s2", "s3")
        crowd.work.drop(key("s2"))
        await crowd.wake("s2")
        for _ in range(3):
            await crowd.finish(crowd.started[-1])
        assert sorted(crowd.started) == ["s1", "s2", "s3"]
        assert len(crowd.work) == 0


async def test_one_that_gets_another_lane_while_it_waits_is_started_there() -> None:
    async with Crowd().at_work() as crowd:
        await crowd.wake("s1", "s2", "s3")
        crowd.moved[key("s2")] = "f"
        await crowd.wake("s2")
        assert crowd.started == ["s1", "s2"], "a slow server holds up nobody who has left it"
        await crowd.finish("s1")
        assert crowd.started == ["s1", "s2", "s3"]


async def test_one_that_has_left_its_lane_unseen_keeps_nobody_waiting() -> None:
    async with Crowd().at_work() as crowd:
        await crowd.wake("s1", "s2", "s3")
        crowd.moved[key("s2")] = "f"
        await crowd.finish("s1")
        assert sorted(crowd.started) == ["s1", "s2", "s3"]


async def test_lateness_counts_who_waits_for_a_place() -> None:
    async with Crowd().at_work() as crowd:
        await crowd.wake("s1", "s2", "s3")
        since = crowd.clock.monotonic()
        crowd.clock.move(7)
        assert 7 <= crowd.work.lateness_seconds() <= crowd.clock.monotonic() - since + 0.01
        crowd.work.drop(key("s2"))
        assert crowd.work.lateness_seconds() >= 7, "the next one waits as long"
        await crowd.finish("s1")
        assert crowd.work.lateness_seconds() == 0


NAMES = st.sampled_from(["s1", "s2", "s3", "s4", "f1", "f2"])
ACTIONS = st.one_of(
    st.tuples(st.just("wake"), NAMES),
    st.tuples(st.just("later"), NAMES),
    st.tuples(st.just("drop"), NAMES),
    st.tuples(st.just("edit"), NAMES),
    st.tuples(st.just("finish"), NAMES),
    st.tuples(st.just("finish and wake"), NAMES),
    st.tuples(st.just("tick"), NAMES),
)


class Model:
    """What is due, by the plainest means: a dictionary."""

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd
        self.due: dict[Key, float] = {}
        self.seen = 0

    def wish(self, key: Key, at: float) -> None:
        self.due[key] = min(at, self.due.get(key, at))

    async def act(self, action: str, name: str) -> None:
        """Do one thing to both, and let the worklist come to rest."""
        crowd, this = self.crowd, key(name)
        now = crowd.clock.monotonic()
        match action:
            case "wake" | "edit":
                if action == "edit":
                    crowd.moved[this] = "x" if crowd.lane_of(this) == "s" else "s"
                self.wish(this, now)
                crowd.work.wake(this)
            case "later":
                self.wish(this, now + 5)
                crowd.work.wake(this, at=now + 5)
            case "drop":
                self.due.pop(this, None)
                crowd.work.drop(this)
            case "finish" | "finish and wake" if this in crowd.running:
                again = now + 3 if action == "finish" else now
                crowd.running.pop(this).set_result(again)
                self.wish(this, again)
            case "tick":
                crowd.clock.move(1)
        crowd.work._changed.set()
        await settle()
        for started in crowd.started[self.seen :]:
            assert self.due.pop(key(started), now + 99) <= crowd.clock.monotonic()
        self.seen = len(crowd.started)

    def check(self, *, concurrency: int, width: int) -> None:
        """Nothing is lost, nothing waits without a reason, nothing is too much."""
        crowd, now = self.crowd, self.crowd.clock.monotonic()
        taken = Counter(crowd.lanes[running] for running in crowd.running)
        assert len(crowd.running) <= concurrency
        assert max(taken.values(), default=0) <= width
        for waiting, due in self.due.items():
            is_kept = waiting in crowd.running or taken[crowd.lane_of(waiting)] >= width
            assert due > now or is_kept or len(crowd.running) == concurrency, waiting
        late = max([now - due for due in self.due.values() if due <= now], default=0.0)
        assert crowd.work.lateness_seconds() == late
        assert len(crowd.work) == len(self.due) + len(crowd.running)


@given(actions=st.lists(ACTIONS, min_size=20, max_size=60), width=st.integers(1, 2))
@settings(max_examples=100)
def test_whatever_happens_nothing_is_lost_and_nothing_waits_without_a_reason(
    actions: list[tuple[str, str]], width: int
) -> None:
    async def run() -> None:
        async with Crowd(concurrency=3, width=width).at_work() as crowd:
            model = Model(crowd)
            for action, name in actions:
                await model.act(action, name)
                model.check(concurrency=3, width=width)

    asyncio.run(run())
