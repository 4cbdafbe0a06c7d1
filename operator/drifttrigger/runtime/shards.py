"""Which objects are this replica's: membership by Leases, ownership by rendezvous hashing.

Each replica renews a Lease of its own; whoever renews is a member, and nobody is elected. Whether
another one renews is judged by this machine's monotonic clock from when its Lease was last seen to
change, never by the times that are written in it. A replica that could not renew in time owns
nothing before anybody else may take over. Correctness does not depend on any of this: two owners
cost a conflict, since every decision is a compare-and-swap.
"""

import asyncio
import hashlib
import logging
import os
from collections.abc import Callable
from datetime import datetime

import msgspec

from drifttrigger.api.errors import (
    AlreadyExists,
    DriftTriggerError,
    NotFoundError,
    TransientError,
)
from drifttrigger.api.v1alpha1 import GROUP
from drifttrigger.clients.clock import Clock
from drifttrigger.clients.kube import LEASES, Json, KubeApi
from drifttrigger.core.naming import uid_hash
from drifttrigger.core.sharding import owner_of
from drifttrigger.runtime.settings import Settings

_LOG = logging.getLogger(__name__)
LEASE_SECONDS = 12.0
"""How long after its last seen change a Lease counts; with the time to see that, 15 seconds."""
RENEW_SECONDS = 3.0
FENCED_SECONDS = 9.0
"""How long after the last renewal this replica still counts on its objects."""
_LABEL_GROUP = f"{GROUP}/shard-group"
_POLL_SECONDS = 1.0


class _Seen(msgspec.Struct):
    """A Lease of another replica: its newest version, and when it was first seen here."""

    version: str
    at: float


class Shards:
    """Tells what belongs to this replica.

    Args:
        kube: The API server.
        clock: The clock.
        settings: Identity, what is watched, and where Leases are.
        synced: Set once the caches are warm: only then this replica announces itself.
        on_change: Called when what is owned may have changed.
    """

    def __init__(
        self,
        kube: KubeApi,
        clock: Clock,
        settings: Settings,
        *,
        synced: asyncio.Event,
        on_change: Callable[[], None],
    ) -> None:
        self._kube = kube
        self._clock = clock
        self._namespace = settings.lease_namespace or settings.own_namespace
        # An owner in another namespace is none: the garbage collector would take the Lease.
        self._is_at_home = self._namespace == settings.own_namespace
        self._group = _group_of(settings)
        self._synced = synced
        self._on_change = on_change
        self.identity = settings.name
        self._name = f"drifttrigger-{uid_hash(self.identity)}-{self._group}"
        self._renewed_at: float | None = None
        self._seen: dict[str, _Seen] = {}
        self._members: tuple[str, ...] = ()
        self._owners: dict[str, bool] = {}
        self._has_lapsed = False
        self._is_blind = True

    @property
    def members(self) -> int:
        """How many replicas share the work, this one included while it takes part."""
        return len(self._members)

    def owns(self, key: str) -> bool:
        """Whether an object is this replica's to work on."""
        if not self._members:
            return False
        if self._is_fenced():
            self._has_lapsed = True  # somebody was told so: they are told when it is over
            return False
        if len(self._members) == 1:
            return True
        if key not in self._owners:
            self._owners[key] = owner_of(key, self._members) == self.identity
        return self._owners[key]

    async def run(self) -> None:
        """Announce, renew and look who else is there, until cancelled."""
        await self._synced.wait()
        while True:
            started = self._clock.monotonic()
            try:
                await self._renew()
                await self._look()
            except DriftTriggerError as error:
                _LOG.warning("the Lease was not renewed: %s", error)
                # What was not looked at for a while says nothing of who lives.
                self._is_blind = True
                await asyncio.sleep(_POLL_SECONDS)
            else:
                spent = self._clock.monotonic() - started
                await asyncio.sleep(max(_POLL_SECONDS, RENEW_SECONDS - spent))
            self._take_members()

    async def release(self) -> None:
        """Give up the Lease, so that others need not wait for it to expire."""
        self._members = ()
        if self._renewed_at is None:
            return
        try:
            body = await self._kube.get(LEASES, self._namespace, self._name)
            metadata = body["metadata"]
            await self._kube.delete(
                LEASES,
                self._namespace,
                self._name,
                preconditions={"uid": metadata["uid"]},
            )
        except NotFoundError:
            return
        except DriftTriggerError as error:
            _LOG.warning("the Lease was not released, and will expire: %s", error)

    def _is_fenced(self) -> bool:
        """Whether others may be about to take over; who is alone goes on working."""
        if self._renewed_at is None:
            return True
        if not self._seen:
            return False
        return self._clock.monotonic() - self._renewed_at > FENCED_SECONDS

    async def _renew(self) -> None:
        asked_at = self._clock.monotonic()
        now = _micro_time(self._clock.now())
        spec: Json = {"renewTime": now}
        try:
            lease = await self._kube.patch(LEASES, self._namespace, self._name, {"spec": spec})
            holder = (lease.get("spec") or {}).get("holderIdentity")
            if holder != self.identity:
                raise TransientError(f"{self._name} is the Lease of {holder}; use --identity")
        except NotFoundError:
            spec |= {
                "holderIdentity": self.identity,
                "leaseDurationSeconds": int(LEASE_SECONDS),
                "acquireTime": now,
            }
            body = {
                "apiVersion": LEASES.api_version,
                "kind": LEASES.kind,
                "metadata": {
                    "name": self._name,
                    "labels": {_LABEL_GROUP: self._group},
                    **(_owned_by_pod() if self._is_at_home else {}),
                },
                "spec": spec,
            }
            try:
                await self._kube.create(LEASES, self._namespace, body)
            except AlreadyExists:
                return  # another process of the same identity; the next turn renews it
        # Counted from before the request: nobody can have seen the renewal earlier than that.
        self._renewed_at = asked_at

    async def _look(self) -> None:
        """See whose Leases have changed."""
        label = f"{_LABEL_GROUP}={self._group}"
        leases = await self._kube.list_all(LEASES, self._namespace, labels=label)
        now = self._clock.monotonic()
        was_blind, self._is_blind = self._is_blind, False
        seen: dict[str, _Seen] = {}
        for lease in leases:
            holder = (lease.get("spec") or {}).get("holderIdentity")
            if not isinstance(holder, str) or not holder or holder == self.identity:
                continue
            version = str(lease["metadata"]["resourceVersion"])
            known = self._seen.get(holder)
            if known is None or known.version != version or was_blind:
                known = _Seen(version, now)
            seen[holder] = known
            if now - seen[holder].at > 2 * LEASE_SECONDS:
                await self._tidy(lease)
        self._seen = seen
        self._take_members()

    async def _tidy(self, lease: Json) -> None:
        """Remove the Lease of a replica that is long gone, unless it comes back this instant."""
        metadata = lease["metadata"]
        preconditions = {k: metadata[k] for k in ("uid", "resourceVersion")}
        try:
            await self._kube.delete(
                LEASES, self._namespace, metadata["name"], preconditions=preconditions
            )
        except DriftTriggerError as error:
            _LOG.debug("an old Lease was not removed: %s", error)

    def _take_members(self) -> None:
        now = self._clock.monotonic()
        alive = [holder for holder, seen in self._seen.items() if now - seen.at <= LEASE_SECONDS]
        members = () if self._is_fenced() else tuple(sorted([*alive, self.identity]))
        # Whoever asked while this replica was fenced was turned away, and has to be told.
        has_lapsed, self._has_lapsed = self._has_lapsed and bool(members), False
        if members == self._members:
            if has_lapsed:
                self._on_change()
            return
        _LOG.info("%d replicas share the work", len(members), extra={"members": list(members)})
        self._members = members
        self._owners.clear()
        self._on_change()


def _group_of(settings: Settings) -> str:
    """Name those who share work: replicas that watch the same and run the same controllers."""
    parts = [*sorted(settings.namespaces), "|", *sorted(settings.controllers)]
    return hashlib.blake2s("\n".join(parts).encode()).hexdigest()[:8]


def _owned_by_pod() -> Json:
    name, uid = os.environ.get("POD_NAME"), os.environ.get("POD_UID")
    if not name or not uid:
        return {}
    owner = {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}
    return {"ownerReferences": [owner]}


def _micro_time(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
