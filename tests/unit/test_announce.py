"""One Event and one log line per transition, and per outage of a server."""

import logging
from typing import Any

import pytest
from msgspec.structs import replace

from drifttrigger.api.v1alpha1 import Condition
from drifttrigger.runtime.announce import Announcer
from drifttrigger.runtime.records import Record, first_record
from drifttrigger.runtime.views import decode_trigger
from support.builders import UID, instant
from support.clock import FakeClock


def record_of(name: str, *, address: str = "http://p") -> Record:
    view = decode_trigger(
        {
            "metadata": {
                "name": name,
                "namespace": "ns",
                "uid": f"{UID}-{name}",
                "resourceVersion": "1",
                "generation": 1,
                "creationTimestamp": instant(0),
            },
            "spec": {"prometheus": {"address": address}, "query": "q", "threshold": 1},
        }
    )
    return first_record(view, view.created_at)


def become(record: Record, ready: tuple[str, str], drifted: tuple[str, str]) -> None:
    conditions = (
        Condition(type="Ready", status=ready[0], reason=ready[1], message=f"{ready[1]} said"),
        Condition(type="Drifted", status=drifted[0], reason=drifted[1], message=drifted[1]),
    )
    status = replace(record.view.status, conditions=conditions, observed_generation=1)
    record.view = replace(record.view, status=status)


@pytest.fixture
def announcer() -> Announcer:
    kube: Any = None
    return Announcer(kube, FakeClock(), instance="test")


def events(announcer: Announcer) -> list[tuple[str, str]]:
    found = []
    while not announcer._queue.empty():
        _, body = announcer._queue.get_nowait()
        found.append((body["involvedObject"]["name"], body["reason"]))
    return found


CALM = (("True", "Evaluating"), ("False", "BelowThreshold"))
DOWN = (("False", "Unreachable"), ("Unknown", "SourceError"))
DRIFTED = (("True", "Evaluating"), ("True", "RetrainingActive"))


def test_the_same_again_is_not_told(announcer: Announcer) -> None:
    record = record_of("a")
    become(record, *DRIFTED)
    announcer.conditions(record)
    announcer.conditions(record)
    assert events(announcer) == [("a", "RetrainingActive")]


def test_a_restart_tells_nothing_of_what_is_well(announcer: Announcer) -> None:
    record = record_of("a")
    become(record, *CALM)
    announcer.conditions(record)
    assert events(announcer) == []


def test_a_restart_tells_nothing_that_was_told_before(announcer: Announcer) -> None:
    record = record_of("a")
    become(record, *DRIFTED)
    after_restart = first_record(record.view, record.view.created_at)
    announcer.conditions(after_restart)
    assert events(announcer) == []
    become(after_restart, *DOWN)
    announcer.conditions(after_restart)
    assert events(announcer) == [("a", "Unreachable")]


def test_an_outage_of_one_server_is_told_once_and_so_is_its_end(
    announcer: Announcer, caplog: pytest.LogCaptureFixture
) -> None:
    records = [record_of(f"t{n}") for n in range(50)]
    for record in records:
        become(record, *CALM)
        announcer.conditions(record)
    with caplog.at_level(logging.INFO, logger="drifttrigger.transitions"):
        for state in (DOWN, CALM):
            for record in records:
                become(record, *state)
                announcer.conditions(record)
    assert events(announcer) == [("t0", "Unreachable"), ("t0", "Evaluating")]
    assert len(caplog.records) == 2


def test_outages_of_two_servers_are_told_apart(announcer: Announcer) -> None:
    for name, address in (("a", "http://p"), ("b", "http://q"), ("c", "http://q")):
        record = record_of(name, address=address)
        become(record, *DOWN)
        announcer.conditions(record)
    assert events(announcer) == [("a", "Unreachable"), ("b", "Unreachable")]


def test_a_trigger_that_drifted_during_an_outage_is_told(announcer: Announcer) -> None:
    record = record_of("a")
    for state in (CALM, DOWN, DRIFTED):
        become(record, *state)
        announcer.conditions(record)
    assert events(announcer) == [
        ("a", "Unreachable"),
        ("a", "Evaluating"),
        ("a", "RetrainingActive"),
    ]


def test_a_second_outage_under_drifted_triggers_is_told_again(announcer: Announcer) -> None:
    record = record_of("a")
    for state in (DRIFTED, DOWN, DRIFTED, DOWN):
        become(record, *state)
        announcer.conditions(record)
    assert [reason for _, reason in events(announcer)].count("Unreachable") == 2
