"""Replicas that share work: who takes part, who owns what, and when, in virtual time."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drifttrigger.api.errors import DriftTriggerError
from drifttrigger.clients.kube import Resource
from drifttrigger.runtime.settings import Controller
from drifttrigger.runtime.shards import FENCED_SECONDS, LEASE_SECONDS, RENEW_SECONDS
from support.replicas import KEYS, STEP, Json, Replica, Site, Time

PROMISED_SECONDS = 15.0
"""How long after its last renewal a lost replica's objects are another's, at most."""


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(asyncio, "sleep", time.sleep)
    return time


@pytest.fixture
async def site(time: Time) -> AsyncIterator[Site]:
    site = Site(time)
    yield site
    for replica in site.replicas:
        await replica.kill()


# Taking part.


async def test_a_replica_announces_itself_only_once_its_caches_are_warm(site: Site) -> None:
    replica = site.start("a", synced=False)
    await site.time.past(120)
    assert (site.server.leases, replica.owned, replica.changes) == ({}, set(), 0)
    replica.synced.set()
    await site.time.past(0)
    assert site.server.holders == ["a"]
    assert replica.owned == set(KEYS)
    assert replica.changes == 1


async def test_its_lease_says_whose_it_is_and_lives_with_its_pod(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POD_NAME", "drifttrigger-x")
    monkeypatch.setenv("POD_UID", "pod-uid")
    site.start("a")
    await site.time.past(0)
    (lease,) = site.server.leases.values()
    assert lease["spec"]["holderIdentity"] == "a"
    assert lease["spec"]["leaseDurationSeconds"] == LEASE_SECONDS
    assert lease["spec"]["renewTime"] == lease["spec"]["acquireTime"]
    (owner,) = lease["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Pod", "drifttrigger-x", "pod-uid")


async def test_two_share_everything_and_each_key_is_one_replicas(site: Site) -> None:
    one, other = await site.pair()
    assert one.owned | other.owned == set(KEYS)
    assert not one.owned & other.owned
    assert one.owned
    assert other.owned


async def test_nothing_changes_hands_while_all_renew(site: Site) -> None:
    one, other = await site.pair()
    before = one.owned, other.owned, one.changes, other.changes
    for _ in range(400):
        await site.time.past(STEP)
        assert (one.owned, other.owned, one.changes, other.changes) == before
    renewals = sum(verb == "patch" for verb, _ in site.server.writes)
    assert renewals <= 2 * (100 / RENEW_SECONDS + 6)


async def test_one_that_comes_takes_only_for_itself(site: Site) -> None:
    one, other = await site.pair()
    before = one.owned, other.owned
    third = site.start("c")
    await site.time.past(2 * RENEW_SECONDS)
    assert one.owned < before[0]
    assert other.owned < before[1]
    assert third.owned == set(KEYS) - one.owned - other.owned


# Being lost.


@pytest.mark.parametrize("at", [0.0, 0.5, 1.0, 1.7, 2.9])
async def test_a_killed_replicas_objects_are_anothers_in_time(site: Site, at: float) -> None:
    one, other = await site.pair()
    await site.time.past(at)
    await one.kill()
    seconds = await site.seconds_until_owned_by(other)
    assert LEASE_SECONDS - RENEW_SECONDS <= seconds <= PROMISED_SECONDS + STEP
    assert other.shards.members == 1


@pytest.mark.parametrize("at", [0.0, 1.3, 2.9])
async def test_a_replica_cut_off_owns_nothing_before_another_may_take_over(
    site: Site, at: float
) -> None:
    one, other = await site.pair()
    await site.time.past(at)
    its, one.line.is_cut = one.owned, True
    for _ in range(80):
        await site.time.past(STEP)
        assert not one.owned & other.owned
        assert one.owned in (its, set()), "all or nothing"
    assert (one.owned, other.owned) == (set(), set(KEYS))
    one.line.is_cut = False
    await site.time.past(2 * RENEW_SECONDS)
    assert (one.owned, other.owned) == (its, set(KEYS) - its)


async def test_a_replica_that_was_suspended_owns_nothing_when_it_wakes(site: Site) -> None:
    one, _ = await site.pair()
    its, changes = one.owned, one.changes
    one.line.is_cut = True
    await site.time.past(FENCED_SECONDS - RENEW_SECONDS - 0.1)
    assert one.owned == its
    one.line.is_cut = False
    site.time.move(RENEW_SECONDS + 0.2)
    assert one.owned == set(), "by the clock alone: its own loop has not turned yet"
    await site.time.past(2 * RENEW_SECONDS)
    assert one.owned == its
    assert one.changes > changes, "who was turned away is told that it is over"


async def test_one_that_knows_of_no_other_goes_on_while_the_api_server_is_down(site: Site) -> None:
    replica = site.start("a")
    await site.time.past(0)
    replica.line.is_cut = True
    await site.time.past(600)
    assert replica.owned == set(KEYS)


async def test_while_the_api_server_is_down_all_stop_and_then_go_on_as_before(site: Site) -> None:
    one, other = await site.pair()
    before = one.owned, other.owned
    one.line.is_cut = other.line.is_cut = True
    await site.time.past(FENCED_SECONDS + 1)
    assert (one.owned, other.owned) == (set(), set())
    await site.time.past(600)
    assert (one.shards.members, other.shards.members) == (0, 0)
    one.line.is_cut = other.line.is_cut = False
    for _ in range(40):
        await site.time.past(STEP)
        assert not one.owned & other.owned, "neither takes the other for lost"
    assert (one.owned, other.owned) == before


async def test_a_short_outage_is_not_even_noticed(site: Site) -> None:
    one, other = await site.pair()
    before = one.owned, other.owned, one.changes, other.changes
    one.line.is_cut = other.line.is_cut = True
    await site.time.past(4)
    one.line.is_cut = other.line.is_cut = False
    for _ in range(80):
        await site.time.past(STEP)
        assert (one.owned, other.owned, one.changes, other.changes) == before


# Leaving.


async def test_one_that_stops_gives_its_lease_up_at_once(site: Site) -> None:
    one, other = await site.pair()
    await one.stop()
    assert site.server.holders == ["b"]
    assert one.owned == set()
    assert await site.seconds_until_owned_by(other) <= RENEW_SECONDS + STEP


async def test_one_that_never_took_part_has_nothing_to_give_up(site: Site) -> None:
    replica = site.start("a", synced=False)
    await replica.stop()
    assert site.server.writes == []


async def test_a_lease_that_cannot_be_given_up_is_left_to_expire(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = await site.pair()
    one.line.is_cut = True
    await one.stop()
    assert "was not released, and will expire" in caplog.text
    assert await site.seconds_until_owned_by(other) <= PROMISED_SECONDS + STEP


async def test_a_lease_that_is_gone_already_is_given_up(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    replica = site.start("a")
    await site.time.past(0)
    site.server.leases.clear()
    await replica.stop()
    assert "not released" not in caplog.text


async def test_a_lease_that_somebody_deletes_comes_back(site: Site) -> None:
    one, other = await site.pair()
    site.server.leases.clear()
    await site.time.past(2 * RENEW_SECONDS)
    assert site.server.holders == ["a", "b"]
    assert one.owned | other.owned == set(KEYS)
    assert not one.owned & other.owned


# Whom to believe.


def stranger(name: str = "stranger", **fields: Any) -> Json:
    """A Lease like a replica's, but for some fields of its spec."""
    spec = {"holderIdentity": name, "leaseDurationSeconds": 15} | fields
    return {"metadata": {"name": f"lease-of-{name}"}, "spec": spec}


def in_group_of(lease: Json, site: Site) -> Json:
    labels = next(iter(site.server.leases.values()))["metadata"]["labels"]
    return {**lease, "metadata": {**lease["metadata"], "labels": labels}}


async def test_a_lease_that_claims_to_be_renewed_for_ever_expires_all_the_same(site: Site) -> None:
    replica = site.start("a")
    await site.time.past(0)
    hostile = stranger(renewTime="2999-01-01T00:00:00.000000Z", leaseDurationSeconds=10**9)
    site.server.put(in_group_of(hostile, site))
    await site.time.past(RENEW_SECONDS + STEP)
    assert replica.shards.members == 2
    assert await site.seconds_until_owned_by(replica) <= PROMISED_SECONDS


async def test_a_lease_that_changes_counts_whatever_times_are_written_in_it(site: Site) -> None:
    replica = site.start("a")
    await site.time.past(0)
    late = stranger(renewTime="1970-01-01T00:00:00.000000Z", leaseDurationSeconds=1)
    site.server.put(in_group_of(late, site))
    await site.time.past(RENEW_SECONDS + STEP)
    for count in range(20):
        assert replica.shards.members == 2
        site.server.touch("lease-of-stranger", leaseTransitions=count)
        await site.time.past(5)


async def test_the_wall_clock_is_never_asked_who_lives(site: Site) -> None:
    one, other = await site.pair()
    before = one.owned, other.owned
    now = site.time.now
    site.time.now = lambda: now().replace(year=2999)  # type: ignore[method-assign]
    await site.time.past(60)
    assert (one.owned, other.owned) == before


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"namespaces": ("models",)}, id="it watches something else"),
        pytest.param({"controllers": (Controller.EXECUTION,)}, id="it does something else"),
    ],
)
async def test_replicas_of_another_deployment_share_nothing(
    site: Site, change: dict[str, Any]
) -> None:
    one, other = site.start("a"), site.start("b", **change)
    await site.time.past(60)
    assert one.owned == other.owned == set(KEYS)


async def test_the_order_in_which_namespaces_are_named_makes_no_other_group(site: Site) -> None:
    one = site.start("a", namespaces=("x", "y"))
    other = site.start("b", namespaces=("y", "x"))
    await site.time.past(2 * RENEW_SECONDS)
    assert [one.shards.members, other.shards.members] == [2, 2]


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(None, id="no spec"),
        pytest.param({}, id="an empty spec"),
        pytest.param({"holderIdentity": None}, id="no holder"),
        pytest.param({"holderIdentity": ""}, id="an empty holder"),
        pytest.param({"holderIdentity": 7}, id="a holder that is no text"),
        pytest.param({"holderIdentity": "a"}, id="the replica's own name"),
    ],
)
async def test_a_lease_that_names_nobody_counts_for_nobody(site: Site, spec: Any) -> None:
    replica = site.start("a")
    await site.time.past(0)
    site.server.put(in_group_of({"metadata": {"name": "odd"}, "spec": spec}, site))
    await site.time.past(60)
    assert replica.owned == set(KEYS)
    assert replica.changes == 1


async def test_two_of_the_same_name_both_own_and_neither_is_lost(site: Site) -> None:
    one, other, third = site.start("a"), site.start("a"), site.start("b")
    for _ in range(20):
        await site.time.past(5)
        assert one.shards.members == other.shards.members == third.shards.members == 2
        assert one.owned == other.owned == set(KEYS) - third.owned
    await other.stop()
    await site.time.past(2 * RENEW_SECONDS)
    assert site.server.holders == ["a", "b"], "the one that is left announces itself again"
    assert one.owned | third.owned == set(KEYS)


async def test_a_replica_whose_lease_is_held_by_another_says_so_and_stays_out(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    replica = site.start("a", synced=False)
    site.server.put({"metadata": {"name": replica.shards._name}, "spec": {"holderIdentity": "z"}})
    replica.synced.set()
    await site.time.past(30)
    assert replica.owned == set()
    assert "is the Lease of z; use --identity" in caplog.text


# Tidying up.


async def test_the_lease_of_a_replica_long_gone_is_removed(site: Site) -> None:
    one, _ = await site.pair()
    await one.kill()
    await site.time.past(2 * LEASE_SECONDS - RENEW_SECONDS)
    assert site.server.holders == ["a", "b"]
    await site.time.past(3 * RENEW_SECONDS)
    assert site.server.holders == ["b"]


async def test_one_that_comes_back_as_its_lease_is_removed_keeps_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await site.pair()
    await one.kill()
    delete = other.line.delete

    async def overtaken(resource: Resource, namespace: str, name: str, **kw: Any) -> None:
        site.server.touch(name, renewTime="just now")
        await delete(resource, namespace, name, **kw)

    monkeypatch.setattr(other.line, "delete", overtaken)
    await site.time.past(3 * LEASE_SECONDS)
    assert ("delete", one.shards._name) not in site.server.writes
    assert site.server.holders == ["a", "b"]


async def test_a_right_that_is_missing_to_tidy_up_stops_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await site.pair()

    async def refused(*_: Any, **__: Any) -> None:
        raise DriftTriggerError("forbidden")

    monkeypatch.setattr(other.line, "delete", refused)
    await one.kill()
    await site.time.past(5 * LEASE_SECONDS)
    assert other.owned == set(KEYS)


# Whatever happens.

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["start", "kill", "stop", "cut", "mend", "suspend", "delete"]),
        st.integers(0, 2),
        st.sampled_from([0.0, 0.4, 3.0, 7.0, 11.0, 20.0]),
    ),
    max_size=12,
)


@given(events=EVENTS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_after_whatever_happened_every_key_is_one_replicas_again(
    monkeypatch: pytest.MonkeyPatch, events: list[tuple[str, int, float]]
) -> None:
    async def run() -> None:
        time = Time()
        monkeypatch.setattr(asyncio, "sleep", time.sleep)
        site = Site(time)
        alive: dict[int, Replica] = {0: site.start("r0")}
        for event, number, seconds in events:
            replica = alive.get(number)
            match event:
                case "start" if replica is None:
                    alive[number] = site.start(f"r{number}")
                case "kill" if replica is not None:
                    await alive.pop(number).kill()
                case "stop" if replica is not None:
                    await alive.pop(number).stop()
                case "cut" | "mend" if replica is not None:
                    replica.line.is_cut = event == "cut"
                case "suspend":
                    time.move(seconds)
                case "delete":
                    site.server.leases.clear()
            await time.past(seconds)
        await time.past(2 * LEASE_SECONDS)
        connected = [replica for replica in alive.values() if not replica.line.is_cut]
        for key in KEYS:
            owners = [replica for replica in connected if replica.shards.owns(key)]
            assert len(owners) == min(1, len(connected))
        # One that is cut off may go on only if it never knew of another.
        cut = [r for r in alive.values() if r.line.is_cut]
        assert all(r.owned in (set(), set(KEYS)) for r in cut)
        assert not any(r.owned for r in cut if r.shards._seen)
        for replica in site.replicas:
            await replica.kill()

    asyncio.run(run())
