"""Names of child objects, derived from the trigger alone so that the name can be the lock.

`<trigger>-<5 characters of hash(trigger UID)>-<sequence>`: two replicas that carry out the same
intent ask for the same name, and a trigger that is re-created under its old name asks for others.
"""

import hashlib
import re

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # no vowels: no words by accident
_HASH_LENGTH = 5


def uid_hash(uid: str) -> str:
    """Five characters that stand for a UID in a name."""
    number = int.from_bytes(hashlib.blake2s(uid.encode()).digest()[:8], "big")
    characters = []
    for _ in range(_HASH_LENGTH):
        number, index = divmod(number, len(_ALPHABET))
        characters.append(_ALPHABET[index])
    return "".join(characters)


def child_name(trigger_name: str, trigger_uid: str, sequence: int) -> str:
    """Name the Retraining, and its Job, with this sequence number (≥ 1)."""
    return f"{trigger_name}-{uid_hash(trigger_uid)}-{sequence}"


def sequence_of(name: str, trigger_name: str, trigger_uid: str) -> int | None:
    """Read the sequence number from a name that this very trigger gave, else None."""
    prefix = re.escape(f"{trigger_name}-{uid_hash(trigger_uid)}-")
    match = re.fullmatch(prefix + r"([1-9]\d{0,9})", name)
    return int(match[1]) if match else None
