"""Ticks on the real control plane: what is due is asked, once, even if it could not be in time."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from drifttrigger.core.times import format_instant, parse_instant
from support.faults import Fault, FaultPlan, Injection
from support.proxy import Proxy, kind_of_prometheus
from support.world import World

pytestmark = pytest.mark.e2e

_OUTAGE_SECONDS = 10.0


class Switch(FaultPlan):
    """Every request is reset while it is on."""

    def __init__(self) -> None:
        super().__init__("", is_on=False)
        self.asked = 0

    def draw(self, kind: str) -> Injection | None:
        self.asked += 1
        return Injection(Fault.RESET_BEFORE) if self.is_on else None


@pytest.fixture
def outage() -> Switch:
    return Switch()


@pytest.fixture
def address(world: World, outage: Switch) -> Iterator[str]:
    """The real Prometheus, behind a switch."""
    assert world.cluster.prometheus_url is not None
    with Proxy(world.cluster.prometheus_url, outage, kind_of=kind_of_prometheus) as proxy:
        yield proxy.url


def next_weekly_tick() -> tuple[datetime, str]:
    """Return a minute that comes soon, and the weekly cron expression that means it."""
    soon = datetime.now(UTC) + timedelta(seconds=75)
    tick = soon.replace(second=0, microsecond=0)
    return tick, f"{tick.minute} {tick.hour} * * {tick.isoweekday() % 7}"


def sleep_until(instant: datetime) -> None:
    time.sleep(max(0.0, (instant - datetime.now(UTC)).total_seconds()))


def test_a_weekly_tick_that_meets_an_outage_is_evaluated_once_when_the_server_is_back(
    world: World, outage: Switch, address: str
) -> None:
    world.set("fraud", 0.35)
    world.operator()
    tick, schedule = next_weekly_tick()
    weekly = world.trigger(schedule=schedule, prometheus={"address": address})
    del weekly["spec"]["interval"]
    world.apply(weekly)
    world.wait_reason("fraud", "Ready", "Evaluating")
    assert world.all("retraining") == []

    sleep_until(tick - timedelta(seconds=1))
    outage.is_on, asked = True, outage.asked
    sleep_until(tick + timedelta(seconds=_OUTAGE_SECONDS))
    assert outage.asked - asked >= 2
    assert world.all("retraining") == []

    outage.is_on = False
    world.wait_jobs(1, within_seconds=40)
    [retraining] = world.all("retraining")
    assert retraining["spec"]["evidence"]["time"] == format_instant(tick)
    assert parse_instant(retraining["metadata"]["creationTimestamp"]) > tick
    asked = outage.asked
    time.sleep(5)
    assert outage.asked == asked
    assert len(world.created_jobs()) == 1
