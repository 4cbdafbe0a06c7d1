"""The desk, asked for many at once: what is sure, what is left to be asked the usual way."""

import pytest

from drifttrigger.api.reasons import Outcome
from drifttrigger.core.observation import Answer
from drifttrigger.sources.joining import MOST_BYTES
from support.office import Office, names, says


@pytest.fixture
def office() -> Office:
    return Office()


async def test_many_at_once_share_requests_if_they_may(office: Office) -> None:
    await office.introduce("a", "b", "x")
    office.desk.distrust("x")
    at = office.next_instant()
    found = await office.desk.ask_together(["a", "new", "b", "x", "a"], at)
    answers = [answer for answer in found if answer is not None]
    assert [answer is None for answer in found] == [False, True, False, True, False]
    assert says(answers) == ["a", "b", "a"]
    assert all(answer.is_batched for answer in answers)
    assert (office.server.single, office.server.batches) == ([], [["a", "b"]])


async def test_many_at_once_are_left_to_be_asked_where_batching_is_disabled() -> None:
    office = Office(joins=False)
    await office.introduce("a", "b")
    assert await office.desk.ask_together(["a", "b"], office.next_instant()) == [None, None]


async def test_many_at_once_go_into_as_few_requests_as_the_server_takes(office: Office) -> None:
    queries = names(450)
    await office.introduce(*queries)
    assert says(await office.ask_together(*queries)) == queries
    assert office.sizes == [200, 200, 50]
    large = [f"{name}{'x' * (MOST_BYTES // 4)}" for name in "abcde"]
    await office.introduce(*large)
    assert says(await office.ask_together(*large)) == large
    assert office.sizes == [3, 2]


async def test_a_lone_one_of_many_is_asked_alone(office: Office) -> None:
    await office.introduce("a")
    found = await office.desk.ask_together(["a", "a"], office.next_instant())
    assert [answer is not None and answer.is_batched for answer in found] == [False, False]
    assert (office.server.single, office.server.batches) == (["a"], [])


TROUBLES = [
    pytest.param({"q5": Answer(failure=Outcome.QUERY_ERROR)}, None, id="one is broken"),
    pytest.param({"q5": Answer(failure=Outcome.UNSUPPORTED)}, None, id="one is a histogram"),
    pytest.param({}, Answer(failure=Outcome.TOO_LARGE), id="too large"),
    pytest.param({}, Answer(failure=Outcome.UNREACHABLE, is_late=True), id="late"),
]


@pytest.mark.parametrize(("single", "whole"), TROUBLES)
async def test_what_breaks_many_costs_nobody_the_tick(
    office: Office, single: dict[str, Answer], whole: Answer | None
) -> None:
    queries = names(16)
    await office.introduce(*queries)
    office.server.answers = single
    office.server.whole = lambda members: whole if len(members) > 6 else None
    answers = await office.ask_together(*queries)
    for query, answer in zip(queries, answers, strict=True):
        assert answer == single.get(query, answer)
        assert answer.failure is not None or says([answer]) == [query]
    if whole is not None and whole.is_late:
        assert sorted(office.server.single) == sorted(queries), "who is slow shows only alone"


async def test_the_servers_own_trouble_is_told_to_all_of_many(office: Office) -> None:
    queries = names(8)
    await office.introduce(*queries)
    trouble = Answer(failure=Outcome.UNREACHABLE, message="refused")
    office.server.whole = lambda _: trouble
    assert await office.desk.ask_together(queries, office.next_instant()) == [trouble] * 8
    assert (office.server.single, office.sizes) == ([], [8])


async def test_whose_a_warning_of_many_is_is_left_to_be_asked(office: Office) -> None:
    await office.introduce("a", "b")
    office.server.warnings = ("PromQL warning: x",)
    at = office.next_instant()
    assert None not in await office.desk.ask_together(["a", "b"], at)
    office.clock.move(3601)
    assert await office.desk.ask_together(["a", "b"], office.next_instant()) == [None, None]
    office.server.warnings = ("a store did not answer",)
    await office.introduce("a", "b")
    assert await office.desk.ask_together(["a", "b"], office.next_instant()) == [None, None]
