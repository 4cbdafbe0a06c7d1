"""A server that fails is left alone for a while, then one request tries for all."""

import pytest

from drifttrigger.api.reasons import Outcome
from drifttrigger.sources.health import Backoff, Refusal, Sickness
from support.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def backoff(clock: FakeClock) -> Backoff:
    return Backoff(clock, outcome=Outcome.UNREACHABLE)


def refusal(backoff: Backoff) -> Refusal:
    with pytest.raises(Refusal) as caught:
        backoff.admit()
    return caught.value


def test_while_all_is_well_everybody_passes(backoff: Backoff) -> None:
    assert [backoff.admit() for _ in range(3)] == [False, False, False]
    assert not backoff.is_open


def test_after_a_failure_nobody_passes_and_all_hear_why(backoff: Backoff) -> None:
    backoff.failed("no route")
    said = refusal(backoff)
    assert (str(said), said.outcome, said.seconds) == ("no route", Outcome.UNREACHABLE, 1.0)


def test_the_wait_doubles_from_a_second_to_two_minutes(backoff: Backoff, clock: FakeClock) -> None:
    waits = []
    for _ in range(10):
        backoff.failed("x")
        waits.append(refusal(backoff).seconds)
        clock.move(waits[-1])
        backoff.release(tried=backoff.admit())
    assert waits == [1, 2, 4, 8, 16, 32, 64, 120, 120, 120]


@pytest.mark.parametrize(("jitter", "second"), [(0.0, 1.5), (0.999, 2.498)])
def test_waits_are_spread(jitter: float, second: float) -> None:
    clock = FakeClock(jitter=jitter)
    backoff = Backoff(clock, outcome=Outcome.UNREACHABLE)
    backoff.failed("x")
    clock.move(2)
    backoff.failed("x")
    assert refusal(backoff).seconds == pytest.approx(second, abs=0.01)


def test_after_the_wait_one_tries_at_a_time(backoff: Backoff, clock: FakeClock) -> None:
    backoff.failed("x")
    clock.move(1)
    assert backoff.admit() is True
    assert refusal(backoff).seconds == 5.0  # a trial may take long
    with pytest.raises(Refusal):
        backoff.check()
    backoff.release(tried=True)
    assert backoff.admit() is True


def test_one_who_did_not_try_releases_nobody(backoff: Backoff, clock: FakeClock) -> None:
    passed = backoff.admit()
    backoff.failed("x")
    clock.move(1)
    assert backoff.admit() is True
    backoff.release(tried=passed)
    refusal(backoff)


def test_a_success_lets_everybody_pass_at_once(backoff: Backoff, clock: FakeClock) -> None:
    for _ in range(4):
        backoff.failed("x")
        clock.move(200)
    backoff.succeeded()
    assert backoff.admit() is False
    backoff.check()
    backoff.failed("y")
    assert refusal(backoff).seconds == 1.0


def test_failures_that_were_under_way_together_count_once(backoff: Backoff) -> None:
    for number in range(8):
        backoff.failed(f"{number}")
    assert (str(refusal(backoff)), refusal(backoff).seconds) == ("7", 1.0)


@pytest.mark.parametrize(("wish", "seconds"), [(30, 30), (0, 1), (9999, 300)])
def test_a_servers_wish_is_heard_within_bounds(backoff: Backoff, wish: float, seconds: int) -> None:
    backoff.failed("slow down", wish_seconds=wish)
    assert refusal(backoff).seconds == seconds


def test_a_failure_may_have_a_name_of_its_own(clock: FakeClock) -> None:
    backoff = Backoff(clock, outcome=Outcome.UNAUTHORIZED)
    backoff.failed("429", outcome=Outcome.UNREACHABLE)
    assert refusal(backoff).outcome is Outcome.UNREACHABLE
    clock.move(5)
    backoff.failed("401")
    assert refusal(backoff).outcome is Outcome.UNAUTHORIZED


def test_three_different_queries_in_a_row_are_the_servers_trouble() -> None:
    sickness = Sickness()
    assert [sickness.failed(query) for query in ("a", "a", "b", "a", "b")] == [False] * 5
    assert sickness.failed("c")


def test_an_answer_in_between_begins_the_count_anew() -> None:
    sickness = Sickness()
    sickness.failed("a")
    sickness.failed("b")
    sickness.succeeded()
    assert not sickness.failed("c")
