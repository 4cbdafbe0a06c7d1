"""What Linux accounts to a process: CPU, memory, threads, files, connections; and cores to run on.

See proc(5). Numbers of a process that has ended can't be had: `ProcessLookupError`.
"""

import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


def cpu_seconds(pid: int) -> float:
    """Return user and system time of all threads so far, those that ended included."""
    user, system = _read(pid, "stat").rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / _TICKS_PER_SECOND


def memory_bytes(pid: int) -> int:
    """Return the resident set (VmRSS)."""
    for line in _read(pid, "status").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(f"process {pid} has no memory any more")


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a process holds at one instant.

    Attributes:
        memory_bytes: Resident set.
        threads: Operating system threads.
        descriptors: Open file descriptors, sockets included.
        connections: Established TCP connections.
    """

    memory_bytes: int
    threads: int
    descriptors: int
    connections: int


def footprint(pid: int) -> Footprint:
    """Look at what a process holds."""
    links = list(_links(pid))
    sockets = {link for link in links if link.startswith("socket:")}
    return Footprint(
        memory_bytes=memory_bytes(pid),
        threads=len(_tasks(pid)),
        descriptors=len(links),
        connections=sum(inode in sockets for inode in _established(pid)),
    )


@dataclass(frozen=True, slots=True)
class Machine:
    """What the whole machine has done since it was started.

    Attributes:
        busy_seconds: CPU time of all cores, whoever used it, theft by a host included.
        all_seconds: CPU time that there was.
    """

    busy_seconds: float
    all_seconds: float


def machine() -> Machine:
    """Read the machine's own account."""
    fields = (_PROC / "stat").read_text().split("\n", 1)[0].split()[1:9]
    ticks = [int(field) for field in fields]
    idle = ticks[3] + ticks[4]
    everything = sum(ticks)
    return Machine((everything - idle) / _TICKS_PER_SECOND, everything / _TICKS_PER_SECOND)


def processor() -> str:
    """Name the processor, for the record."""
    for line in (_PROC / "cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"


@dataclass(frozen=True, slots=True)
class Cores:
    """Which cores the operators have for themselves, and which the servers; the same if one."""

    operators: frozenset[int]
    servers: frozenset[int]

    @classmethod
    def shared_out(cls) -> "Cores":
        """Give the operators the first core that we may use and everybody else the others."""
        first, *others = sorted(os.sched_getaffinity(0))
        return cls(frozenset({first}), frozenset(others or {first}))


def pin(pid: int, cores: Collection[int]) -> None:
    """Let all threads of a process run on these cores only; those to come inherit it."""
    for task in _tasks(pid):
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(task), cores)


@contextmanager
def pinned(pids: Iterable[int], cores: Collection[int]) -> Iterator[None]:
    """Keep processes on some cores for the length of a block, then let them run where we may."""
    before = os.sched_getaffinity(0)
    chosen = list(pids)
    for pid in chosen:
        pin(pid, cores)
    try:
        yield
    finally:
        for pid in chosen:
            with suppress(FileNotFoundError):
                pin(pid, before | set(cores))


def _established(pid: int) -> Iterator[str]:
    for name in ("tcp", "tcp6"):
        for line in _read(pid, f"net/{name}").splitlines()[1:]:
            fields = line.split()
            if fields[3] == "01":
                yield f"socket:[{fields[9]}]"


def _links(pid: int) -> Iterator[str]:
    for entry in (_PROC / str(pid) / "fd").iterdir():
        with suppress(FileNotFoundError):
            yield str(entry.readlink())


def _tasks(pid: int) -> list[str]:
    return [entry.name for entry in (_PROC / str(pid) / "task").iterdir()]


def _read(pid: int, name: str) -> str:
    try:
        return (_PROC / str(pid) / name).read_text()
    except FileNotFoundError:
        raise ProcessLookupError(f"process {pid} has ended") from None
