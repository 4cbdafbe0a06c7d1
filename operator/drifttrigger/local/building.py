"""Build missing binaries once, visibly, and never leave half of one.

Two processes that need the same folder share one build (file lock). A binary is linked in a
staging folder beside the cache and renamed into place when it is whole, so that an interrupted
build keeps what was finished and nothing else.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from drifttrigger.local.catalog import GOMOD, Binary, go_platform
from drifttrigger.local.errors import BuildError
from drifttrigger.local.locks import exclusive
from drifttrigger.local.spawning import Child, end, spawn

Progress = Callable[[str], None]

MINIMUM_GO = (1, 26)
HEARTBEAT_SECONDS = 20.0
_POLL_SECONDS = 0.1
_LOG_LINES = 20


def build_missing(folder: Path, binaries: Sequence[Binary], *, progress: Progress) -> None:
    """Build what the folder lacks, one binary after the other.

    Args:
        folder: The cache's folder for these versions; made when it is missing.
        binaries: What it must hold afterwards.
        progress: Called with one line per step.

    Raises:
        BuildError: Go is missing or too old, or a build failed.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = folder.with_name(f"{folder.name}.lock")
    with exclusive(lock, waiting=lambda: progress("another process is building: waiting for it")):
        missing = [binary for binary in binaries if not (folder / binary.name).is_file()]
        if not missing:
            return
        go = find_go()
        progress(
            f"building {len(missing)} binaries into {folder}"
            " (needed once; the control plane takes about 10 minutes on 2 cores)"
        )
        # Under the lock nobody else can be using it: what is there was left by a killed build.
        staging = folder.with_name(f"{folder.name}.building")
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        folder.mkdir(exist_ok=True)
        try:
            for number, binary in enumerate(missing, start=1):
                title = f"[{number}/{len(missing)}] {binary.name} {binary.version}"
                _build(go, binary, staging=staging, title=title, progress=progress)
                (staging / binary.name).replace(folder / binary.name)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def find_go() -> Path:
    """Find a Go that is new enough.

    Returns:
        Path of the `go` command.

    Raises:
        BuildError: There is none, or it is too old; the message says what to install.
    """
    needed = ".".join(map(str, MINIMUM_GO))
    cure = (
        f"install Go {needed} or newer, or set KUBEBUILDER_ASSETS to a folder that holds"
        " the control plane's binaries"
    )
    found = shutil.which("go")
    if found is None:
        raise BuildError(f"no Go on PATH to build the local control plane: {cure}")
    answer = subprocess.run(
        [found, "env", "GOVERSION"], capture_output=True, text=True, check=False, timeout=60
    )
    version = re.search(r"go(\d+)\.(\d+)", answer.stdout)
    if version is None:
        raise BuildError(f"{found} does not tell its version: {cure}")
    if (int(version[1]), int(version[2])) < MINIMUM_GO:
        raise BuildError(f"{found} is {answer.stdout.strip()}, too old: {cure}")
    return Path(found)


def build_command(go: Path, binary: Binary, *, output: Path) -> list[str]:
    """Give the command line that links one binary; run it in the binary's module folder."""
    tags = ["-tags", binary.tags] if binary.tags else []
    return [
        str(go),
        "build",
        "-mod=readonly",
        "-trimpath",
        "-buildvcs=false",
        *tags,
        "-ldflags",
        binary.ldflags,
        "-o",
        str(output),
        binary.package,
    ]


def _build(go: Path, binary: Binary, *, staging: Path, title: str, progress: Progress) -> None:
    progress(f"{title}: building")
    started = time.monotonic()
    log = staging / f"{binary.name}.log"
    build = spawn(
        build_command(go, binary, output=staging / binary.name),
        log=log,
        cwd=GOMOD / binary.module,
        env=_environment(),
    )
    try:
        _wait(build, title=title, started=started, progress=progress)
    finally:
        # With the compilers that it started.
        end(build)
    if build.returncode != 0 or not (staging / binary.name).is_file():
        lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
        raise BuildError(f"building {binary.name} {binary.version} failed:\n" + "\n".join(lines))
    progress(f"{title}: done in {time.monotonic() - started:.0f} s")


def _wait(build: Child, *, title: str, started: float, progress: Progress) -> None:
    told = started
    while build.poll() is None:
        time.sleep(_POLL_SECONDS)
        now = time.monotonic()
        if now - told >= HEARTBEAT_SECONDS:
            told = now
            progress(f"{title}: still building after {now - started:.0f} s")


def _environment() -> dict[str, str]:
    goos, goarch = go_platform()
    # A person's own GOFLAGS or workspace would change what is built under the same key.
    return {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOFLAGS": "",
        "GOWORK": "off",
        "GOOS": goos,
        "GOARCH": goarch,
    }
