"""Which binary is taken, and what a build leaves behind, told with a fake `go`."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from drifttrigger.local import building
from drifttrigger.local.binaries import cache_root, ensure_binaries
from drifttrigger.local.catalog import BINARIES, GOMOD, Binary, cache_key
from drifttrigger.local.errors import BuildError
from support.kubectl import eventually

KUBECTL = next(binary for binary in BINARIES if binary.name == "kubectl")
ETCD = next(binary for binary in BINARIES if binary.name == "etcd")

GOOD_GO = """#!/bin/sh
case "$1" in
env) echo go1.26.3 ;;
build) while [ "$1" != -o ]; do shift; done; echo built > "$2"; chmod +x "$2" ;;
esac
"""
STUCK_GO = GOOD_GO.replace('echo built > "$2"', 'echo half > "$2"; sleep 60')
BROKEN_GO = GOOD_GO.replace('echo built > "$2"', "echo undefined: Frobnicate; exit 1")


def _program(folder: Path, name: str, script: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(script)
    path.chmod(0o755)
    return path


def _says(text: str) -> str:
    return f"#!/bin/sh\necho '{text}'\n"


@pytest.fixture(autouse=True)
def bin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty PATH (but for the shell's own tools), an empty cache, no assets."""
    folder = tmp_path / "bin"
    folder.mkdir()
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("sleep", "chmod"):
        (tools / tool).symlink_to(f"/bin/{tool}")
    monkeypatch.setenv("PATH", f"{folder}:{tools}")
    monkeypatch.setenv("DRIFTTRIGGER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    return folder


def _ensure(*wanted: Binary) -> tuple[Path, list[str]]:
    said: list[str] = []
    return ensure_binaries(progress=said.append, binaries=wanted), said


def _files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "said",
    ["Client Version: v1.32.4-dispatcher", "Client Version: v1.37.20", "nothing of the kind"],
    ids=["an old one", "one whose version only begins alike", "one that tells no version"],
)
def test_a_kubectl_of_another_version_on_path_is_not_used(bin_folder: Path, said: str) -> None:
    _program(bin_folder, "kubectl", _says(said))
    _program(bin_folder, "go", GOOD_GO)
    folder, _ = _ensure(KUBECTL)
    assert (folder / "kubectl").read_text() == "built\n"


def test_a_kubectl_of_the_exact_version_on_path_is_used(bin_folder: Path) -> None:
    found = _program(bin_folder, "kubectl", _says("Client Version: v1.37.2"))
    folder, said = _ensure(KUBECTL)
    assert (folder / "kubectl").resolve() == found
    assert said == []


def test_the_folder_of_kubebuilder_assets_comes_first(
    bin_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _program(bin_folder, "kubectl", _says("Client Version: v1.37.2"))
    chosen = _program(tmp_path / "assets", "kubectl", _says("Client Version: v1.36.0"))
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "assets"))
    assert (_ensure(KUBECTL)[0] / "kubectl").resolve() == chosen


def test_what_is_found_and_what_is_built_end_up_in_one_folder(bin_folder: Path) -> None:
    found = _program(bin_folder, "kubectl", _says("Client Version: v1.37.2"))
    _program(bin_folder, "go", GOOD_GO)
    folder, _ = _ensure(KUBECTL, ETCD)
    assert (folder / "kubectl").resolve() == found
    assert (folder / "etcd").read_text() == "built\n"


def test_a_second_call_builds_nothing(bin_folder: Path) -> None:
    go = _program(bin_folder, "go", GOOD_GO)
    first, said = _ensure(KUBECTL, ETCD)
    assert [line for line in said if "done in" in line]
    go.unlink()
    assert _ensure(KUBECTL, ETCD) == (first, [])


def test_a_long_build_says_that_it_lives(bin_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "HEARTBEAT_SECONDS", 0.1)
    _program(bin_folder, "go", STUCK_GO.replace("sleep 60", "sleep 0.5"))
    _, said = _ensure(ETCD)
    assert any("still building" in line for line in said)


def test_without_go_the_error_says_what_to_install() -> None:
    with pytest.raises(BuildError, match=r"no Go on PATH.*install Go 1\.26 or newer") as caught:
        _ensure(KUBECTL)
    assert "\n" not in str(caught.value)


def test_an_old_go_is_named_and_refused(bin_folder: Path) -> None:
    _program(bin_folder, "go", GOOD_GO.replace("go1.26.3", "go1.25.9"))
    with pytest.raises(BuildError, match=r"go1\.25\.9, too old: install Go 1\.26 or newer"):
        _ensure(KUBECTL)


def test_a_failed_build_shows_the_compilers_words_and_leaves_nothing(bin_folder: Path) -> None:
    _program(bin_folder, "go", BROKEN_GO)
    with pytest.raises(BuildError, match="undefined: Frobnicate"):
        _ensure(ETCD)
    assert all(name.endswith(".lock") for name in _files(cache_root()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill -9"])
def test_an_interrupted_build_leaves_nothing_half(
    bin_folder: Path, tmp_path: Path, number: signal.Signals
) -> None:
    _program(bin_folder, "go", STUCK_GO)
    script = (
        "from drifttrigger.local.catalog import BINARIES\n"
        "from drifttrigger.local.binaries import ensure_binaries\n"
        "ensure_binaries(progress=print, binaries=[b for b in BINARIES if b.name == 'etcd'])\n"
    )
    builder = _python(script)
    eventually(lambda: "etcd" in _files(cache_root()), what="the build's first half")
    builder.send_signal(number)
    builder.communicate()

    final = cache_root() / cache_key([ETCD])
    assert _files(final) == set()
    _program(bin_folder, "go", GOOD_GO)
    assert (_ensure(ETCD)[0] / "etcd").read_text() == "built\n"
    assert _files(final) == {"etcd"}
    assert not final.with_name(f"{final.name}.building").exists()


def test_two_that_need_the_same_binary_build_it_once(bin_folder: Path) -> None:
    _program(bin_folder, "go", STUCK_GO.replace("sleep 60", "sleep 0.5"))
    said: list[str] = []
    threads = [
        threading.Thread(target=lambda: ensure_binaries(progress=said.append, binaries=[ETCD]))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([line for line in said if "done in" in line]) == 1
    assert any("another process is building" in line for line in said)


def test_the_key_changes_with_the_pinned_sources(tmp_path: Path) -> None:
    module = tmp_path / ETCD.module
    module.mkdir()
    for name in ("go.mod", "go.sum"):
        (module / name).write_bytes((GOMOD / ETCD.module / name).read_bytes())
    assert cache_key([ETCD], modules=tmp_path) == cache_key([ETCD])
    with (module / "go.sum").open("a") as pins:
        pins.write("one more\n")
    assert cache_key([ETCD], modules=tmp_path) != cache_key([ETCD])


def test_the_table_and_the_pinned_modules_agree_on_versions() -> None:
    pins = {
        "kubernetes": f"k8s.io/kubernetes v{KUBECTL.version}",
        "etcd": f"go.etcd.io/etcd/server/v3 v{ETCD.version}",
        "kwok": "sigs.k8s.io/kwok v0.8.0",
        "prometheus": "github.com/prometheus/prometheus v0.316.0",
    }
    for module, pin in pins.items():
        assert pin in (GOMOD / module / "go.mod").read_text()


def _python(script: str) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", script],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
