"""Status writes that may wait: their order, what replaces them, what they leave alone."""

from typing import Any

import pytest
from msgspec.structs import replace

from drifttrigger.api.errors import ConflictError, ForbiddenError, TransientError
from drifttrigger.api.v1alpha1 import Condition, DriftTriggerStatus, LastEvaluation
from drifttrigger.runtime.budget import Priority, WriteBudget
from drifttrigger.runtime.deferred import DeferredWrites
from drifttrigger.runtime.records import Record, first_record
from drifttrigger.runtime.views import TriggerView, decode_trigger
from support.builders import UID, instant
from support.clock import FakeClock


def trigger(name: str, *, generation: int = 1, version: int = 1) -> TriggerView:
    return decode_trigger(
        {
            "metadata": {
                "name": name,
                "namespace": "ns",
                "uid": f"{UID}-{name}",
                "resourceVersion": str(version),
                "generation": generation,
                "creationTimestamp": instant(0),
            },
            "spec": {"prometheus": {"address": "http://p"}, "query": "q", "threshold": 1},
        }
    )


def said(view: TriggerView, reason: str) -> DriftTriggerStatus:
    condition = Condition(type="Ready", status="False", reason=reason)
    evaluation = LastEvaluation(time=instant(1), outcome="NoData")  # type: ignore[arg-type]
    return replace(view.status, conditions=(condition,), last_evaluation=evaluation)


class Written:
    """Stands for Intents: keeps what is committed, or refuses."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.statuses: list[DriftTriggerStatus] = []
        self.refusals: list[Exception] = []

    async def commit(
        self, view: TriggerView, status: DriftTriggerStatus, *, fresh: object
    ) -> TriggerView:
        if self.refusals:
            raise self.refusals.pop(0)
        self.names.append(view.name)
        self.statuses.append(status)
        return replace(view, status=status, resource_version=str(int(view.resource_version) + 1))


class Told:
    def __init__(self) -> None:
        self.names: list[str] = []

    def conditions(self, record: Record) -> None:
        self.names.append(record.view.name)


@pytest.fixture
def written() -> Written:
    return Written()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def deferred(written: Any, told: Any) -> DeferredWrites:
    clock = FakeClock()
    budget = WriteBudget(clock, per_second=10)
    return DeferredWrites(written, clock, budget=budget, announcer=told)


def leave(
    deferred: DeferredWrites, name: str, *, priority: Priority = Priority.OUTCOME, reason: str = "X"
) -> Record:
    view = trigger(name)
    record = first_record(view, view.created_at)
    deferred.put(record, view, said(view, reason), priority)
    return record


async def flush_all(deferred: DeferredWrites) -> None:
    while await deferred.flush():
        pass


async def test_the_most_urgent_is_written_first_and_equals_in_their_order(
    deferred: DeferredWrites, written: Written, told: Told
) -> None:
    leave(deferred, "first")
    leave(deferred, "second")
    leave(deferred, "spec", priority=Priority.SPEC_ERROR)
    await flush_all(deferred)
    assert written.names == told.names == ["spec", "first", "second"]
    assert len(deferred) == 0


async def test_a_newer_status_takes_the_place_of_an_older_one(
    deferred: DeferredWrites, written: Written
) -> None:
    record = leave(deferred, "a", reason="Old")
    leave(deferred, "b")
    deferred.put(record, record.view, said(record.view, "New"), Priority.OUTCOME)
    await flush_all(deferred)
    assert written.names == ["a", "b"]
    assert written.statuses[0].conditions[0].reason == "New"


async def test_what_others_wrote_meanwhile_stays(
    deferred: DeferredWrites, written: Written
) -> None:
    record = leave(deferred, "a", reason="NoData")
    valid = Condition(type="TemplateValid", status="True", reason="Valid")
    newer = replace(
        trigger("a", version=2), status=DriftTriggerStatus(conditions=(valid,), retrainings=4)
    )
    record.see(newer, newer.created_at)
    await flush_all(deferred)
    [status] = written.statuses
    assert {c.type: c.reason for c in status.conditions} == {
        "Ready": "NoData",
        "TemplateValid": "Valid",
    }
    assert status.retrainings == 4


async def test_an_edit_makes_what_waits_meaningless(
    deferred: DeferredWrites, written: Written
) -> None:
    record = leave(deferred, "a")
    record.see(trigger("a", generation=2, version=2), record.view.created_at)
    await flush_all(deferred)
    assert written.names == []


async def test_what_was_written_otherwise_is_forgotten(
    deferred: DeferredWrites, written: Written
) -> None:
    record = leave(deferred, "a")
    deferred.forget(record.view.key)
    await flush_all(deferred)
    assert written.names == []


async def test_a_conflict_is_written_again(deferred: DeferredWrites, written: Written) -> None:
    leave(deferred, "a")
    written.refusals = [ConflictError("changed")]
    await flush_all(deferred)
    assert written.names == ["a"]


async def test_a_refusal_of_one_does_not_stop_the_others(
    deferred: DeferredWrites, written: Written
) -> None:
    leave(deferred, "a")
    leave(deferred, "b")
    written.refusals = [ForbiddenError("no right")]
    await flush_all(deferred)
    assert written.names == ["b"]


async def test_what_fails_for_now_is_written_later(
    deferred: DeferredWrites, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drifttrigger.runtime.deferred._REFUSED_SECONDS", 0.0)
    leave(deferred, "a")
    written.refusals = [TransientError("503"), TransientError("503")]
    await flush_all(deferred)
    assert written.names == ["a"]
