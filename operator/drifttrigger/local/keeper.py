"""The process that keeps a cluster for others: at a terminal, detached, or for a test run.

Others find the cluster through an announcement, a file that names its folder once it is ready. A
lock beside the announcement is held as long as the cluster lives, so that two keepers never share
one announcement and whoever waits for the end waits for the lock.

A keeper for a test run also watches a users' lock, which each user holds together with the others:
when nobody holds it any more, however they ended, the cluster is not needed.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import drifttrigger
from drifttrigger.api.errors import DriftTriggerError
from drifttrigger.local.building import Progress
from drifttrigger.local.cluster import Cluster
from drifttrigger.local.errors import AlreadyRunning, NotRunning, StartError
from drifttrigger.local.handle import ClusterHandle
from drifttrigger.local.kubeconfig import write_private
from drifttrigger.local.locks import FileLock, is_held
from drifttrigger.local.prometheus import PrometheusOptions

_POLL_SECONDS = 0.2
_STOP_TIMEOUT_SECONDS = 30.0
_LOG_LINES = 20


@dataclass(frozen=True, slots=True)
class KeeperOptions:
    """What a keeper keeps.

    Args:
        announcement: File that names the cluster's folder while it is ready.
        directory: Where the data lie, and stay; None means a temporary folder.
        prometheus: None runs none.
        users: Lock whose holders need the cluster; None keeps it until it is told to stop.
    """

    announcement: Path
    directory: Path | None = None
    prometheus: PrometheusOptions | None = None
    users: Path | None = None

    @property
    def lock(self) -> Path:
        """Held as long as the cluster lives."""
        return self.announcement.with_name(f"{self.announcement.name}.lock")

    @property
    def log(self) -> Path:
        """What a detached keeper says."""
        return self.announcement.with_name(f"{self.announcement.name}.log")


def default_announcement() -> Path:
    """Name the place where a person's one cluster is announced."""
    base = os.environ.get("XDG_STATE_HOME")
    state = Path(base) if base else Path.home() / ".local" / "state"
    return state / "drifttrigger" / "cluster"


def announcement_for(directory: Path | None) -> Path:
    """Name the announcement of a cluster in a folder; None means a person's one cluster."""
    return default_announcement() if directory is None else directory / "announcement"


def find(announcement: Path) -> ClusterHandle:
    """Find the cluster that was announced.

    Raises:
        NotRunning: There is none, or it is not ready yet.
    """
    try:
        directory = announcement.read_text().strip()
    except FileNotFoundError:
        raise NotRunning("no local cluster runs") from None
    return ClusterHandle.read(Path(directory))


def keep(
    options: KeeperOptions, *, progress: Progress, ready: Callable[[ClusterHandle], None]
) -> None:
    """Run a cluster until nobody needs it, or until a signal ends this process.

    Args:
        options: What to keep.
        progress: Called with one line per step.
        ready: Called once, when the cluster is ready and announced.

    Raises:
        AlreadyRunning: It is kept by somebody else.
        StartError: A process did not come up, or ended by itself later.
    """
    options.announcement.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(options.lock)
    if not lock.try_exclusive():
        raise AlreadyRunning("a local cluster runs already or is starting")
    try:
        with Cluster.start(
            options.directory, prometheus=options.prometheus or False, progress=progress
        ) as cluster:
            write_private(options.announcement, f"{cluster.directory}\n")
            ready(cluster.handle)
            _wait_for_the_end(cluster, users=options.users)
    finally:
        options.announcement.unlink(missing_ok=True)
        lock.release()


def start_keeper(options: KeeperOptions, *, progress: Progress) -> ClusterHandle:
    """Start a process of its own session that keeps the cluster, and wait until it is ready.

    Args:
        options: What to keep.
        progress: Called with each line that the keeper says.

    Returns:
        The cluster.

    Raises:
        StartError: The keeper ended; carries what it said.
    """
    options.announcement.parent.mkdir(parents=True, exist_ok=True)
    options.log.unlink(missing_ok=True)
    keeper = _spawn(options)
    try:
        return _wait_until_found(options, keeper=keeper, progress=progress)
    except (KeyboardInterrupt, SystemExit):
        os.kill(keeper, signal.SIGTERM)
        raise


def stop_keeper(options: KeeperOptions) -> None:
    """Tell the keeper to stop and wait until nothing of the cluster runs.

    Raises:
        NotRunning: There is none.
    """
    handle = find(options.announcement)
    os.kill(handle.pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_TIMEOUT_SECONDS
    while is_held(options.lock):
        if time.monotonic() > deadline:
            # The kernel ends its children with it, and the next start removes the folder.
            os.kill(handle.pid, signal.SIGKILL)
        time.sleep(_POLL_SECONDS)


def _wait_until_found(options: KeeperOptions, *, keeper: int, progress: Progress) -> ClusterHandle:
    said = 0
    while True:
        # Asked first: what a keeper says before it ends is there when its end is seen.
        ended, _ = os.waitpid(keeper, os.WNOHANG)
        lines = options.log.read_text().splitlines() if options.log.exists() else []
        for line in lines[said:]:
            progress(line)
        said = len(lines)
        if ended:
            raise StartError("the cluster", "did not start", log="\n".join(lines[-_LOG_LINES:]))
        try:
            return find(options.announcement)
        except NotRunning:
            time.sleep(_POLL_SECONDS)


def _wait_for_the_end(cluster: Cluster, *, users: Path | None) -> None:
    lock = FileLock(users) if users is not None else None
    while lock is None or not lock.try_exclusive():
        cluster.check()
        time.sleep(_POLL_SECONDS)
    # The users' lock stays held until this process has ended: who comes now waits for that, then
    # finds no announcement and starts a cluster of their own.


def _spawn(options: KeeperOptions) -> int:
    command = [
        sys.executable,
        "-m",
        "drifttrigger.local.keeper",
        f"--announcement={options.announcement}",
    ]
    if options.directory is not None:
        command.append(f"--directory={options.directory.absolute()}")
    if options.users is not None:
        command.append(f"--users={options.users}")
    if options.prometheus is not None:
        command += [
            "--prometheus",
            f"--scrape-interval-seconds={options.prometheus.scrape_interval_seconds}",
            f"--lookback-seconds={options.prometheus.lookback_seconds}",
        ]
    package = str(Path(drifttrigger.__file__).parents[1])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    log_flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    # Not subprocess: its object would warn that the process outlives it, which is what is wanted.
    return os.posix_spawn(
        sys.executable,
        command,
        {**os.environ, "PYTHONPATH": path},
        setsid=True,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(options.log), log_flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
    )


def main(arguments: Sequence[str]) -> int:
    """Keep a cluster as the command line says; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m drifttrigger.local.keeper")
    parser.add_argument("--announcement", type=Path, required=True)
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--users", type=Path)
    parser.add_argument("--prometheus", action="store_true")
    parser.add_argument("--scrape-interval-seconds", type=float, default=1.0)
    parser.add_argument("--lookback-seconds", type=float, default=300.0)
    given = parser.parse_args(arguments)
    prometheus = PrometheusOptions(
        scrape_interval_seconds=given.scrape_interval_seconds,
        lookback_seconds=given.lookback_seconds,
    )
    options = KeeperOptions(
        announcement=given.announcement,
        directory=given.directory,
        prometheus=prometheus if given.prometheus else None,
        users=given.users,
    )
    try:
        keep(options, progress=_say, ready=lambda _: None)
    except DriftTriggerError as error:
        _say(str(error))
        return 1
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
