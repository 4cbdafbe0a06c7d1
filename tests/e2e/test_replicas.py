"""Two operator processes share triggers, share requests, and stand in for each other."""

import json
import re
from collections import Counter
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from drifttrigger.local.ports import free_ports
from drifttrigger.runtime.shards import RENEW_SECONDS
from support.operator import OperatorProcess
from support.world import World

pytestmark = pytest.mark.e2e
NAMES = [f"m{number:02}" for number in range(16)]
INTERVAL_SECONDS = 1.0
LEASE_SECONDS = 15.0
BUSY_SECONDS = 1.0
"""What a machine that does other things as well may take."""


class Replica:
    """One operator process and what it says of itself."""

    def __init__(self, world: World, identity: str) -> None:
        self.identity = f"{world.namespace}-{identity}"
        [port] = free_ports(1)
        self._url = f"http://127.0.0.1:{port}/metrics"
        self.process: OperatorProcess = world.operator(
            f"--metrics-address=127.0.0.1:{port}", f"--identity={self.identity}"
        )

    def metric(self, name: str) -> float:
        """Read one number; 0 as long as there is none."""
        try:
            with urlopen(self._url, timeout=5) as reply:  # noqa: S310 - loopback
                text = reply.read().decode()
        except OSError:
            return 0.0
        found = re.search(rf"^drifttrigger_{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    @property
    def owned(self) -> int:
        """How many triggers are its own."""
        return int(self.metric("triggers_owned"))

    def evaluated(self, since: datetime) -> dict[str, datetime]:
        """When it first evaluated each trigger, from some instant on."""
        first: dict[str, datetime] = {}
        for line in self.process.lines():
            at = datetime.fromisoformat(line["timestamp"])
            if line["message"] == "evaluated" and at >= since:
                first.setdefault(line["object"], at)
        return first


def apply_all(world: World) -> None:
    """Apply all triggers at once, each fires once at most."""
    for name in NAMES:
        world.set(name, 0.1)
    triggers = [world.trigger(name, maxAttempts=1) for name in NAMES]
    world.apply({"apiVersion": "v1", "kind": "List", "items": triggers})


def sharing(world: World) -> tuple[Replica, Replica]:
    """Start two replicas and wait until they share everything."""
    apply_all(world)
    pair = Replica(world, "a"), Replica(world, "b")

    def is_shared() -> bool:
        owned = [replica.owned for replica in pair]
        return sum(owned) == len(NAMES) and all(owned)

    world.wait(is_shared, what="two replicas that share all triggers")
    return pair


def asked(world: World, query: str, at: str) -> str:
    """Ask Prometheus for one value at an instant."""
    form = urlencode({"query": query, "time": at})
    with urlopen(f"{world.cluster.prometheus_url}/api/v1/query?{form}") as reply:  # noqa: S310
        [sample] = json.load(reply)["data"]["result"]
    return str(sample["value"][1])


def of_each(retrainings: list[dict[str, Any]]) -> Counter[str]:
    """Count the Retrainings of each trigger."""
    return Counter(retraining["spec"]["triggerRef"]["name"] for retraining in retrainings)


def created(world: World, resource: str) -> int:
    """Count the creations of a kind in this namespace, from the API server's audit log."""
    return sum(
        event["verb"] == "create"
        and event["objectRef"].get("resource") == resource
        and event["objectRef"].get("namespace") == world.namespace
        and event.get("stage") == "ResponseComplete"
        and event["responseStatus"]["code"] == 201
        and "dryRun" not in event["requestURI"]
        for event in world.cluster.audit_events()
    )


def test_a_killed_replicas_triggers_are_anothers_and_no_decision_is_doubled(world: World) -> None:
    lost, left = sharing(world)
    started = datetime.now(UTC)
    world.wait(
        lambda: (
            len(lost.evaluated(started)) == lost.owned
            and len(left.evaluated(started)) == left.owned
        ),
        what="an evaluation of all by their owners",
    )
    its, others = set(lost.evaluated(started)), set(left.evaluated(started))
    assert its | others == set(NAMES)
    assert not its & others, "each is evaluated by its owner alone"
    assert left.metric("batch_size_sum") > left.metric("batch_size_count") > 0

    scores = {name: f"0.3{number:02}" for number, name in enumerate(NAMES)}
    for name, value in scores.items():  # all cross, and one of those who decide dies meanwhile
        world.set(name, value)
    world.wait(lambda: len(world.all("retraining")) >= 1, what="a first decision")
    killed = datetime.now(UTC)
    lost.process.kill()
    world.wait(lambda: left.owned == len(NAMES), within_seconds=LEASE_SECONDS + 5, what="all")
    world.wait(lambda: its <= set(left.evaluated(killed)), what="an evaluation of the lost ones")
    seconds = [(at - killed).total_seconds() for at in left.evaluated(killed).values()]
    assert max(seconds) <= LEASE_SECONDS + INTERVAL_SECONDS + BUSY_SECONDS

    world.wait(lambda: len(world.created_jobs()) >= len(NAMES), what="a Job for each")
    seen = datetime.now(UTC)
    world.wait(lambda: set(left.evaluated(seen)) == set(NAMES), what="one more look at each")
    retrainings = world.all("retraining")
    assert of_each(retrainings) == dict.fromkeys(NAMES, 1)
    assert created(world, "retrainings") == len(NAMES)
    assert len(world.created_jobs()) == len(set(world.created_jobs())) == len(NAMES)
    for retraining in retrainings:
        evidence = retraining["spec"]["evidence"]
        alone = asked(world, evidence["query"], evidence["time"])
        name = retraining["spec"]["triggerRef"]["name"]
        assert evidence["value"] == alone
        assert float(alone) == float(scores[name])


def test_one_that_stops_hands_its_triggers_over_at_once(world: World) -> None:
    leaves, stays = sharing(world)
    [lease] = [
        lease["metadata"]["name"]
        for lease in world.kubectl.get("leases", "--namespace=drifttrigger-system")["items"]
        if lease["spec"].get("holderIdentity") == leaves.identity
    ]
    assert leaves.process.stop() == 0
    there = world.kubectl.run("get", "lease", lease, "--namespace=drifttrigger-system")
    assert "NotFound" in there.stderr
    gone = datetime.now(UTC)
    world.wait(lambda: stays.owned == len(NAMES), what="all triggers")
    world.wait(lambda: set(stays.evaluated(gone)) == set(NAMES), what="an evaluation of each")
    seconds = [(at - gone).total_seconds() for at in stays.evaluated(gone).values()]
    assert max(seconds) <= RENEW_SECONDS + INTERVAL_SECONDS + BUSY_SECONDS
