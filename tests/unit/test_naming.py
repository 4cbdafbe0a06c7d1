"""Names of children: the name is the lock."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drifttrigger.core.naming import child_name, sequence_of, uid_hash
from support.builders import UID

NAMES = st.from_regex(r"[a-z]([-a-z0-9]{0,48}[a-z0-9])?", fullmatch=True)
UIDS = st.uuids().map(str)


def test_a_name_never_changes() -> None:
    assert child_name("fraud-detector", UID, 1) == "fraud-detector-fzljm-1"


@given(NAMES, UIDS, st.integers(1, 999_999))
def test_a_name_is_a_dns_label_and_reads_back(name: str, uid: str, sequence: int) -> None:
    made = child_name(name, uid, sequence)
    assert len(made) <= 63
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", made)
    assert sequence_of(made, name, uid) == sequence


@given(UIDS)
def test_a_hash_has_five_characters_and_spells_no_word(uid: str) -> None:
    assert re.fullmatch(r"[bcdfghjklmnpqrstvwxz2456789]{5}", uid_hash(uid))


def test_triggers_of_one_name_have_children_of_different_names() -> None:
    uids = [f"00000000-0000-0000-0000-{n:012d}" for n in range(200)]
    assert len({child_name("fraud", uid, 1) for uid in uids}) == 200


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("fraud-fzljm-01", id="a leading zero"),
        pytest.param("fraud-fzljm-0", id="zero"),
        pytest.param("fraud-fzljm-", id="no number"),
        pytest.param("fraud-fzljm--1", id="a negative number"),
        pytest.param("fraud-fzljm-1-2", id="more after it"),
        pytest.param("fraud-fzljm-1\n", id="a line end"),
        pytest.param("fraud-bbbbb-1", id="another trigger of that name"),
        pytest.param("fraud-fzljm-x-fzljm-1", id="a longer name"),
        pytest.param("other-fzljm-1", id="another name"),
        pytest.param("fraud-fzljm-١", id="a digit of another script"),
        pytest.param("", id="empty"),
    ],
)
def test_a_name_that_this_trigger_did_not_give_has_no_sequence(name: str) -> None:
    assert sequence_of(name, "fraud", UID) is None


def test_a_dot_in_a_name_is_a_dot() -> None:
    assert sequence_of(child_name("aXb", UID, 1), "a.b", UID) is None
