"""Replicas that share work: who takes part, who owns what, and when, in virtual time."""

import asyncio
import copy
import heapq
import itertools
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drifttrigger.api.errors import (
    AlreadyExists,
    ConflictError,
    DriftTriggerError,
    NotFoundError,
    TransientError,
)
from drifttrigger.clients.kube import LEASES, Resource
from drifttrigger.runtime.settings import Controller, Settings
from drifttrigger.runtime.shards import FENCED_SECONDS, LEASE_SECONDS, RENEW_SECONDS, Shards
from support.clock import FakeClock
from support.merge import apply_merge_patch

Json = dict[str, Any]
KEYS = [f"3f0c1b1e-8a44-4f6c-9d7e-{n:012x}" for n in range(60)]
PROMISED_SECONDS = 15.0
"""How long after its last renewal a lost replica's objects are another's, at most."""
STEP = 0.25


class Time(FakeClock):
    """A clock whose sleepers wake when it comes to their time."""

    def __init__(self) -> None:
        super().__init__()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    async def sleep(self, seconds: float) -> None:
        """Sleep until the clock has been moved so far."""
        woken = asyncio.get_running_loop().create_future()
        due = self.monotonic() + seconds
        heapq.heappush(self._sleepers, (due, next(self._numbers), woken))
        await woken

    async def past(self, seconds: float) -> None:
        """Let time pass, and everybody act who is woken."""
        end = self.monotonic() + seconds
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, woken = heapq.heappop(self._sleepers)
            self.move(max(0.0, due - self.monotonic()))
            if not woken.done():
                woken.set_result(None)
            await self.settle()
        self.move(end - self.monotonic())


class ApiServer:
    """Leases, as an API server keeps them."""

    def __init__(self) -> None:
        self.leases: dict[str, Json] = {}
        self.writes: list[tuple[str, str]] = []
        self._version = 0

    def put(self, body: Json) -> Json:
        """Keep a version of a Lease."""
        self._version += 1
        metadata = {"uid": f"uid-{self._version}", **body["metadata"]}
        metadata |= {"namespace": "system", "resourceVersion": str(self._version)}
        self.leases[metadata["name"]] = {**body, "metadata": metadata}
        return copy.deepcopy(self.leases[metadata["name"]])

    def touch(self, name: str, **spec: Any) -> None:
        """Change a Lease as a stranger would."""
        self.put(apply_merge_patch(self.leases[name], {"spec": spec}))

    def read(self, name: str) -> Json:
        """Return a Lease."""
        if name not in self.leases:
            raise NotFoundError(name)
        return copy.deepcopy(self.leases[name])

    @property
    def holders(self) -> list[str]:
        """Who has a Lease."""
        return sorted(lease["spec"]["holderIdentity"] for lease in self.leases.values())


class Line:
    """One replica's connection to the API server; KubeApi for Leases."""

    def __init__(self, server: ApiServer) -> None:
        self.server = server
        self.is_cut = False

    def _send(self, resource: Resource, namespace: str | None) -> None:
        assert (resource, namespace) == (LEASES, "system")
        if self.is_cut:
            raise TransientError("connection refused")

    async def get(self, resource: Resource, namespace: str, name: str) -> Json:
        self._send(resource, namespace)
        return self.server.read(name)

    async def list_all(
        self, resource: Resource, namespace: str | None, *, labels: str = ""
    ) -> list[Json]:
        self._send(resource, namespace)
        key, _, value = labels.partition("=")
        return [
            copy.deepcopy(lease)
            for lease in self.server.leases.values()
            if lease["metadata"].get("labels", {}).get(key) == value
        ]

    async def create(
        self, resource: Resource, namespace: str | None, body: Json, *, dry_run: bool = False
    ) -> Json:
        self._send(resource, namespace)
        name = body["metadata"]["name"]
        if name in self.server.leases:
            raise AlreadyExists(name)
        self.server.writes.append(("create", name))
        return self.server.put(body)

    async def patch(
        self, resource: Resource, namespace: str, name: str, patch: Json, *, subresource: str = ""
    ) -> Json:
        self._send(resource, namespace)
        self.server.writes.append(("patch", name))
        return self.server.put(apply_merge_patch(self.server.read(name), patch))

    async def delete(
        self, resource: Resource, namespace: str, name: str, *, preconditions: Json
    ) -> None:
        self._send(resource, namespace)
        metadata = self.server.read(name)["metadata"]
        if any(metadata[field] != value for field, value in preconditions.items()):
            raise ConflictError(name)
        self.server.writes.append(("delete", name))
        del self.server.leases[name]


class Replica:
    """A replica that takes part until it is killed."""

    def __init__(self, server: ApiServer, time: Time, settings: Settings) -> None:
        self.line = Line(server)
        self.synced = asyncio.Event()
        self.changes = 0
        self.shards = Shards(
            self.line, time, settings, synced=self.synced, on_change=self._count_change
        )
        self._task: asyncio.Task[None] = asyncio.create_task(self.shards.run())

    def _count_change(self) -> None:
        self.changes += 1

    @property
    def owned(self) -> set[str]:
        """What it says is its own."""
        return {key for key in KEYS if self.shards.owns(key)}

    async def kill(self) -> None:
        """End it without a word."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def stop(self) -> None:
        """End it as a process does that is asked to."""
        await self.kill()
        await self.shards.release()


class Site:
    """Some replicas of one Deployment."""

    def __init__(self, time: Time) -> None:
        self.time = time
        self.server = ApiServer()
        self.replicas: list[Replica] = []

    def start(self, identity: str, *, synced: bool = True, **fields: Any) -> Replica:
        """Start a replica; it takes part once the loop turns."""
        fields = {"operator_namespace": "system", "identity": identity, **fields}
        replica = Replica(self.server, self.time, Settings(**fields))
        self.replicas.append(replica)
        if synced:
            replica.synced.set()
        return replica

    async def pair(self) -> tuple[Replica, Replica]:
        """Start two replicas and let them find each other."""
        pair = self.start("a"), self.start("b")
        await self.time.past(2 * RENEW_SECONDS)
        assert [replica.shards.members for replica in pair] == [2, 2]
        return pair

    async def seconds_until_owned_by(self, replica: Replica) -> float:
        """Say how long it takes until a replica owns everything."""
        started = self.time.monotonic()
        while replica.owned != set(KEYS):
            await self.time.past(STEP)
            assert self.time.monotonic() - started < 60, "never"
        return self.time.monotonic() - started


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
