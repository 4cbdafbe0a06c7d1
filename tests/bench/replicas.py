"""Two replicas: how they share the load, and how long the triggers of a lost one wait.

A lost replica is killed at the very moment at which some of its triggers cross. Every calm score
changes with it, so that a score in the survivor's metrics proves an evaluation after the loss.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bench.crossing import Crossing, cross
from bench.errors import BenchError
from bench.ground import Ground
from bench.operators import BenchOperator
from bench.scraped import Trigger
from bench.settling import polling_seconds
from bench.steady import Window, apart, measure

LEASE_SECONDS = 15.0
_LATER = 0.06
_LOST_SCORE = 0.8
_MEMBERS = "drifttrigger_shard_members"
_JOINED_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What two replicas did.

    Attributes:
        windows: Of both together.
        crossing: Decisions while both ran.
        loss: Decisions of triggers whose replica was killed as they crossed.
        taken_over_seconds: From the kill until each of its triggers was evaluated again.
        orphans: How many triggers the lost one had.
    """

    windows: tuple[Window, ...]
    crossing: Crossing
    loss: Crossing
    taken_over_seconds: float
    orphans: int


def share(
    ground: Ground,
    triggers: Sequence[Trigger],
    *,
    windows: int,
    seconds: float,
    interval_seconds: int,
    crossings: int,
) -> Shared:
    """Run two replicas, then kill one.

    Args:
        ground: Where; nobody else runs there.
        triggers: All; none of the first `crossings` of them has crossed yet.
        windows: How often both are measured.
        seconds: How long each time.
        interval_seconds: Of the triggers.
        crossings: How many cross while both run, and how many as one is killed.
    """
    replicas = [BenchOperator(ground, f"replica-{letter}") for letter in "ab"]
    try:
        _wait_joined(ground, replicas, len(triggers), interval_seconds)
        measured = tuple(measure(ground, replicas, seconds=seconds) for _ in range(windows))
        victim, survivor = replicas
        first, rest = triggers[:crossings], triggers[crossings:]
        with apart(ground):
            crossing = cross(ground, replicas, first, interval_seconds=interval_seconds)
        ground.say(f"  both: {crossing.triggers} crossed, {crossing.jobs} Jobs")
        # A replica that could not renew its Lease owns nothing for a while.
        _wait_joined(ground, replicas, len(triggers), interval_seconds)
        orphans = sorted(set(rest) & victim.scrape().scores.keys())
        loss, taken_over = _lose(
            ground, victim, survivor, orphans, crossings=crossings, interval=interval_seconds
        )
    finally:
        for replica in replicas:
            replica.stop()
    return Shared(
        windows=measured,
        crossing=crossing,
        loss=loss,
        taken_over_seconds=taken_over,
        orphans=len(orphans),
    )


def _wait_joined(
    ground: Ground, replicas: Sequence[BenchOperator], number: int, interval_seconds: int
) -> None:
    """Wait until both know of each other, all is evaluated, and calm is back."""
    deadline = time.monotonic() + _JOINED_SECONDS + number / 50
    while True:
        pages = [page for replica in replicas if (page := replica.page()) is not None]
        evaluated = {trigger for page in pages for trigger in page.scores}
        members = [page.total(_MEMBERS) for page in pages]
        if len(pages) == len(replicas) and len(evaluated) >= number and set(members) <= {2.0, None}:
            break
        if time.monotonic() > deadline:
            raise BenchError(f"{len(evaluated)} of {number} evaluated, members {members}")
        time.sleep(polling_seconds(number))
    if None in members:
        ground.say(f"  there is no {_MEMBERS}: the replicas may not know of each other")
    time.sleep(interval_seconds)


def _lose(
    ground: Ground,
    victim: BenchOperator,
    survivor: BenchOperator,
    orphans: Sequence[Trigger],
    *,
    crossings: int,
    interval: int,
) -> tuple[Crossing, float]:
    """Kill one as some of its triggers cross; returns what became of them, and the seconds."""
    crossing, waiting = orphans[:crossings], set(orphans[crossings:])
    with ThreadPoolExecutor(1) as pool:
        victim.kill()
        ground.exporter.set_all((name for _, name in waiting), _LATER)
        within, age = LEASE_SECONDS + 2 * interval + 60, survivor.age_seconds
        again = pool.submit(
            survivor.wait,
            lambda page: all(page.scores.get(trigger) == _LATER for trigger in waiting),
            within_seconds=within,
            what=f"{len(waiting)} triggers of {victim.name} evaluated again",
            every_seconds=polling_seconds(len(waiting)),
        )
        found = cross(
            ground,
            [survivor],
            crossing,
            interval_seconds=interval,
            score=_LOST_SCORE,
            within_seconds=within,
        )
        return found, again.result() - age
