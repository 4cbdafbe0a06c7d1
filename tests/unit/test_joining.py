"""Many queries in one expression: numbered, wrapped, and joined by a balanced tree."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drifttrigger.sources.joining import LABEL, MOST_QUERIES, WRAPPING_BYTES, Member, joined

MEMBERS = st.lists(
    st.builds(Member, st.text("ab ()#\n'\"ü😀", max_size=12), st.booleans()), max_size=40
)


def wrapped(member: Member, number: int) -> str:
    inner = f"(\n{member.query}\n)"
    inner = f"vector({inner})" if member.is_scalar else inner
    return f'label_replace({inner}, "{LABEL}", "{number}", "", "")'


def depth(expression: str) -> int:
    """How deep parentheses are nested; for queries that have none."""
    deepest = now = 0
    for character in expression:
        now += {"(": 1, ")": -1}.get(character, 0)
        assert now >= 0
        deepest = max(deepest, now)
    assert now == 0
    return deepest


@given(MEMBERS)
def test_members_stand_in_order_each_with_its_number(members: list[Member]) -> None:
    rest = joined(members)
    for number, member in enumerate(members):
        before, found, rest = rest.partition(wrapped(member, number))
        assert found
        assert re.fullmatch(r"[()\nor]*", before), "nothing but the tree stands between members"
    assert re.fullmatch(r"\)*", rest)


@given(MEMBERS)
def test_the_wrapping_is_no_larger_than_is_reckoned_with(members: list[Member]) -> None:
    most = sum(len(member.query.encode()) + WRAPPING_BYTES for member in members)
    assert len(joined(members).encode()) <= most


def test_the_wrapping_of_a_full_batch_of_scalars_is_reckoned_with() -> None:
    members = [Member("1", is_scalar=True)] * MOST_QUERIES
    assert len(joined(members)) <= MOST_QUERIES * (1 + WRAPPING_BYTES)


@pytest.mark.parametrize("number", [1, 2, 3, 5, 7, 8, 9, 64, 100, 127, 199, 200])
def test_the_tree_is_balanced(number: int) -> None:
    expression = joined([Member(f"q{n}") for n in range(number)])
    levels = math.ceil(math.log2(number))
    assert depth(expression) <= 2 + levels
    assert expression.count("\nor\n") == number - 1


def test_nothing_joined_is_nothing() -> None:
    assert joined([]) == ""


def test_one_member_needs_no_tree() -> None:
    assert joined([Member("up")]) == wrapped(Member("up"), 0)


def test_a_scalar_is_made_a_vector_and_a_vector_is_left_alone() -> None:
    expression = joined([Member("1", is_scalar=True), Member("up")])
    assert "vector((\n1\n))" in expression
    assert "vector((\nup\n))" not in expression


@given(st.text("ab#)(\"'", max_size=10))
def test_a_comment_at_the_end_swallows_nothing_of_the_wrapping(text: str) -> None:
    query = f"up # {text}"
    lines = joined([Member(query), Member("up")]).split("\n")
    assert query in lines, "the line of the comment ends with the query"
    code = "".join(line for line in lines if line != query)
    assert code.count(LABEL) == 2
