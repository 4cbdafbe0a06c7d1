"""The laws for all inputs: a random life of a trigger beside a model that knows only the contract.

Two operators live each life: one that never restarts, and its twin, which restarts before every
single step and so knows only what was written for its meaning. A third, the model, keeps plain
lists of verdicts, starts and ends, and says from the contract whether a retraining is due.
"""

import itertools
import math
import operator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from msgspec.structs import replace

from drifttrigger.api.reasons import Outcome, Reason, RetrainingResult
from drifttrigger.api.v1alpha1 import Active, DriftTriggerStatus
from drifttrigger.core.decide import Action, Decision, decide
from drifttrigger.core.episode import released
from drifttrigger.core.manual import FOREVER, Hold, decide_manual
from drifttrigger.core.observation import Observation
from drifttrigger.core.rules import Rules
from drifttrigger.core.status import meaning, merge_patch, to_json
from drifttrigger.core.times import format_instant, format_precise
from support.builders import (
    START,
    UID,
    infinite,
    rules,
    score,
    template_verdict,
    tick,
    without_score,
)
from support.merge import apply_merge_patch

COMPARE = {
    "GreaterThan": operator.gt,
    "GreaterThanOrEqual": operator.ge,
    "LessThan": operator.lt,
    "LessThanOrEqual": operator.le,
}
NUMBERS = [0.0, 0.1, 0.15, math.nextafter(0.2, 0), 0.2, math.nextafter(0.2, 1), 0.25, 0.3, 0.9]
ODD = [math.inf, -math.inf, *(o for o in Outcome if o not in (Outcome.SCORE, Outcome.INFINITE))]
SEEN = st.one_of(*[st.sampled_from(NUMBERS)] * 3, st.sampled_from(ODD))
CONDITIONS = st.fixed_dictionaries(
    {
        "comparison": st.sampled_from(list(COMPARE)),
        "clear": st.sampled_from([None, 0.05, 0.1, 0.1]),
        "breaches": st.sampled_from([(1, 1), (2, 2), (1, 3), (2, 3), (3, 5)]),
        "no_data": st.sampled_from(["Hold", "Breach", "Clear"]),
        "infinity": st.sampled_from(["Hold", "Compare"]),
    }
)
LIMITS = st.fixed_dictionaries(
    {
        "cooldown": st.sampled_from(["0s", "0s", "1s", "5m", "7m", "20m"]),
        "max_attempts": st.sampled_from([0, 1, 2, 3]),
        "concurrency_policy": st.sampled_from(["Forbid", "Allow"]),
        "dry_run": st.sampled_from([False, False, False, True]),
    }
)
FINISHED = [RetrainingResult.COMPLETED, RetrainingResult.JOB_FAILED, RetrainingResult.JOB_DELETED]
NOT_STARTED = [RetrainingResult.JOB_NOT_CREATED, RetrainingResult.SUPERSEDED]


@dataclass
class Begun:
    """A retraining, as the model remembers it."""

    begun_at: datetime
    episode: int
    is_dry: bool
    is_manual: bool
    has_job: bool = False


@dataclass
class Model:
    """What the contract says, in the plainest data there is."""

    verdicts: list[str] = field(default_factory=list)
    is_drifted: bool = False
    episodes: int = 0
    attempts: int = 0
    decided_until: datetime = START
    counted_until: datetime = START
    pending: Begun | None = None
    active: dict[str, Begun] = field(default_factory=dict)
    begins: list[datetime] = field(default_factory=list)
    ends: list[datetime] = field(default_factory=list)
    is_refused: bool = False

    def end_episode(self) -> None:
        self.verdicts, self.is_drifted, self.attempts = [], False, 0

    def see(self, of: Rules, verdict: str, at: datetime) -> bool:
        """Take a deciding verdict; tell whether window and episode ask for a retraining."""
        if at > self.counted_until:
            self.counted_until = at
            if self.is_drifted and verdict == "clear":
                self.end_episode()
                return False
            self.verdicts.append(verdict)
        enough = self.verdicts[-of.window :].count("breach") >= of.required
        asks = verdict == "breach" and enough
        if asks and not self.is_drifted:
            self.is_drifted, self.attempts = True, 0
            self.episodes += 1
        return asks

    def allows(self, of: Rules, at: datetime) -> bool:
        """Tell whether nothing stands in the way of a retraining."""
        if self.pending is not None or self.is_refused:
            return False
        if of.max_attempts and self.attempts >= of.max_attempts:
            return False
        if of.concurrency == "Allow":
            blocked = any(not begun.has_job for begun in self.active.values())
            since = self.begins + [begun.begun_at for begun in self.active.values()]
        else:
            blocked, since = bool(self.active), self.ends
        # Evidence as old as the last end asks for nothing, even without a cooldown.
        return not blocked and all(
            at > instant and at >= instant + of.cooldown for instant in since
        )


class Laws(RuleBasedStateMachine):
    """One trigger's life."""

    @initialize(condition=CONDITIONS, limits=LIMITS)
    def begin(self, condition: dict[str, Any], limits: dict[str, Any]) -> None:
        self.condition, self.limits = condition, limits
        self.generation, self.template, self.threshold = 1, 1, 0.2
        self.is_suspended = False
        self.rules = self.make_rules()
        self.status = DriftTriggerStatus()
        self.stored = msgspec.json.encode(self.status)
        self.model = Model()
        self.names: set[str] = set()
        self.at = 0
        self.last_seen: Observation | None = None
        self.milliseconds = itertools.count()

    def make_rules(self) -> Rules:
        given = dict(self.condition)
        distance = given.pop("clear")
        sign = -1 if given["comparison"].startswith("Greater") else 1
        clear = None if distance is None else self.threshold + sign * distance
        return rules(
            generation=self.generation,
            template=f"1.{self.template}",
            threshold=self.threshold,
            clear_threshold=clear,
            suspend=self.is_suspended,
            **given,
            **self.limits,
        )

    # What happens at ticks.

    @rule(seen=SEEN, step=st.sampled_from([1, 1, 1, 2, 5]))
    def a_tick(self, seen: Any, step: int) -> None:
        self.at += step
        self.decide(self.observe(seen))

    @rule(count=st.integers(1, 3))
    def breaches(self, count: int) -> None:
        for _ in range(count):
            self.a_breach()

    @rule(count=st.integers(1, 3))
    def a_lull_in_the_band(self, count: int) -> None:
        for _ in range(count):
            self.at += 1
            self.decide(self.observe((self.rules.threshold + self.rules.clear_threshold) / 2))

    @rule(is_short=st.booleans())
    def a_breach_and_its_retraining(self, is_short: bool) -> None:
        if self.a_breach().action is not Action.RETRAIN:
            return
        self.the_intent_is_carried_out()
        if is_short:
            entry = self.status.active[-1]
            self.end(entry, self.results_of(self.model.active[entry.uid])[0], seconds=0)
        else:
            self.the_jobs_start()

    def a_breach(self) -> Decision:
        self.at += 1
        is_greater = self.condition["comparison"].startswith("Greater")
        return self.decide(self.observe(0.9 if is_greater else 0.0))

    @precondition(lambda self: self.last_seen is not None)
    @rule(seen=SEEN)
    def the_same_tick_again(self, seen: Any) -> None:
        assert self.last_seen is not None
        if self.last_seen.outcome.is_error:
            self.decide(self.observe(seen))
            return
        before = meaning(self.status)
        if self.decide(self.last_seen).action is Action.NOTHING:
            after = replace(self.status, last_retraining=before.last_retraining)
            assert meaning(after) == before

    @precondition(lambda self: self.status.last_tick)
    @rule(seen=SEEN, back=st.integers(0, 4))
    def an_older_tick(self, seen: Any, back: int) -> None:
        old = replace(self.observe(seen), tick=self.model.decided_until - back * timedelta(300))
        if old.tick > msgspec.convert(self.status.last_tick, datetime, strict=False):
            return  # a restart has forgotten that far
        after, decision = decide(self.rules, self.status, old, uid=UID)
        assert (after, decision.action) == (self.status, Action.NOTHING)

    @rule(seen=SEEN)
    def a_probe(self, seen: Any) -> None:
        before = meaning(self.status)
        probe = replace(self.observe(seen), is_probe=True)
        assert self.decide(probe).action is Action.NOTHING
        assert replace(meaning(self.status), observed_generation=0, spec_hash=before.spec_hash) == (
            replace(before, observed_generation=0)
        )

    def observe(self, seen: Any) -> Observation:
        if isinstance(seen, Outcome):
            return without_score(seen, at=self.at)
        return score(seen, at=self.at) if math.isfinite(seen) else infinite(seen, at=self.at)

    def decide(self, seen: Observation) -> Decision:
        expected = self.expect(seen)
        after, decision = decide(self.rules, self.status, seen, uid=UID)
        assert (after, decision) == decide(self.rules, self.status, seen, uid=UID)
        fired = decision.action is Action.RETRAIN
        assert fired == expected, decision
        twin, its_decision = decide(self.rules, self.read(), seen, uid=UID)
        assert its_decision.action is decision.action
        assert meaning(twin) == meaning(after)
        if seen is not self.last_seen:
            assert its_decision == decision
        if fired:
            self.intend(after, seen.tick, is_manual=False)
        self.last_seen = None if seen.is_probe else seen
        self.write(after)
        return decision

    def expect(self, seen: Observation) -> bool:
        """Tell from the contract alone whether this observation fires."""
        if self.rules.suspend or seen.is_probe or seen.tick <= self.model.decided_until:
            return False
        verdict = self.verdict(seen)
        if verdict is not None or not seen.outcome.is_error:
            self.model.decided_until = seen.tick
        if verdict is None:
            return False
        asks = self.model.see(self.rules, verdict, seen.tick)
        return asks and self.model.allows(self.rules, seen.tick)

    def verdict(self, seen: Observation) -> str | None:
        given = self.condition
        if seen.outcome in (Outcome.NO_DATA, Outcome.NOT_A_NUMBER):
            return {"Hold": None, "Breach": "breach", "Clear": "clear"}[given["no_data"]]
        if seen.outcome is Outcome.INFINITE and given["infinity"] == "Hold":
            return None
        if seen.score is None:
            return None
        compare = COMPARE[given["comparison"]]
        if compare(seen.score, self.rules.threshold):
            return "breach"
        return "band" if compare(seen.score, self.rules.clear_threshold) else "clear"

    def intend(self, after: DriftTriggerStatus, at: datetime, *, is_manual: bool) -> None:
        assert after.pending is not None
        assert after.pending.name not in self.names
        assert after.retrainings == len(self.names) + 1
        self.names.add(after.pending.name)
        episode = 0 if is_manual else self.model.episodes
        self.model.pending = Begun(at, episode, self.rules.dry_run, is_manual)
        if not is_manual and not self.rules.dry_run:
            self.model.attempts += 1
            assert after.pending.attempt == self.model.attempts
        assert after.pending.episode == episode

    # What happens to Retrainings.

    @precondition(lambda self: self.status.pending is not None)
    @rule()
    def the_intent_is_carried_out(self) -> None:
        intent, begun = self.status.pending, self.model.pending
        assert intent is not None
        assert begun is not None
        entry = Active(name=intent.name, uid=f"uid of {intent.name}", time=intent.evidence.time)
        self.model.active[entry.uid], self.model.pending = begun, None
        self.write(
            replace(self.status, pending=None, active=(*self.status.active, entry)), always=True
        )

    @precondition(lambda self: any(not a.started for a in self.status.active))
    @rule()
    def the_jobs_start(self) -> None:
        for begun in self.model.active.values():
            begun.has_job = True
        entries = tuple(replace(entry, started=True) for entry in self.status.active)
        self.write(replace(self.status, active=entries), always=True)

    @precondition(lambda self: self.status.active)
    @rule(data=st.data(), seconds=st.sampled_from([0, 1, 60, 299]))
    def a_retraining_ends(self, data: st.DataObject, seconds: int) -> None:
        entry = data.draw(st.sampled_from(self.status.active))
        results = self.results_of(self.model.active[entry.uid])
        self.end(entry, data.draw(st.sampled_from(results)), seconds=seconds)

    def end(self, entry: Active, result: RetrainingResult, *, seconds: int) -> None:
        begun = self.model.active.pop(entry.uid)
        ended_at = tick(self.at) + timedelta(seconds=seconds)
        gives_back = result in NOT_STARTED and not begun.is_manual
        if gives_back and self.model.is_drifted and begun.episode == self.model.episodes:
            self.model.attempts = max(0, self.model.attempts - 1)
        if result is not RetrainingResult.SUPERSEDED:
            self.model.begins.append(begun.begun_at)
            self.model.ends.append(ended_at)
        end = {"result": result, "episode": begun.episode, "completed_at": ended_at}
        after = released(self.status, entry, **end)
        assert meaning(released(self.read(), entry, **end)) == meaning(after)
        self.write(after, always=True)

    def results_of(self, begun: Begun) -> list[RetrainingResult]:
        if begun.is_dry:
            return [RetrainingResult.DRY_RUN]
        return FINISHED if begun.has_job else FINISHED + NOT_STARTED

    # What people do.

    @rule(
        part=st.sampled_from(["condition", "template", "limits", "suspend"]),
        condition=CONDITIONS,
        threshold=st.sampled_from([0.1, 0.2, 0.25]),
        limits=LIMITS,
        seen=SEEN,
    )
    def an_edit(
        self, part: str, condition: Any, threshold: float, limits: dict[str, Any], seen: Any
    ) -> None:
        if part == "condition":
            self.condition, self.threshold = condition, threshold
        elif part == "template":
            self.template += 1
            self.model.attempts = 0
        elif part == "limits":
            self.limits = limits
        else:
            self.is_suspended = True
            self.edit(seen)
            self.is_suspended = False
        self.edit(seen)

    def edit(self, seen: Any) -> None:
        """Take the edit over; a probe follows at once."""
        before = self.rules.hashes
        self.generation += 1
        self.rules = self.make_rules()
        self.model.is_refused = False
        if before.condition != self.rules.hashes.condition:
            self.model.end_episode()
        self.last_seen = None
        self.decide(replace(self.observe(seen), is_probe=True))

    @rule(luck=st.integers(0, 5))
    def the_template_is_refused(self, luck: int) -> None:
        """Execution writes its condition alone, onto what the API server has."""
        if luck:
            return
        refused = (template_verdict("False", generation=self.generation),)
        self.model.is_refused = True
        self.status = replace(self.status, conditions=refused)
        self.stored = msgspec.json.encode(replace(self.read(), conditions=refused))

    @rule(
        minutes=st.sampled_from([-11, -9, 0, 0, 9, 11]),
        hold=st.sampled_from([None, None, Hold(FOREVER, "a freeze")]),
    )
    def a_request_by_hand(self, minutes: int, hold: Hold | None) -> None:
        now = tick(self.at) + timedelta(milliseconds=next(self.milliseconds))
        asked = format_precise(now + timedelta(minutes=minutes))
        given = {"hold": hold, "observation": self.last_seen, "uid": UID, "now": now}
        last = self.status.last_manual
        answer = decide_manual(self.rules, self.status, asked, **given)
        if answer is None:
            assert last is not None
            assert instant_of(asked) <= instant_of(last.time)
            return
        after, reason, _ = answer
        free = self.model.pending is None and not self.model.active and not self.model.is_refused
        accepted = abs(minutes) < 10 and free and hold is None
        assert (reason is Reason.MANUAL_ACCEPTED) == accepted
        if accepted:
            begun_at = instant_of(asked).replace(microsecond=0)
            self.intend(after, begun_at, is_manual=True)
        assert (after.episode, after.window) == (self.status.episode, self.status.window)
        assert decide_manual(self.rules, replace(after, pending=None), asked, **given) is None
        self.write(after, always=True)

    # What happens to operators.

    @rule()
    def a_restart(self) -> None:
        """Forget what was not written: a tick may be decided again, but is not counted twice."""
        self.status = self.read()
        if self.model.decided_until > START:
            self.model.decided_until = instant_of(self.status.last_tick or format_instant(START))

    @rule()
    def a_heartbeat(self) -> None:
        self.write(self.status, always=True)

    def read(self) -> DriftTriggerStatus:
        """Return what an operator knows that has just started."""
        return msgspec.json.decode(self.stored, type=DriftTriggerStatus)

    def write(self, after: DriftTriggerStatus, *, always: bool = False) -> None:
        """Take a status over, and write it where its meaning changed."""
        self.status = after
        stored = self.read()
        if always or meaning(after) != meaning(stored):
            old, new = to_json(stored), to_json(after)
            patched = apply_merge_patch(old, merge_patch(old, new))
            assert patched == new
            self.stored = msgspec.json.encode(patched)

    @invariant()
    def the_status_is_what_the_model_says(self) -> None:
        state, model = self.status, self.model
        is_open = state.episode is not None and state.episode.number > 0
        assert is_open == model.is_drifted
        assert state.episodes == model.episodes
        assert (state.pending is None) == (model.pending is None)
        assert {entry.uid for entry in state.active} == set(model.active)
        recent = model.verdicts[-self.rules.window :]
        assert [v for v in state.window if v == "Breach"] == ["Breach"] * recent.count("breach")
        if is_open:
            assert state.episode is not None
            assert state.episode.attempts == model.attempts

    @invariant()
    def the_status_survives_the_api_server(self) -> None:
        text = msgspec.json.encode(self.status)
        assert msgspec.json.decode(text, type=DriftTriggerStatus) == self.status


def instant_of(text: str) -> datetime:
    return datetime.fromisoformat(text)


TestLaws = Laws.TestCase
TestLaws.settings = settings(max_examples=1000, stateful_step_count=50, deadline=None)
