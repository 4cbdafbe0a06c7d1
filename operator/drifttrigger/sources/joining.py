r"""Many queries in one expression, told apart by a label; pure.

Each is wrapped as `label_replace((\nQ\n), "<label>", "<number>", "", "")`, and all are joined by
`or`. The line break ends a comment at the end of Q, and since label_replace is outermost, no query
can forge the number of another. The tree of `or` is balanced: in a chain that leans to the left,
Prometheus copies the first members once for every later one.
"""

from collections.abc import Sequence

import msgspec

LABEL = "__drifttrigger_query__"
MOST_QUERIES = 200
MOST_BYTES = 64 * 1024
WRAPPING_BYTES = 80
"""What one member adds to its own text, at most."""


class Member(msgspec.Struct, frozen=True, gc=False):
    """A query that has succeeded alone.

    Attributes:
        query: One complete expression.
        is_scalar: Whether its type is scalar; it is then made a vector.
    """

    query: str
    is_scalar: bool = False


def joined(members: Sequence[Member]) -> str:
    """Write the expression that asks all members; each is numbered by its place."""
    parts = [_labelled(member, number) for number, member in enumerate(members)]
    while len(parts) > 1:
        pairs = zip(parts[::2], parts[1::2], strict=False)
        halved = [f"({left}\nor\n{right})" for left, right in pairs]
        parts = halved + parts[len(halved) * 2 :]
    return parts[0] if parts else ""


def _labelled(member: Member, number: int) -> str:
    expression = f"(\n{member.query}\n)"
    if member.is_scalar:
        expression = f"vector({expression})"
    return f'label_replace({expression}, "{LABEL}", "{number}", "", "")'
