"""Fixtures that every test may use."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from support.cluster import SharedCluster, shared_cluster

# A busy machine is no failure: examples are not timed.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedCluster]:
    """One real control plane and Prometheus for the whole run, shared by its workers."""
    with shared_cluster(tmp_path_factory) as shared:
        yield shared
