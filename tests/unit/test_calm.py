"""Evaluations that change nothing are cut short, and nobody can tell but by the clock.

The same story is told three times: as it is without shortcuts, with the one of a single evaluation,
and asked together with others while it is calm. The same writes, the same decisions, the same state
at the end. What fires is never cut short: it is confirmed alone.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from drifttrigger.api.errors import ConflictError
from drifttrigger.api.reasons import ConditionType, Outcome, RetrainingResult
from drifttrigger.api.v1alpha1 import Active, DriftTriggerStatus
from drifttrigger.core.decide import Decision
from drifttrigger.core.episode import released
from drifttrigger.core.observation import Answer, Sample
from drifttrigger.core.status import meaning
from drifttrigger.runtime.budget import WriteBudget
from drifttrigger.runtime.deferred import DeferredWrites
from drifttrigger.runtime.evaluation import Evaluation
from drifttrigger.runtime.freshness import Freshness
from drifttrigger.runtime.records import Record, first_record, told_of
from drifttrigger.runtime.rounds import Rounds
from drifttrigger.runtime.views import Key, TriggerView, decode_trigger
from drifttrigger.sources.base import Question
from support.builders import UID, instant, template_verdict
from support.clock import FakeClock

Step = tuple[str, Any]
INTERVAL = 10.0


def trigger(*, generation: int = 1, version: int = 1, **spec: Any) -> TriggerView:
    given = {
        "prometheus": {"address": "http://p"},
        "query": "q",
        "threshold": 0.2,
        "interval": "10s",
        "cooldown": "20s",
        **spec,
    }
    return decode_trigger(
        {
            "metadata": {
                "name": "fraud",
                "namespace": "models",
                "uid": UID,
                "resourceVersion": str(version),
                "generation": generation,
                "creationTimestamp": instant(0),
            },
            "spec": given,
        }
    )


class Written:
    """Stands for the API server and for Intents: holds T, keeps every write of its status."""

    def __init__(self, view: TriggerView) -> None:
        self.view = view
        self.statuses: list[DriftTriggerStatus] = []

    async def read(self, key: Key) -> TriggerView:
        return self.view

    async def adopt(self, view: TriggerView) -> DriftTriggerStatus:
        return view.status

    async def commit(
        self, view: TriggerView, status: DriftTriggerStatus, *, fresh: Freshness
    ) -> TriggerView:
        if view.resource_version != self.view.resource_version:
            raise ConflictError("it changed")
        self.statuses.append(status)
        return self.put(replace(view, status=status))

    async def record_score_after(self, *_: object, **__: object) -> None:
        """Nothing here looks at Retrainings."""

    def put(self, view: TriggerView) -> TriggerView:
        version = str(int(self.view.resource_version) + 1)
        self.view = replace(view, resource_version=version)
        return self.view


class Told:
    """Stands for Announcer and Metrics: keeps decisions and transitions, counts the calm."""

    def __init__(self) -> None:
        self.decisions: list[Decision] = []
        self.transitions: list[tuple[str, ...]] = []
        self.calm = 0

    def decided(self, decision: Decision) -> None:
        self.decisions.append(decision)

    def evaluated(self, record: object, *_: object, **__: object) -> None:
        if isinstance(record, Record):
            self.conditions(record)

    def unchanged(self, *_: object) -> None:
        self.calm += 1

    def conditions(self, record: Record) -> None:
        told = told_of(record.view)
        if self.transitions[-1:] != [told]:
            self.transitions.append(told)

    def lateness(self, _: float) -> None:
        """Not looked at."""

    def missed(self, _: int) -> None:
        """Not looked at."""


class Life:
    """A trigger that lives through steps, evaluated as detection does it."""

    def __init__(
        self,
        *,
        is_cut_short: bool,
        writes_per_second: float,
        is_together: bool = False,
        **spec: Any,
    ) -> None:
        self.spec = spec
        self.clock = FakeClock()
        self.answer = Answer()
        self.alone: Answer | None = None
        self.distrusted: list[str] = []
        self.view = trigger(**spec)
        self.server = Written(self.view)
        self.told = Told()
        self.record = first_record(self.view, self.clock.now())
        intents: Any = self.server
        told: Any = self.told
        budget = WriteBudget(self.clock, per_second=writes_per_second)
        self.deferred = DeferredWrites(intents, self.clock, budget=budget, announcer=told)
        self.evaluation = Evaluation(
            intents,
            self,
            self.clock,
            budget=budget,
            deferred=self.deferred,
            announcer=told,
            metrics=told,
        )
        self.record.must_release = False  # nothing is ever in `active` unknown to this story
        self.rounds = Rounds(
            {self.view.key: self.record}, lambda _: True, self.evaluation, self, self.clock
        )
        self.is_together = is_together
        self.together = 0
        if not is_cut_short:
            self.evaluation._is_as_before = lambda *_: False  # type: ignore[method-assign]

    async def ask(self, question: Question) -> Answer:
        """Answer as the story says; a source."""
        if question.alone and self.alone is not None:
            return self.alone
        return replace(self.answer, is_batched=not question.alone)

    async def ask_together(self, questions: Sequence[Question]) -> list[Answer | None]:
        """Answer as the story says; each third time leave it to `ask`."""
        self.together += 1
        answer = None if self.together % 3 == 0 else replace(self.answer, is_batched=True)
        return [answer for _ in questions]

    async def distrust(self, question: Question) -> None:
        """Keep whose batched answer was another than its own."""
        self.distrusted.append(question.query)

    async def live(self, steps: list[Step]) -> "Life":
        """Go through steps."""
        for kind, value in steps:
            match kind:
                case "answer":
                    self.answer = value
                    self.clock.move(INTERVAL)
                case "wait":
                    self.clock.move(value)
                case "edit":
                    self._edit(value)
                case "limit":
                    self.record.is_deferred = value
                case "end":
                    await self._end()
                case "template":
                    self._judge_template(value)
                case "flush":
                    await self.deferred.flush()
            await self._evaluate()
        return self

    async def _evaluate(self) -> None:
        rules = self.record.view.rules
        assert rules is not None
        if self.is_together and self.rounds.suits(self.view.key):
            (due,) = await self.rounds.look([self.view.key])
            if self.rounds.suits(self.view.key):
                assert due is not None
                assert 0 < due - self.clock.monotonic() <= INTERVAL
                return
        try:
            await self.evaluation.run(self.record, rules)
        except ConflictError:
            self.record.see(self.server.view, self.clock.now())
        pending = self.record.view.status.pending
        if pending is not None:
            status = self.record.view.status
            entry = Active(name=pending.name, uid=pending.name, time=pending.evidence.time)
            await self._commit(replace(status, pending=None, active=(*status.active, entry)))

    async def _end(self) -> None:
        status = self.record.base(self.record.view)
        if status.active:
            self.record.is_deferred = False
            number = status.episode.number if status.episode is not None else 0
            await self._commit(
                released(
                    status,
                    status.active[0],
                    result=RetrainingResult.COMPLETED,
                    episode=number,
                    completed_at=self.clock.now(),
                )
            )

    async def _commit(self, status: DriftTriggerStatus) -> None:
        written = await self.server.commit(self.record.view, status, fresh=Freshness(self.clock))
        self.record.see(written, self.clock.now())

    def _edit(self, threshold: float) -> None:
        now = self.server.view
        edited = trigger(generation=now.generation + 1, **self.spec | {"threshold": threshold})
        view = self.server.put(replace(edited, status=now.status))
        self.record.see(view, self.clock.now())

    def _judge_template(self, state: str) -> None:
        """Write execution's verdict on the Job template, as its own writer does."""
        now = self.server.view
        others = tuple(
            c for c in now.status.conditions if c.type is not ConditionType.TEMPLATE_VALID
        )
        verdict = template_verdict(state, generation=now.generation)
        said = replace(now.status, conditions=(*others, verdict))
        self.record.see(self.server.put(replace(now, status=said)), self.clock.now())

    @property
    def end(self) -> tuple[object, ...]:
        """How things stand: on the API server, and in memory as far as decisions rest on it."""
        record = self.record
        memory = (record.last_tick, record.worst_score, record.retry, record.health, record.reason)
        return self.server.view.status, record.base(record.view), memory


def says(*values: object, **fields: Any) -> Step:
    samples = tuple(Sample({"n": str(n)}, str(value)) for n, value in enumerate(values))
    return "answer", Answer(samples=samples, **fields)


ANSWERS = st.one_of(
    st.sampled_from([0.05, 0.1, 0.15, 0.2, 0.2000001, 0.25, 0.3, 0.9]).map(says),
    st.sampled_from([0.05, 0.3]).map(says),
    st.sampled_from(["NaN", "+Inf", "-Inf", "no number"]).map(says),
    st.just(says()),
    st.just(says(0.1, 0.3)),
    st.sampled_from([0.1, 0.3]).map(lambda v: says(v, warnings=("PromQL warning: x",))),
    st.sampled_from([0.1, 0.3]).map(lambda v: says(v, warnings=("a store did not answer",))),
    st.sampled_from(
        [
            ("answer", Answer(failure=Outcome.UNREACHABLE, message="refused")),
            ("answer", Answer(failure=Outcome.QUERY_ERROR, message="x", needs_edit=True)),
        ]
    ),
)
RUNS = st.tuples(ANSWERS, st.integers(1, 9)).map(lambda pair: [pair[0]] * pair[1])
OTHERS = st.one_of(
    st.sampled_from([1.0, 61.0, 400.0]).map(lambda seconds: [("wait", seconds)]),
    st.sampled_from([0.2, 0.28]).map(lambda threshold: [("edit", threshold)]),
    st.booleans().map(lambda is_deferred: [("limit", is_deferred)]),
    st.just([("end", None)]),
    st.just([("flush", None)]),
    st.sampled_from(["True", "False"]).map(lambda state: [("template", state)]),
    st.sampled_from([0.1, 0.3]).map(
        lambda v: [says(v)] * 3 + [("limit", True)] + [says(v)] * 3 + [("limit", False), says(v)]
    ),
    st.permutations([0.05, 0.15, 0.05, 0.15, 0.3, 0.15]).map(lambda run: [says(v) for v in run]),
)
STEPS = st.lists(st.one_of(RUNS, RUNS, OTHERS), min_size=4, max_size=20).map(
    lambda runs: [step for run in runs for step in run]
)
SPECS = st.fixed_dictionaries(
    {},
    optional={
        "clearThreshold": st.just(0.12),
        "breaches": st.sampled_from(
            [{"required": 2, "window": 3}, {"required": 3}, {"required": 1, "window": 4}]
        ),
        "noData": st.sampled_from(["Hold", "Breach", "Clear"]),
        "infinity": st.sampled_from(["Hold", "Compare"]),
        "partialData": st.just("Accept"),
        "concurrencyPolicy": st.sampled_from(["Forbid", "Allow"]),
        "maxAttempts": st.sampled_from([0, 1, 2]),
        "reduce": st.just("Max"),
    },
)


@given(steps=STEPS, spec=SPECS, writes=st.sampled_from([20.0, 1.0, 0.04]))
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_a_story_told_with_and_without_the_shortcut_is_the_same(
    steps: list[Step], spec: dict[str, Any], writes: float
) -> None:
    async def run() -> None:
        full, *others = [
            await Life(
                is_cut_short=cut, writes_per_second=writes, is_together=together, **spec
            ).live(steps)
            for cut, together in ((False, False), (True, False), (True, True))
        ]
        reasons = [d.reason for d in full.told.decisions]
        for life in others:
            assert life.server.statuses == full.server.statuses
            assert [d.reason for d in life.told.decisions] == reasons
            assert life.told.transitions == full.told.transitions
            assert life.end == full.end
            assert not life.distrusted, "alone it says the same"

    asyncio.run(run())


# That the shortcut is taken, and when it is not.


async def settled(value: object, *, is_together: bool = False, **spec: Any) -> Life:
    """A trigger that has said the same for a while."""
    life = Life(is_cut_short=True, writes_per_second=20.0, is_together=is_together, **spec)
    await life.live([says(value)] * 5 + [("end", None)] + [says(value)] * 3)
    life.told.calm = 0
    life.server.statuses.clear()
    return life


@pytest.mark.parametrize(
    ("value", "spec"),
    [
        pytest.param(0.1, {}, id="clear"),
        pytest.param(0.15, {"clearThreshold": 0.12}, id="in the band"),
        pytest.param(0.3, {"maxAttempts": 1}, id="drifted"),
        pytest.param(0.3, {"maxAttempts": 1, "breaches": {"required": 2}}, id="a full window"),
    ],
)
async def test_what_goes_on_as_it_was_is_cut_short_but_for_heartbeats(
    value: float, spec: dict[str, Any]
) -> None:
    life = await settled(value, **spec)
    seen = len(life.told.decisions)
    # Each next score differs a little: only its meaning counts.
    await life.live([says(value + n / 1e4) for n in range(60)])
    assert len(life.told.decisions) == seen + 60, "every evaluation is counted"
    assert 60 - 10 - 3 <= life.told.calm <= 60
    assert 9 <= len(life.server.statuses) <= 10, "a heartbeat a minute"
    first, *others = map(meaning, life.server.statuses)
    assert all(other == first for other in others)


@pytest.mark.parametrize("value", [0.1, 0.3])
async def test_while_it_is_calm_it_is_asked_together(value: float) -> None:
    life = await settled(value, is_together=True, maxAttempts=1)
    asked = life.together
    await life.live([says(value + n / 1e4) for n in range(60)])
    # A heartbeat, and what was left to `ask`, take a pass of their own each.
    assert life.together - asked >= 30
    assert life.record.observation is not None
    assert life.record.observation.score == pytest.approx(value + 59 / 1e4)


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([says(0.3)], id="a breach"),
        pytest.param([says()], id="no data"),
        pytest.param([says("NaN")], id="not a number"),
        pytest.param([("edit", 0.28), ("wait", 10.0)], id="an edit"),
    ],
)
async def test_what_is_not_as_it_was_is_not_cut_short(steps: list[Step]) -> None:
    life = await settled(0.1)
    await life.live(steps)
    assert life.server.statuses
    assert life.told.calm == 0


async def test_the_newest_score_of_calm_times_comes_with_the_next_write() -> None:
    life = await settled(0.3, maxAttempts=1)
    await life.live([says(0.9), says(0.25)])
    assert life.server.statuses == []
    await life.live([says(0.3)] * 6)
    assert life.server.statuses
    episode = life.server.view.status.episode
    assert episode is not None
    assert episode.worst_score == 0.9


# What fires.


async def test_what_a_query_says_alone_is_the_evidence() -> None:
    life = await settled(0.1)
    life.alone = says(0.4)[1]
    await life.live([says(0.3)])
    pending = life.server.statuses[0].pending
    assert pending is not None
    assert (pending.evidence.score, pending.evidence.value) == (0.4, "0.4")
    assert life.distrusted == ["q"]


@pytest.mark.parametrize(
    ("alone", "is_distrusted"),
    [
        pytest.param(says(0.1)[1], True, id="no breach"),
        pytest.param(says()[1], True, id="nothing"),
        pytest.param(Answer(failure=Outcome.UNREACHABLE, message="refused"), False, id="an error"),
    ],
)
async def test_what_is_a_breach_only_in_a_batch_does_not_fire(
    alone: Answer, is_distrusted: bool
) -> None:
    life = await settled(0.1)
    life.alone = alone
    await life.live([says(0.3)])
    assert life.server.view.status.retrainings == 0
    assert bool(life.distrusted) is is_distrusted


async def test_what_a_query_says_alone_as_well_costs_it_no_trust() -> None:
    life = await settled(0.1)
    await life.live([says(0.3)])
    assert life.server.view.status.retrainings == 1
    assert life.distrusted == []


# Defects, which must stay one trigger's own.


async def test_a_defect_in_asking_together_leaves_each_to_its_own_pass() -> None:
    life = await settled(0.1, is_together=True)

    async def broken(questions: Sequence[Question]) -> list[Answer | None]:
        raise RuntimeError("a defect")

    life.ask_together = broken  # type: ignore[method-assign]
    life.clock.move(INTERVAL)
    (due,) = await life.rounds.look([life.view.key])
    assert due == life.clock.monotonic()
    assert not life.rounds.suits(life.view.key)


async def test_a_defect_in_one_trigger_costs_the_others_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good, bad = await settled(0.1, is_together=True), await settled(0.1, is_together=True)
    stays_calm = good.evaluation.stays_calm

    def settle(record: Record, *given: Any, **more: Any) -> bool:
        if record is bad.record:
            raise RuntimeError("a defect")
        return stays_calm(record, *given, **more)

    monkeypatch.setattr(good.evaluation, "stays_calm", settle)
    keys = [("models", "bad"), ("models", "good")]
    records = dict(zip(keys, (bad.record, good.record), strict=True))
    good.together = 0
    good.clock.move(INTERVAL)
    rounds = Rounds(records, lambda _: True, good.evaluation, good, good.clock)
    first, second = await rounds.look(keys)
    assert first == good.clock.monotonic(), "it has a pass of its own at once"
    assert second is not None
    assert second > good.clock.monotonic()
    assert [rounds.suits(key) for key in keys] == [False, True]
