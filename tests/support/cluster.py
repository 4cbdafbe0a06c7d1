"""One control plane for a whole test run, shared by all its processes.

Starting a cluster takes seconds and memory; a run under pytest-xdist has one process per core. The
first that needs the cluster starts a keeper, each user holds a lock together with the others, and
the last to leave waits until the keeper has stopped it. Locks die with their holders, so a killed
worker leaves no cluster behind either.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from drifttrigger.local.errors import NotRunning
from drifttrigger.local.handle import ClusterHandle
from drifttrigger.local.keeper import KeeperOptions, find, start_keeper
from drifttrigger.local.locks import FileLock, exclusive, is_held
from drifttrigger.local.prometheus import PrometheusOptions

SCRAPE_INTERVAL_SECONDS = 0.5

# What tests see of it: paths, URLs, kubeconfigs of any user, the audit log, scrape targets.
SharedCluster = ClusterHandle


@contextmanager
def shared_cluster(factory: pytest.TempPathFactory) -> Iterator[SharedCluster]:
    """Use the run's cluster, with Prometheus, for the length of a block.

    Args:
        factory: pytest's own fixture `tmp_path_factory`; it knows the run's folder.

    Yields:
        How to reach the cluster. Its processes are not to be disturbed: others use them.
    """
    base = factory.getbasetemp()
    room = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with use_cluster(room / "shared-cluster") as found:
        yield found


@contextmanager
def use_cluster(room: Path) -> Iterator[SharedCluster]:
    """Use the cluster of a folder that several processes know; see `shared_cluster`."""
    room.mkdir(exist_ok=True)
    options = KeeperOptions(
        announcement=room / "cluster",
        prometheus=PrometheusOptions(scrape_interval_seconds=SCRAPE_INTERVAL_SECONDS),
        users=room / "users.lock",
    )
    users = FileLock(room / "users.lock")
    try:
        with exclusive(room / "start.lock"):
            users.shared()
            found = _find_or_start(options)
        yield found
    finally:
        # Under the lock nobody comes or goes, so that "am I the last?" has one answer.
        with exclusive(room / "start.lock"):
            last = users.try_upgrade()
            users.release()
            if last:
                _wait_until_free(options.lock)


def _find_or_start(options: KeeperOptions) -> SharedCluster:
    try:
        return find(options.announcement)
    except NotRunning:
        _wait_until_free(options.lock)
        return start_keeper(options, progress=lambda line: print(line, file=sys.__stderr__))


def _wait_until_free(lock: Path) -> None:
    while is_held(lock):
        time.sleep(0.05)
