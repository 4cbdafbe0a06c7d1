"""Rendezvous hashing: one owner for each key, few moves, an even split."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drifttrigger.core.sharding import owner_of

MEMBERS = st.lists(st.text(max_size=50), min_size=1, max_size=6, unique=True)
KEYS = st.text(max_size=40)


def keys(number: int) -> list[str]:
    return [f"3f0c1b1e-8a44-4f6c-9d7e-{n:012x}" for n in range(number)]


@given(KEYS, MEMBERS, st.randoms(use_true_random=False))
def test_all_members_name_the_same_owner_in_whatever_order_they_see_each_other(
    key: str, members: list[str], random: object
) -> None:
    owner = owner_of(key, members)
    assert owner in members
    shuffled = list(members)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert owner_of(key, iter(shuffled)) == owner


def test_without_members_nobody_owns_anything() -> None:
    assert owner_of("key", []) is None


@given(KEYS, MEMBERS, st.data())
def test_a_member_that_goes_moves_only_what_it_owned(
    key: str, members: list[str], data: st.DataObject
) -> None:
    gone = data.draw(st.sampled_from(members))
    before = owner_of(key, members)
    after = owner_of(key, [member for member in members if member != gone])
    assert after == before or before == gone


@given(KEYS, MEMBERS, st.text(max_size=50))
def test_a_member_that_comes_takes_only_for_itself(
    key: str, members: list[str], comes: str
) -> None:
    before, after = owner_of(key, members), owner_of(key, [*members, comes])
    assert after in (before, comes)


@pytest.mark.parametrize("number", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("drifttrigger-6c9f7d5b4-{}", id="as pods are named"),
        pytest.param(
            "drifttrigger-controller-manager-of-the-models-6c9f7d5b4-{}",
            id="long names that begin alike",
        ),
        pytest.param("{}-drifttrigger", id="names that end alike"),
    ],
)
def test_ten_thousand_keys_are_split_within_a_tenth(number: int, name: str) -> None:
    members = [name.format(f"x{n}k7q") for n in range(number)]
    split = Counter(owner_of(key, members) for key in keys(10_000))
    even = 10_000 / number
    assert set(split) == set(members)
    assert all(abs(owned - even) <= 0.1 * even for owned in split.values()), split


def test_what_a_lost_member_owned_is_shared_out_evenly() -> None:
    members = [f"drifttrigger-6c9f7d5b4-x{n}k7q" for n in range(4)]
    lost = [key for key in keys(10_000) if owner_of(key, members) == members[0]]
    split = Counter(owner_of(key, members[1:]) for key in lost)
    even = len(lost) / 3
    assert all(abs(owned - even) <= 0.15 * even for owned in split.values()), split
