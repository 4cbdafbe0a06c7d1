"""The count can fail: each way to break the law is seen in the audit log."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from chaos.laws import Verdict, judge
from chaos.ledger import OPERATOR, Ledger, is_confirmation, is_urgent, operator_writes
from chaos.rates import MINUTE, SECOND, busiest, rates
from drifttrigger.core.times import parse_instant

COLLECTOR = "system:serviceaccount:kube-system:generic-garbage-collector"
Event = dict[str, Any]


class Log:
    """Writes an audit log, one second a request."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._seconds = itertools.count()

    def say(
        self,
        verb: str,
        what: str,
        name: str,
        *,
        asked: Event | None = None,
        answer: Event | None = None,
        user: str = OPERATOR,
        code: int = 200,
        query: str = "",
    ) -> None:
        resource, _, subresource = what.partition("/")
        number = next(self._seconds)
        at = f"2026-03-02T12:{number // 60:02}:{number % 60:02}.000000Z"
        reference = {"resource": resource, "namespace": "ml", "name": name}
        self.events.append(
            {
                "stage": "ResponseComplete",
                "verb": verb,
                "user": {"username": user},
                "requestURI": f"/{what}{query}",
                "objectRef": reference | ({"subresource": subresource} if subresource else {}),
                "responseStatus": {"code": code},
                "requestObject": asked,
                "responseObject": answer,
                "requestReceivedTimestamp": at,
                "stageTimestamp": at,
            }
        )

    def intent(self, number: int, *, tick: str = "", code: int = 200) -> None:
        pending = {
            "name": f"fraud-{number}",
            "cause": "Drift",
            "evidence": {"time": tick or f"tick {number}"},
        }
        self._status({"pending": pending, "retrainings": number}, code=code)

    def create(self, number: int, *, uid: str = "") -> None:
        metadata = {"uid": uid or f"rt-{number}", "namespace": "ml", "name": f"fraud-{number}"}
        body = {"metadata": metadata, "spec": {"triggerRef": {"name": "fraud"}}}
        self.say("create", "retrainings", metadata["name"], answer=body, code=201)

    def bind(self, number: int, *, uid: str = "") -> None:
        entry = {"name": f"fraud-{number}", "uid": uid or f"rt-{number}"}
        self._status({"pending": None, "active": [entry]})

    def job(self, number: int, *, uid: str = "", owner: str = "") -> None:
        metadata = {
            "uid": uid or f"job-{number}",
            "namespace": "ml",
            "name": f"fraud-{number}",
            "labels": {"drifttrigger.dev/trigger": "fraud"},
            "ownerReferences": [{"uid": owner or f"rt-{number}"}],
        }
        answer = {"metadata": metadata}
        self.say("create", "jobs", metadata["name"], answer=answer, code=201)

    def target(self, number: int, *, job: str = "", retraining: str = "") -> None:
        status = {"target": {"uid": job or f"job-{number}"}}
        self._told(retraining or f"rt-{number}", number, status)

    def end_job(self, number: int) -> None:
        conditions = [{"type": "Complete", "status": "True"}]
        body = {"metadata": {"uid": f"job-{number}"}, "status": {"conditions": conditions}}
        self.say("update", "jobs/status", f"fraud-{number}", asked=body, user="controller")

    def outcome(self, number: int, reason: str) -> None:
        state = "True" if reason == "Completed" else "False"
        condition = {"type": "Succeeded", "status": state, "reason": reason}
        self._told(f"rt-{number}", number, {"conditions": [condition]})

    def delete(self, what: str, uid: str, *, user: str = OPERATOR) -> None:
        self.say("delete", what, uid, answer={"details": {"uid": uid}}, user=user)

    def whole(self, number: int) -> "Log":
        """One decision from intent to outcome."""
        self.intent(number)
        self.create(number)
        self.bind(number)
        self.job(number)
        self.target(number)
        self.end_job(number)
        self.outcome(number, "Completed")
        return self

    def judged(self) -> Verdict:
        return judge(Ledger.of(self.events))

    def _status(self, status: Event, *, code: int = 200) -> None:
        body = {"metadata": {"uid": "trigger-1", "resourceVersion": "1"}, "status": status}
        self.say("patch", "drifttriggers/status", "fraud", asked=body, code=code)

    def _told(self, uid: str, number: int, status: Event) -> None:
        body = {"metadata": {"uid": uid}, "status": status}
        self.say("patch", "retrainings/status", f"fraud-{number}", asked=body)


@pytest.fixture
def log() -> Log:
    return Log()


def test_whole_decisions_keep_the_law_and_are_counted(log: Log) -> None:
    verdict = log.whole(1).whole(2).judged()
    assert verdict.breaks == []
    numbers = verdict.numbers
    assert (numbers["decisions"], numbers["Retrainings"], numbers["Jobs"]) == (2, 2, 2)


def test_a_refused_intent_and_a_dry_run_are_nothing(log: Log) -> None:
    log.intent(1, code=409)
    log.say("create", "jobs", "rehearsal", code=201, query="?dryRun=All")
    assert log.judged().numbers["decisions"] == 0
    assert [e["verb"] for e in operator_writes(log.events)] == ["patch"]


def test_a_decision_may_be_dropped_only_with_its_trigger(log: Log) -> None:
    log.intent(1)
    assert log.judged().breaks == ["decision fraud-1 has no Retraining"]
    log.delete("drifttriggers", "trigger-1", user="admin")
    verdict = log.judged()
    assert verdict.breaks == []
    assert verdict.numbers["dropped with their trigger"] == 1


def test_a_superseded_retraining_needs_no_job_but_any_other_does(log: Log) -> None:
    for number in (1, 2):
        log.intent(number)
        log.create(number)
        log.bind(number)
    log.outcome(1, "Superseded")
    log.outcome(2, "Completed")
    assert log.judged().breaks == ["fraud-2 (Completed) has no Job"]


def test_a_retraining_that_went_with_its_trigger_needs_no_job(log: Log) -> None:
    log.intent(1)
    log.create(1)
    log.bind(1)
    log.delete("retrainings", "rt-1", user=COLLECTOR)
    assert log.judged().breaks == []


def broken() -> Iterator[Any]:
    def lost(log: Log) -> None:
        log.create(2)

    def twice(log: Log) -> None:
        log.create(1, uid="other")
        log.bind(1, uid="other")
        log.outcome(1, "Completed")

    def same_tick(log: Log) -> None:
        log.whole(2)
        log.events[7]["requestObject"]["status"]["pending"]["evidence"]["time"] = "tick 1"

    def unbound(log: Log) -> None:
        log.create(1, uid="late")
        log.job(1, uid="late-job", owner="late")
        log.target(1, job="late-job", retraining="late")
        log.delete("jobs", "late-job", user=COLLECTOR)

    def two_targets(log: Log) -> None:
        log.job(1, uid="job-1b")
        log.target(1, job="job-1b")
        log.delete("jobs", "job-1b", user=COLLECTOR)

    def stray(log: Log) -> None:
        log.job(1, uid="stray")

    def killed(log: Log) -> None:
        log.delete("jobs", "job-1")

    def endless(log: Log) -> None:
        log.events = [e for e in log.events if e["verb"] != "update"]

    def changed(log: Log) -> None:
        log.outcome(1, "Superseded")

    def repeated(log: Log) -> None:
        log.intent(1)

    def unknown(log: Log) -> None:
        log.bind(3)

    yield pytest.param(lost, "without a decision", id="a Retraining without a decision")
    yield pytest.param(twice, "bound 2 Retrainings", id="two Retrainings of one decision")
    yield pytest.param(same_tick, "fired 2 times", id="one tick that fires twice")
    yield pytest.param(unbound, "never bound, yet its Job ran", id="a Job without the right to run")
    yield pytest.param(two_targets, "had 2 targets", id="two targets of one Retraining")
    yield pytest.param(stray, "no target and was left", id="a stray that stays")
    yield pytest.param(killed, "the operator deleted Job", id="a target that the operator deletes")
    yield pytest.param(endless, "has not ended", id="a Job that runs for ever")
    yield pytest.param(changed, "then as Superseded", id="an outcome that changes")
    yield pytest.param(repeated, "was decided twice", id="one number for two decisions")
    yield pytest.param(unknown, "never created", id="a binding to nothing")


@pytest.mark.parametrize(("breaks", "words"), list(broken()))
def test_what_breaks_the_law_is_named(log: Log, breaks: Any, words: str) -> None:
    log.whole(1)
    breaks(log)
    assert any(words in line for line in log.judged().breaks), log.judged().breaks


def test_two_jobs_at_once_break_forbid_but_not_allow(log: Log) -> None:
    log.whole(1).whole(2)
    end = next(event for event in log.events if event["verb"] == "update")
    end["requestReceivedTimestamp"] = "2026-03-02T12:00:30.000000Z"
    assert "ended at" in log.judged().breaks[0]
    assert judge(Ledger.of(log.events), allow=frozenset({"fraud"})).breaks == []


def test_the_busiest_window_is_found() -> None:
    seconds = ["00", "10", "11", "12", "50"]
    times = [parse_instant(f"2026-03-02T12:00:{second}Z") for second in seconds]
    assert busiest(times, SECOND) == 1
    assert busiest(times, 3 * SECOND) == 3
    assert busiest(times, MINUTE) == 5
    assert busiest([], MINUTE) == 0


def test_what_is_exempt_from_the_budget_is_told_from_what_is_not(log: Log) -> None:
    log.whole(1)
    log.say("patch", "drifttriggers/status", "fraud", asked={"status": {"conditions": []}})
    log.say("create", "events", "fraud.1", code=201)
    deferred = {"status": {"conditions": [{"reason": "Deferred"}]}}
    log.say("patch", "retrainings/status", "fraud-1", asked=deferred)
    ours = list(operator_writes(log.events))
    assert [is_urgent(event) for event in ours] == [True] * 6 + [False] * 3
    assert sum(is_confirmation(event) for event in ours) == 1
    measured = rates(log.events, since=parse_instant("2026-03-02T12:00:00Z"))
    assert measured.highest_starts == 1
    assert measured.highest == 1
