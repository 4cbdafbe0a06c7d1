"""Replicas of the operator in virtual time, each with its own line to an API server for Leases."""

import asyncio
import copy
import heapq
import itertools
from contextlib import suppress
from typing import Any

from drifttrigger.api.errors import AlreadyExists, ConflictError, NotFoundError, TransientError
from drifttrigger.clients.kube import LEASES, Resource
from drifttrigger.runtime.settings import Settings
from drifttrigger.runtime.shards import RENEW_SECONDS, Shards
from support.clock import FakeClock
from support.merge import apply_merge_patch

Json = dict[str, Any]
KEYS = [f"3f0c1b1e-8a44-4f6c-9d7e-{n:012x}" for n in range(60)]
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
