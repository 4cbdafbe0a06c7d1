"""Folders of the dead are removed, folders of the living are not."""

import tempfile
from pathlib import Path

import pytest

from drifttrigger.local.errors import AlreadyRunning, StartError
from drifttrigger.local.layout import claim, claim_temporary
from drifttrigger.local.locks import FileLock, is_held


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_the_next_claim_removes_what_a_dead_owner_left() -> None:
    dead, lock = claim_temporary()
    (dead / "etcd").mkdir()
    lock.release()  # as the kernel does when the owner dies
    alive, held = claim_temporary()
    assert alive.exists()
    assert not dead.exists()
    held.release()


def test_a_claim_leaves_the_folder_of_a_living_owner_alone() -> None:
    first, held_first = claim_temporary()
    second, held_second = claim_temporary()
    assert first.exists()
    assert second.exists()
    held_first.release()
    held_second.release()


def test_a_folder_has_one_owner(tmp_path: Path) -> None:
    held = claim(tmp_path / "mine")
    with pytest.raises(AlreadyRunning, match="already"):
        claim(tmp_path / "mine")
    held.release()
    claim(tmp_path / "mine").release()


def test_a_folder_that_others_can_read_is_refused(tmp_path: Path) -> None:
    folder, held = claim_temporary()
    held.release()
    folder.parent.chmod(0o755)
    with pytest.raises(StartError, match="only you can read"):
        claim_temporary()


def test_a_lock_is_held_until_it_is_released(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not is_held(path)
    lock = FileLock(path)
    assert lock.try_exclusive()
    assert is_held(path)
    lock.release()
    assert not is_held(path)


def test_of_two_that_share_a_lock_only_the_last_can_have_it_alone(tmp_path: Path) -> None:
    one, other = FileLock(tmp_path / "lock").shared(), FileLock(tmp_path / "lock").shared()
    assert not one.try_upgrade()
    assert other.try_upgrade()
    other.release()
