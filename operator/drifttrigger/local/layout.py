"""Where everything of one cluster lies, and who owns the folder.

A cluster lives in one folder. Its owner holds a lock on `owner.lock`; a folder whose lock is free
belongs to nobody who lives. Temporary folders share a parent per user, and each start removes those
of dead owners there: that is how the left-overs of a `kill -9` go away.
"""

import os
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from drifttrigger.local.errors import AlreadyRunning, StartError
from drifttrigger.local.locks import FileLock, exclusive


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one cluster.

    Args:
        directory: The cluster's folder.
    """

    directory: Path

    @property
    def owner_lock(self) -> Path:
        """Held by the process that runs the cluster."""
        return self.directory / "owner.lock"

    @property
    def state(self) -> Path:
        """How to reach the cluster, written when it is ready."""
        return self.directory / "cluster.json"

    @property
    def logs(self) -> Path:
        """One log per process."""
        return self.directory / "logs"

    @property
    def pki(self) -> Path:
        """Keys and certificates; readable by the owner only."""
        return self.directory / "pki"

    @property
    def ca_file(self) -> Path:
        """Certificate that clients trust."""
        return self.pki / "ca.crt"

    @property
    def kubeconfigs(self) -> Path:
        """Kubeconfig files, one per identity."""
        return self.directory / "kubeconfigs"

    @property
    def kubeconfig(self) -> Path:
        """Kubeconfig of the cluster's administrator."""
        return self.directory / "kubeconfig"

    @property
    def audit_log(self) -> Path:
        """The API server's audit log, one JSON event per line."""
        return self.logs / "audit.jsonl"

    @property
    def prometheus(self) -> Path:
        """Configuration and data of Prometheus."""
        return self.directory / "prometheus"

    def make(self) -> None:
        """Make the folders that are missing."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for folder in (self.logs, self.kubeconfigs, self.prometheus):
            folder.mkdir(exist_ok=True)
        self.pki.mkdir(mode=0o700, exist_ok=True)


def claim(directory: Path) -> FileLock:
    """Become the owner of a folder that a person named.

    Args:
        directory: Made when it is missing.

    Returns:
        The owner's lock, held.

    Raises:
        AlreadyRunning: Somebody alive owns it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    lock = FileLock(Layout(directory).owner_lock)
    if not lock.try_exclusive():
        raise AlreadyRunning(f"a cluster runs from {directory} already")
    return lock


def claim_temporary() -> tuple[Path, FileLock]:
    """Make a temporary folder of our own, after removing those of dead owners.

    Returns:
        The folder and the owner's lock, held.
    """
    parent = _temporary_parent()
    with exclusive(parent / "sweep.lock"):
        _sweep(parent)
        directory = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=parent))
        return directory, claim(directory)


def _temporary_parent() -> Path:
    parent = Path(tempfile.gettempdir()) / f"drifttrigger-{os.getuid()}"
    parent.mkdir(mode=0o700, exist_ok=True)
    found = parent.lstat()
    # The name can be guessed, and the folder of temporary files is everybody's: a folder that
    # another user made would let them read our keys.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise StartError("the cluster", f"needs {parent} to be a folder that only you can read")
    return parent


def _sweep(parent: Path) -> None:
    """Remove folders whose owner is dead; the caller holds the lock that makers hold too."""
    for folder in parent.iterdir():
        if not folder.is_dir() or folder.is_symlink():
            continue
        lock = FileLock(Layout(folder).owner_lock)
        if lock.try_exclusive():
            shutil.rmtree(folder, ignore_errors=True)
            lock.release()
