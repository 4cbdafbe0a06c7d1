"""The desk: who may share a request, what happens when one breaks it, and who learns of it."""

import asyncio
import gc
from contextlib import suppress
from datetime import datetime

import pytest

from drifttrigger.api.errors import DriftTriggerError
from drifttrigger.api.reasons import Outcome
from drifttrigger.core.observation import Answer, Sample
from drifttrigger.sources.answers import Joined
from drifttrigger.sources.joining import LABEL, MOST_BYTES, MOST_QUERIES
from support.office import TIMEOUT, Office, good, names, says

BROKEN = Answer(failure=Outcome.QUERY_ERROR, message="execution: it broke")
SPLITTING = [Outcome.QUERY_ERROR, Outcome.TOO_LARGE, Outcome.MALFORMED]


@pytest.fixture
def office() -> Office:
    return Office()


# Who may join.


async def test_a_query_is_asked_alone_first_and_then_shares_a_request(office: Office) -> None:
    await office.ask("a", "b", "c")
    assert (sorted(office.server.single), office.server.batches) == (["a", "b", "c"], [])
    office.forget()
    answers = await office.ask("a", "b", "c")
    assert (office.server.single, office.server.batches) == ([], [["a", "b", "c"]])
    assert says(answers) == ["a", "b", "c"]
    assert all(answer.is_batched for answer in answers)
    assert office.sizes == [3]


async def test_one_that_is_new_is_asked_beside_the_batch(office: Office) -> None:
    await office.introduce("a", "b")
    answers = await office.ask("a", "new", "b")
    assert says(answers) == ["a", "new", "b"]
    assert (office.server.single, office.server.batches) == (["new"], [["a", "b"]])


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(good("x", seconds=TIMEOUT * 0.11), id="slow"),
        pytest.param(Answer(samples=(Sample({LABEL: "0"}, "1"),)), id="it sets the reserved label"),
        pytest.param(good("x", is_partial=True), id="marked as partial"),
        pytest.param(good("x", warnings=("a store did not answer",)), id="partial by a warning"),
        pytest.param(BROKEN, id="an error of the query"),
        pytest.param(Answer(failure=Outcome.UNSUPPORTED), id="a matrix"),
        pytest.param(Answer(failure=Outcome.UNREACHABLE, is_late=True), id="late"),
        pytest.param(Answer(failure=Outcome.UNREACHABLE), id="never answered"),
    ],
)
async def test_it_does_not_join_when_it_was(office: Office, answer: Answer) -> None:
    office.server.answers["x"] = answer
    await office.introduce("a", "b", "x")
    assert (await office.ask("a", "b", "x"))[2] == answer
    assert (office.server.single, office.server.batches) == (["x"], [["a", "b"]])
    office.server.answers["x"] = good("x")
    await office.introduce("x")
    await office.ask("a", "b", "x")
    assert office.server.batches == [["a", "b", "x"]], "once it is good it joins"


async def test_a_query_that_takes_a_tenth_of_the_timeout_still_joins(office: Office) -> None:
    office.server.answers["x"] = good("x", seconds=TIMEOUT * 0.1)
    await office.introduce("a", "x")
    await office.ask("a", "x")
    assert office.server.batches == [["a", "x"]]


async def test_a_server_in_trouble_does_not_make_a_good_query_a_stranger(office: Office) -> None:
    await office.introduce("a", "b")
    office.server.answers["a"] = Answer(failure=Outcome.UNREACHABLE)
    assert (await office.desk.ask("a", office.next_instant(), alone=True)).failure
    del office.server.answers["a"]
    office.forget()
    await office.ask("a", "b")
    assert office.server.batches == [["a", "b"]]


async def test_a_question_that_wants_to_be_alone_is(office: Office) -> None:
    await office.introduce("a", "b")
    at = office.next_instant()
    answers = await asyncio.gather(
        office.desk.ask("a", at), office.desk.ask("b", at), office.desk.ask("a", at, alone=True)
    )
    assert [answer.is_batched for answer in answers] == [True, True, False]
    assert (office.server.single, office.server.batches) == (["a"], [["a", "b"]])


async def test_nothing_joins_where_batching_is_disabled() -> None:
    office = Office(joins=False)
    await office.introduce("a", "b")
    assert says(await office.ask("a", "b")) == ["a", "b"]
    assert (office.server.single, office.server.batches) == (["a", "b"], [])


async def test_a_scalar_is_joined_as_a_vector(office: Office) -> None:
    office.server.answers["1"] = good("1", is_scalar=True)
    expressions: list[str] = []
    together = office.server.together

    async def listening(expression: str, at: datetime, number: int) -> Joined | Answer:
        expressions.append(expression)
        return await together(expression, at, number)

    office.desk._ask_together = listening
    await office.introduce("1", "a")
    await office.ask("1", "a")
    assert "vector((\n1\n))" in expressions[0]
    assert "vector((\na\n))" not in expressions[0]


# Who shares.


@pytest.mark.parametrize("is_known", [False, True], ids=["alone", "in a batch"])
async def test_equal_questions_are_asked_once(office: Office, is_known: bool) -> None:
    if is_known:
        await office.introduce("a", "b")
    answers = await office.ask("a", "b", "a", "a")
    assert says(answers) == ["a", "b", "a", "a"]
    asked = office.server.batches if is_known else [office.server.single]
    assert asked == [["a", "b"]]


async def test_different_instants_share_nothing(office: Office) -> None:
    await office.introduce("a", "b")
    first, second = office.next_instant(), office.next_instant()
    answers = await asyncio.gather(
        *(office.desk.ask(query, at) for at in (first, second) for query in ("a", "b"))
    )
    assert office.server.batches == [["a", "b"], ["a", "b"]]
    assert says(list(answers)) == ["a", "b", "a", "b"]


async def test_a_batch_of_one_is_asked_as_it_is(office: Office) -> None:
    await office.introduce("a")
    (answer,) = await office.ask("a")
    assert (office.server.single, office.server.batches) == (["a"], [])
    assert not answer.is_batched
    assert office.sizes == []


async def test_a_batch_holds_no_more_than_two_hundred(office: Office) -> None:
    queries = names(2 * MOST_QUERIES + 10)
    await office.introduce(*queries)
    assert says(await office.ask(*queries)) == queries
    assert office.sizes == [MOST_QUERIES, MOST_QUERIES, 10]


async def test_a_batch_is_no_larger_than_the_server_is_asked_to_read(office: Office) -> None:
    queries = [f"{n}{'x' * 8000}" for n in range(20)]
    lengths: list[int] = []
    together = office.server.together

    async def measuring(expression: str, at: datetime, number: int) -> Joined | Answer:
        lengths.append(len(expression.encode()))
        return await together(expression, at, number)

    office.desk._ask_together = measuring
    await office.introduce(*queries)
    assert says(await office.ask(*queries)) == queries
    assert max(lengths) <= MOST_BYTES
    assert sum(office.sizes) == 20


async def test_a_query_too_large_for_any_batch_is_asked_alone(office: Office) -> None:
    large = "x" * (MOST_BYTES + 1)
    await office.introduce("a", "b", large)
    assert says(await office.ask("a", large, "b")) == ["a", large, "b"]
    assert office.server.single.count(large) == 1
    assert all(large not in batch for batch in office.server.batches)


# What breaks a batch.


@pytest.mark.parametrize("failure", SPLITTING)
async def test_who_breaks_a_batch_is_found_and_costs_nobody_the_tick(
    office: Office, failure: Outcome
) -> None:
    queries = names(16)
    await office.introduce(*queries)
    office.server.answers["q5"] = Answer(failure=failure, message="q5 broke it")
    answers = await office.ask(*queries)
    assert answers.pop(5).failure is failure
    assert says(answers) == [query for query in queries if query != "q5"]
    assert office.sizes == [16, 8, 8, 4, 4, 2, 2], "halves, down to single queries"
    office.forget()
    await office.ask(*queries)
    assert office.server.batches == [[query for query in queries if query != "q5"]]
    assert office.server.single == ["q5"]


async def test_who_broke_a_batch_joins_when_it_has_been_good_for_a_while(office: Office) -> None:
    await office.introduce("a", "b", "x")
    office.server.answers["x"] = BROKEN
    await office.ask("a", "b", "x")
    for _ in range(15):  # it stays bad for longer than anybody is kept alone for one failure
        office.clock.move(60)
        await office.ask("a", "b", "x")
    del office.server.answers["x"]
    office.forget()
    for _ in range(9):
        office.clock.move(60)
        await office.ask("a", "b", "x")
        assert office.server.batches.pop() == ["a", "b"]
    office.clock.move(120)
    await office.ask("a", "b", "x")
    assert office.server.batches == [["a", "b", "x"]]


async def test_a_batch_too_large_is_split_and_all_stay_in_batches(office: Office) -> None:
    queries = names(12)
    await office.introduce(*queries)
    too_large = Answer(failure=Outcome.TOO_LARGE)
    office.server.whole = lambda members: too_large if len(members) > 4 else None
    for _ in range(2):
        assert says(await office.ask(*queries)) == queries
    assert office.server.single == [], "alone none is too large, so none is held to be"


async def test_what_breaks_only_in_company_is_answered_alone(office: Office) -> None:
    await office.introduce("a", "b", "x")
    office.server.breaks["x"] = BROKEN
    assert says(await office.ask("a", "b", "x")) == ["a", "b", "x"]


async def test_a_late_batch_is_asked_one_by_one_and_the_next_ones_are_smaller(
    office: Office,
) -> None:
    queries = names(40)
    await office.introduce(*queries)
    late = Answer(failure=Outcome.UNREACHABLE, is_late=True)
    office.server.whole = lambda members: late if len(members) > 10 else None
    assert says(await office.ask(*queries)) == queries
    assert (office.sizes, office.server.single) == ([40], queries), "nothing is halved"
    office.forget()
    assert says(await office.ask(*queries)) == queries
    assert office.sizes == [10, 10, 10, 10]
    assert office.server.single == []


async def test_batches_grow_again_after_a_late_one(office: Office) -> None:
    queries = names(100)
    await office.introduce(*queries)
    office.server.whole = lambda _: Answer(failure=Outcome.QUERY_ERROR, is_late=True)
    await office.ask(*queries)
    office.server.whole = lambda _: None
    office.forget()
    for _ in range(8):
        await office.ask(*queries)
    assert office.sizes[0] == 25
    assert office.sizes[-1] == 100


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(Answer(failure=Outcome.UNREACHABLE, message="refused"), id="connect"),
        pytest.param(Answer(failure=Outcome.UNAUTHORIZED, message="HTTP 401"), id="401"),
        pytest.param(
            Answer(failure=Outcome.UNREACHABLE, message="HTTP 503", retry_after_seconds=9), id="503"
        ),
        pytest.param(
            Answer(failure=Outcome.QUERY_ERROR, message="too_many_requests", is_servers=True),
            id="429",
        ),
        pytest.param(
            Answer(failure=Outcome.UNREACHABLE, is_held=True, retry_after_seconds=3), id="held"
        ),
        pytest.param(
            Answer(failure=Outcome.UNREACHABLE, is_held=True, is_late=True), id="held for lateness"
        ),
    ],
)
async def test_the_servers_own_trouble_is_the_same_for_all_and_asked_once(
    office: Office, trouble: Answer
) -> None:
    queries = names(8)
    await office.introduce(*queries)
    office.server.whole = lambda _: trouble
    office.server.answers = dict.fromkeys(queries, trouble)
    assert await office.ask(*queries) == [trouble] * 8
    assert len(office.server.batches) == 1, "nothing is split"
    assert len(office.server.single) <= 1, "one, at most, to see whether it meets a query alone"
    office.server.whole = lambda _: None
    office.server.answers = {}
    office.forget()
    assert says(await office.ask(*queries)) == queries
    assert office.sizes == [8], "once it is over they share requests as before"


# Warnings.


@pytest.mark.parametrize("is_marked", [False, True], ids=["by a warning", "by a mark"])
async def test_of_a_partial_answer_each_asks_alone_whether_it_is_its_own(
    office: Office, is_marked: bool
) -> None:
    await office.introduce("a", "b", "c")
    office.server.warnings = () if is_marked else ("store x did not answer",)
    office.server.is_partial = is_marked
    office.server.answers["b"] = good("b", warnings=("store x did not answer",))
    answers = await office.ask("a", "b", "c")
    assert office.server.single == ["a", "b", "c"]
    assert [bool(answer.warnings) for answer in answers] == [False, True, False]
    office.server.warnings, office.server.is_partial = (), False
    office.forget()
    await office.ask("a", "b", "c")
    assert office.server.batches == [["a", "c"]]


async def test_whose_a_promql_warning_is_is_asked_at_most_hourly(office: Office) -> None:
    warning = "PromQL warning: a rate of a gauge"
    office.server.answers["a"] = good("a", warnings=(warning,), infos=("PromQL info: a",))
    await office.introduce("a", "b")
    office.server.warnings = (warning,)
    for _ in range(59):
        office.clock.move(60)
        answers = await office.ask("a", "b")
        assert [answer.warnings for answer in answers] == [(warning,), ()]
        assert [answer.infos for answer in answers] == [("PromQL info: a",), ()]
    assert office.server.single == []
    office.clock.move(120)
    office.server.answers["a"] = good("a")
    office.server.answers["b"] = good("b", warnings=(warning,))
    answers = await office.ask("a", "b")
    assert [answer.warnings for answer in answers] == [(), (warning,)]
    assert office.server.single == ["a", "b"]


async def test_a_warning_that_is_over_is_not_told_any_more(office: Office) -> None:
    warning = "PromQL warning: mixed floats and histograms"
    office.server.answers["a"] = good("a", warnings=(warning,))
    await office.introduce("a", "b")
    office.server.warnings = (warning,)
    assert (await office.ask("a", "b"))[0].warnings == (warning,)
    office.server.warnings = ()
    assert (await office.ask("a", "b"))[0].warnings == ()


async def test_what_only_a_batch_is_refused_as_the_servers_own_trouble_is_split(
    office: Office,
) -> None:
    queries = names(4)
    await office.introduce(*queries)
    refusal = Answer(failure=Outcome.QUERY_ERROR, message="too_many_requests", is_servers=True)
    office.server.whole = lambda members: refusal if len(members) > 2 else None
    assert says(await office.ask(*queries)) == queries
    assert office.sizes == [4, 2, 2]


async def test_a_member_whose_own_result_is_odd_says_it_alone(office: Office) -> None:
    await office.introduce("a", "b")
    odd = Answer(failure=Outcome.UNSUPPORTED, message="a native histogram")
    office.server.answers["b"] = odd
    office.server.whole = lambda _: None
    at = office.next_instant()

    async def together(expression: str, at: datetime, number: int) -> Joined | Answer:
        return Joined((good("a"), odd), (), is_partial=False)

    office.desk._ask_together = together
    answers = await office.ask("a", "b", at=at)
    assert answers[0].is_batched
    assert answers[1] == odd
    assert office.server.single == ["b"]


# Distrust.


async def test_a_distrusted_query_stays_alone_for_an_hour(office: Office) -> None:
    await office.introduce("a", "b", "x")
    office.desk.distrust("x")
    office.clock.move(3599)
    await office.ask("a", "b", "x")
    assert (office.server.single, office.server.batches) == (["x"], [["a", "b"]])
    office.clock.move(2)
    office.forget()
    await office.ask("a", "b", "x")
    assert office.server.batches == [["a", "b", "x"]]


async def test_a_query_is_told_apart_from_its_edit(office: Office) -> None:
    await office.introduce("a", "b")
    await office.ask("a", "b # edited")
    assert office.server.single == ["b # edited", "a"]


async def test_what_nobody_asks_any_more_is_forgotten(office: Office) -> None:
    await office.introduce("a", "b", *names(50))
    for _ in range(20):
        office.clock.move(600)
        await office.ask("a", "b")
    assert set(office.desk._known) == {"a", "b"}


async def test_what_nobody_asks_any_more_is_forgotten_where_nothing_joins() -> None:
    office = Office(joins=False)
    await office.introduce(*names(50))
    for _ in range(20):
        office.clock.move(600)
        await office.ask("a")
    assert set(office.desk._known) == {"a"}


# Defects and those who leave.


async def test_a_defect_leaves_nobody_waiting(office: Office) -> None:
    await office.introduce("a", "b")
    office.server.defect = KeyError("a defect")
    lost: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, c: lost.append(c["exception"]))
    at = office.next_instant()
    async with asyncio.timeout(5):
        answers = await asyncio.gather(
            office.desk.ask("a", at), office.desk.ask("b", at), return_exceptions=True
        )
    assert [isinstance(answer, DriftTriggerError) for answer in answers] == [True, True]
    await office.clock.settle()
    gc.collect()
    assert [type(error) for error in lost] == [KeyError], "and the defect is told"
    office.server.defect = None
    assert says(await office.ask("a", "b")) == ["a", "b"]


@pytest.mark.parametrize("is_known", [False, True], ids=["alone", "in a batch"])
async def test_one_who_leaves_takes_nobody_along(office: Office, is_known: bool) -> None:
    if is_known:
        await office.introduce("a", "b")
    at = office.next_instant()
    office.server.gate.clear()
    leaves, stays, other = (
        asyncio.create_task(office.desk.ask(query, at)) for query in ("a", "a", "b")
    )
    await asyncio.sleep(0.03)
    leaves.cancel()
    with suppress(asyncio.CancelledError):
        await leaves
    assert leaves.cancelled()
    office.server.gate.set()
    async with asyncio.timeout(5):
        assert says([await stays, await other]) == ["a", "b"]
