"""The demo's counts come from the audit log, and tell a second Job, a dry run and a kill apart."""

from typing import Any

import pytest

from drifttrigger.cli.demo.audit import AuditCount, count

USER = "system:serviceaccount:drifttrigger-system:drifttrigger"
FIRST, SECOND = "JTI=first", "JTI=second"
Event = dict[str, Any]


def event(verb: str, resource: str, *, by: str = FIRST, code: int = 200, **more: Any) -> Event:
    group, _, kind = resource.rpartition("/")
    name, _, subresource = kind.partition(":")
    reference = {"apiGroup": group, "resource": name, "name": more.pop("name", "fraud-1")}
    if subresource:
        reference["subresource"] = subresource
    return {
        "stage": "ResponseComplete",
        "verb": verb,
        "requestURI": f"/apis/{group}/v1/{name}",
        "user": {
            "username": USER,
            "extra": {"authentication.kubernetes.io/credential-id": [by]},
        },
        "objectRef": reference,
        "responseStatus": {"code": code},
        **more,
    }


def write(status: object, *, by: str = FIRST, code: int = 200) -> Event:
    body = {"metadata": {"resourceVersion": "7"}, "status": status}
    resource = "drifttrigger.dev/drifttriggers:status"
    return event("patch", resource, by=by, code=code, name="fraud", requestObject=body)


INTENT = {"pending": {"name": "fraud-1", "cause": "Drift"}, "retrainings": 1}
RETRAINING, JOB = "drifttrigger.dev/retrainings", "batch/jobs"
STORY = [
    write({"lastTick": "2026-01-31T12:00:00Z"}),
    write(INTENT, code=409),
    write(INTENT),
    event("create", RETRAINING, by=SECOND, code=201),
    write({"pending": None, "active": [{"name": "fraud-1"}]}, by=SECOND),
    event("create", JOB, by=SECOND, code=201),
]


def test_one_story_is_one_of_everything() -> None:
    counted = count(STORY, user=USER)
    assert counted == AuditCount(
        decisions=1, retrainings=1, jobs=1, kills=1, requests=len(STORY), refused=0
    )
    assert counted.is_exactly_one
    assert counted.sentence == "1 decision, 1 Retraining, 1 Job, 1 kill -9"


DRY_RUN = "/apis/batch/v1/namespaces/default/jobs?dryRun=All&fieldValidation=Strict"
BY_HAND = {"username": "admin"}


@pytest.mark.parametrize(
    "more",
    [
        pytest.param(event("create", JOB, code=201, requestURI=DRY_RUN), id="a dry run"),
        pytest.param(event("create", JOB, code=409), id="a Job that was there already"),
        pytest.param(event("patch", f"{JOB}:status"), id="a Job's progress"),
        pytest.param(event("create", JOB, code=201, stage="Panic"), id="an unfinished request"),
        pytest.param({**event("get", JOB), "objectRef": None}, id="a request without an object"),
    ],
)
def test_what_creates_nothing_is_not_counted(more: Event) -> None:
    counted = count([*STORY, more], user=USER)
    assert counted.sentence == count(STORY, user=USER).sentence


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        pytest.param(
            event("create", JOB, code=201, name="fraud-2", user=BY_HAND),
            "1 decision, 1 Retraining, 2 Jobs, 1 kill -9",
            id="a second Job, whoever made it",
        ),
        pytest.param(
            event("create", RETRAINING, code=201, name="fraud-2"),
            "1 decision, 2 Retrainings, 1 Job, 1 kill -9",
            id="a second Retraining",
        ),
        pytest.param(
            write({"pending": {"name": "fraud-2"}}, by=SECOND),
            "2 decisions, 1 Retraining, 1 Job, 1 kill -9",
            id="a second decision",
        ),
    ],
)
def test_one_too_many_is_seen(more: Event, sentence: str) -> None:
    counted = count([*STORY, more], user=USER)
    assert counted.sentence == sentence
    assert not counted.is_exactly_one


def test_a_decision_that_its_own_writer_carries_out_is_no_kill() -> None:
    alone = [write(INTENT), event("create", RETRAINING, code=201), event("create", JOB, code=201)]
    counted = count(alone, user=USER)
    assert (counted.decisions, counted.kills) == (1, 0)
    assert not counted.is_exactly_one


def test_a_refused_request_spoils_the_count() -> None:
    counted = count([*STORY, event("list", "/secrets", code=403)], user=USER)
    assert counted.refused == 1
    assert not counted.is_exactly_one


def test_an_empty_log_counts_nothing() -> None:
    assert count([], user=USER).sentence == "0 decisions, 0 Retrainings, 0 Jobs, 0 kill -9"
