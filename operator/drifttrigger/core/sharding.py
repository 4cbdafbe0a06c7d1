"""Which replica an object belongs to: rendezvous hashing, pure.

Every replica computes the same owner from the same members, and a member that comes or goes moves
only the objects that it wins or had won (Thaler and Ravishankar, 1998).
"""

import hashlib
from collections.abc import Iterable


def owner_of(key: str, members: Iterable[str]) -> str | None:
    """Return the member that an object belongs to, None without members.

    Args:
        key: What identifies the object, such as its UID.
        members: Names of the live members.
    """
    return max(members, key=lambda member: (_weight(member, key), member), default=None)


def _weight(member: str, key: str) -> bytes:
    # A digest of the name: a key of blake2s holds 32 bytes, and names of pods differ at their end.
    name = hashlib.blake2s(member.encode()).digest()
    return hashlib.blake2s(key.encode(), key=name, digest_size=8).digest()
