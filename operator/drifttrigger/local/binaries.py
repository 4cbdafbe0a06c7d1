"""Find the control plane's binaries, or build them once.

Per binary, the first that has it: the folder that KUBEBUILDER_ASSETS names (a person's own choice,
taken as it is), PATH (only the exact version: a kubectl that differs is everywhere), the cache, and
at last a build from pinned sources. The caller gets one folder with all of them; when they come
from different places it holds links.
"""

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from drifttrigger.local.building import Progress, build_missing
from drifttrigger.local.catalog import BINARIES, Binary, cache_key
from drifttrigger.local.locks import exclusive

_VERSION_TIMEOUT_SECONDS = 10


def ensure_binaries(*, progress: Progress, binaries: Sequence[Binary] = BINARIES) -> Path:
    """Make sure that every binary is there.

    Args:
        progress: Called with one line per step of a build; not called when nothing is built.
        binaries: What the folder must hold.

    Returns:
        A folder that holds all of them by name.

    Raises:
        BuildError: Something must be built and Go is missing, too old, or fails.
    """
    cached = cache_root() / cache_key(binaries)
    elsewhere = {
        binary.name: found
        for binary in binaries
        if (found := _assets(binary) or _on_path(binary)) is not None
    }
    missing = [binary for binary in binaries if binary.name not in elsewhere]
    if any(not (cached / binary.name).is_file() for binary in missing):
        build_missing(cached, missing, progress=progress)
    if not elsewhere:
        return cached
    return _gather({**{binary.name: cached / binary.name for binary in missing}, **elsewhere})


def cache_root() -> Path:
    """Name the folder that holds one folder of binaries per set of versions."""
    own = os.environ.get("DRIFTTRIGGER_CACHE")
    if own:
        return Path(own).expanduser() / "binaries"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "drifttrigger" / "binaries"


def _assets(binary: Binary) -> Path | None:
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if not assets:
        return None
    found = Path(assets).absolute() / binary.name
    return found if os.access(found, os.X_OK) else None


def _on_path(binary: Binary) -> Path | None:
    found = shutil.which(binary.name)
    if found is None or not _has_version(Path(found), binary):
        return None
    return Path(found).absolute()


def _has_version(program: Path, binary: Binary) -> bool:
    """Ask the program itself; one that fails, hangs or says something else does not count."""
    try:
        answer = subprocess.run(
            [program, *binary.version_arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=_VERSION_TIMEOUT_SECONDS,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "KUBECONFIG": os.devnull},
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return False
    said = re.search(r"\bv?(\d+\.\d+\.\d+\S*)", answer.stdout)
    return answer.returncode == 0 and said is not None and said[1].rstrip(",") == binary.version


def _gather(sources: Mapping[str, Path]) -> Path:
    """Link programs of several origins into one folder, named by what it links to."""
    digest = hashlib.sha256(repr(sorted(sources.items())).encode()).hexdigest()[:12]
    folder = cache_root() / f"linked-{digest}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(folder.with_name(f"{folder.name}.lock")):
        if folder.is_dir():
            return folder
        staging = folder.with_name(f"{folder.name}.linking")
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        for name, source in sources.items():
            (staging / name).symlink_to(source)
        staging.rename(folder)
    return folder
