"""Free ports on loopback."""

import secrets
import socket

HOST = "127.0.0.1"

# Below Linux's range for outgoing connections (32768 and up): a port from that range may be taken
# by any client between the choice and the listening.
_FIRST, _LAST = 20_000, 32_000
_TRIES = 200


def free_ports(count: int) -> list[int]:
    """Choose ports that nobody listens on now; somebody may before they are used.

    Args:
        count: How many.

    Returns:
        Ports that differ from one another.
    """
    found: set[int] = set()
    for _ in range(_TRIES):
        if len(found) == count:
            return list(found)
        port = _FIRST + secrets.randbelow(_LAST - _FIRST)
        if _is_free(port):
            found.add(port)
    raise OSError(f"no {count} free ports between {_FIRST} and {_LAST} on {HOST}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
