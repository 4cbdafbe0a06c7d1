"""History through the operator's own decision, tick by tick, with trainings that take their time.

`decide` is asked at every tick, as the operator asks it; between two ticks the status changes as
the operator would have written it: an intent becomes a Retraining at once, and one whose training
time has passed is released, which starts its cooldown. Nothing here decides anything.

`replay` asks at every tick. `outline` leaves out those at which a trigger at rest (no episode, no
breach in the window) sees no breach: nothing that a later decision rests on changes there, which is
what makes a sweep over many thresholds quick.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from drifttrigger.api.reasons import Reason, RetrainingResult
from drifttrigger.api.v1alpha1 import Active, DriftTriggerStatus, Verdict
from drifttrigger.core.decide import Action, Decision, decide, judge
from drifttrigger.core.episode import is_drifted, released
from drifttrigger.core.observation import Observation
from drifttrigger.core.rules import Rules
from drifttrigger.core.times import parse_instant


class Step(msgspec.Struct, frozen=True, gc=False):
    """One tick: what was seen, decided, and known after it."""

    observation: Observation
    status: DriftTriggerStatus
    decision: Decision


class Fired(msgspec.Struct, frozen=True, kw_only=True):
    """A retraining that would have been made.

    Attributes:
        time: The tick that decided.
        score: The score then, None for a breach by policy.
        episode: Its episode, from 1.
        attempt: Which one of the episode, from 1.
        ended_at: When it ended under the assumed training time.
        message: Why.
    """

    time: datetime
    score: float | None
    episode: int
    attempt: int
    ended_at: datetime
    message: str


class Stretch(msgspec.Struct, frozen=True, kw_only=True):
    """Ticks in a row with one reason, in one episode (0: none is open).

    Attributes:
        breaches: How many of the ticks were breaches.
        message: What the first of them said.
    """

    first: datetime
    last: datetime
    ticks: int
    breaches: int
    reason: Reason
    episode: int
    message: str


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """A drift episode.

    Attributes:
        cleared_at: When it ended; None when it was open at the last tick.
        worst: Worst score in it, None when it had none.
    """

    number: int
    opened_at: datetime
    cleared_at: datetime | None
    worst: float | None


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """All that a replay showed.

    Attributes:
        first: The first tick; None when there was none.
        last: The last tick.
        ticks: How many there were.
    """

    rules: Rules
    first: datetime | None
    last: datetime | None
    ticks: int
    fired: tuple[Fired, ...]
    stretches: tuple[Stretch, ...]
    episodes: tuple[Span, ...]

    @property
    def length(self) -> timedelta:
        """Time from the first tick to the last."""
        if self.first is None or self.last is None:
            return timedelta(0)
        return self.last - self.first

    @property
    def drifted_share(self) -> float:
        """Part of the time, 0 to 1, in which an episode was open."""
        if self.last is None or not self.length:
            return 0.0
        last = self.last
        drifted = ((e.cleared_at or last) - e.opened_at for e in self.episodes)
        return sum(drifted, timedelta(0)) / self.length


def fresh(rules: Rules) -> DriftTriggerStatus:
    """Return the status of a trigger that has seen nothing."""
    return DriftTriggerStatus(observed_generation=rules.generation, spec_hash=rules.hashes)


def advance(
    rules: Rules,
    status: DriftTriggerStatus,
    observation: Observation,
    *,
    training: timedelta,
    uid: str,
) -> Step:
    """Decide one tick, and do to the status what the operator does around it.

    Args:
        rules: The trigger's rules.
        status: The status after the tick before.
        observation: What was seen.
        training: How long a retraining runs.
        uid: UID of the trigger, empty for one from a file.
    """
    if status.active:
        status = _with_ends(status, observation.tick, training)
    status, decision = decide(rules, status, observation, uid=uid)
    if status.pending is not None:
        status = _begun(status)
    return Step(observation, status, decision)


def steps(
    rules: Rules, observations: Iterable[Observation], *, training: timedelta, uid: str = ""
) -> Iterator[Step]:
    """Decide every tick, from a trigger that has seen nothing."""
    status = fresh(rules)
    for observation in observations:
        step = advance(rules, status, observation, training=training, uid=uid)
        status = step.status
        yield step


def busy_steps(
    rules: Rules, observations: Sequence[Observation], *, training: timedelta, uid: str = ""
) -> Iterator[Step]:
    """Decide every tick but those at which a trigger at rest sees no breach."""
    breaching = [n for n, o in enumerate(observations) if judge(rules, o) is Verdict.BREACH]
    status, at = fresh(rules), 0
    while at < len(observations):
        if status.episode is None and not status.window:
            following = bisect_left(breaching, at)
            if following == len(breaching):
                return
            at = breaching[following]
        step = advance(rules, status, observations[at], training=training, uid=uid)
        status, at = step.status, at + 1
        yield step


def replay(
    rules: Rules, observations: Sequence[Observation], *, training: timedelta, uid: str = ""
) -> Replay:
    """Replay every tick.

    Args:
        rules: The trigger's rules.
        observations: By time, each at a tick of its own.
        training: How long a retraining runs; it completes.
        uid: UID of the trigger, empty for one from a file.
    """
    return _told(
        rules, observations, steps(rules, observations, training=training, uid=uid), training
    )


def outline(
    rules: Rules, observations: Sequence[Observation], *, training: timedelta, uid: str = ""
) -> Replay:
    """Replay what matters: the same episodes and retrainings, without the quiet stretches."""
    walk = busy_steps(rules, observations, training=training, uid=uid)
    return _told(rules, observations, walk, training)


def _with_ends(
    status: DriftTriggerStatus, now: datetime, training: timedelta
) -> DriftTriggerStatus:
    for entry in status.active:
        ended_at = parse_instant(entry.time) + training
        if ended_at <= now:
            status = released(
                status,
                entry,
                result=RetrainingResult.COMPLETED,
                episode=0,  # asked for only where an attempt is given back
                completed_at=ended_at,
            )
    return status


def _begun(status: DriftTriggerStatus) -> DriftTriggerStatus:
    """Bind the intent; a dry run ends where it begins."""
    pending = status.pending
    if pending is None:  # pragma: no cover - the caller has looked
        return status
    time = pending.evidence.time
    entry = Active(name=pending.name, uid=pending.name, time=time, started=True)
    status = replace(status, pending=None, active=(*status.active, entry))
    if not pending.dry_run:
        return status
    return released(
        status,
        entry,
        result=RetrainingResult.DRY_RUN,
        episode=pending.episode,
        completed_at=parse_instant(time),
    )


def _told(
    rules: Rules, observations: Sequence[Observation], walk: Iterable[Step], training: timedelta
) -> Replay:
    book = _Book(rules, timedelta(0) if rules.dry_run else training)
    for step in walk:
        book.enter(step)
    return Replay(
        rules=rules,
        first=observations[0].tick if observations else None,
        last=observations[-1].tick if observations else None,
        ticks=len(observations),
        fired=tuple(book.fired),
        stretches=tuple(book.stretches()),
        episodes=tuple(book.episodes()),
    )


class _Book:
    """Writes down what a replay shows, as it goes."""

    def __init__(self, rules: Rules, training: timedelta) -> None:
        self._rules = rules
        self._training = training
        self.fired: list[Fired] = []
        self._stretches: list[Stretch] = []
        self._episodes: list[Span] = []
        # The present stretch: its first step, its last tick, ticks, breaches, episode.
        self._opening: Step | None = None
        self._last: datetime | None = None
        self._ticks = self._breaches = self._number = 0

    def enter(self, step: Step) -> None:
        """Take one step."""
        episode = step.status.episode
        number = episode.number if episode is not None else 0
        opening, decision = self._opening, step.decision
        if (
            opening is None
            or number != self._number
            or decision.reason is not opening.decision.reason
        ):
            self._close()
            self._opening, self._ticks, self._breaches = step, 0, 0
            if number != self._number:
                self._turn(step, number)
        self._last = step.observation.tick
        self._ticks += 1
        self._breaches += decision.verdict is Verdict.BREACH
        if number and episode is not None:
            open_episode = self._episodes[-1]
            if episode.worst_score != open_episode.worst:
                self._episodes[-1] = replace(open_episode, worst=episode.worst_score)
        if decision.action is Action.RETRAIN:
            self._fire(step)

    def stretches(self) -> list[Stretch]:
        """Return all stretches, the present one included."""
        self._close()
        self._opening = None
        return self._stretches

    def episodes(self) -> list[Span]:
        """Return all episodes."""
        return self._episodes

    def _turn(self, step: Step, number: int) -> None:
        """Close the open episode and open the next one."""
        tick = step.observation.tick
        if self._number:
            self._episodes[-1] = replace(self._episodes[-1], cleared_at=tick)
        if number:
            span = Span(number=number, opened_at=tick, cleared_at=None, worst=None)
            self._episodes.append(span)
        self._number = number

    def _close(self) -> None:
        opening, last = self._opening, self._last
        if opening is None or last is None:
            return
        self._stretches.append(
            Stretch(
                first=opening.observation.tick,
                last=last,
                ticks=self._ticks,
                breaches=self._breaches,
                reason=opening.decision.reason,
                episode=self._number,
                message=opening.decision.message,
            )
        )

    def _fire(self, step: Step) -> None:
        observation, status = step.observation, step.status
        episode = status.episode
        if episode is None or not is_drifted(status):  # pragma: no cover - by the decision's chain
            return
        earlier = sum(f.episode == episode.number for f in self.fired) if self._rules.dry_run else 0
        self.fired.append(
            Fired(
                time=observation.tick,
                score=observation.score,
                episode=episode.number,
                attempt=earlier + 1 if self._rules.dry_run else episode.attempts,
                ended_at=observation.tick + self._training,
                message=step.decision.message,
            )
        )
