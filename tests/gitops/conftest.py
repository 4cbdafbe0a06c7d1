"""The control plane of the GitOps tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from drifttrigger.local.binaries import ensure_binaries
from gitops.ground import Ground, shared_room, use_ground


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A control plane with the work tree's definitions and rights."""
    with use_ground(shared_room(tmp_path_factory)) as found:
        found.install()
        yield found


@pytest.fixture(scope="session")
def kubectl_program() -> Path:
    """Where kubectl is; no cluster runs for it."""
    return ensure_binaries(progress=print) / "kubectl"
