"""Which addresses a source may lead to: checked on the very address that is connected to.

A source's address is written by whoever may create one. The operator must not become their way to
the node's metadata service or to what listens on its own loopback. Names are resolved once, and the
socket is made for the address that was looked at: there is no second resolution to differ.
"""

import ipaddress
import os
import socket
from typing import Any

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Info = tuple[int, int, int, str, tuple[Any, ...]]
"""As getaddrinfo returns it: family, type, protocol, canonical name, socket address."""
_METADATA = frozenset(
    ipaddress.ip_address(text) for text in ("100.100.100.200", "168.63.129.16", "fd00:ec2::254")
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def runs_in_a_pod() -> bool:
    """Whether this process runs in a pod, whose loopback is not for users."""
    return "KUBERNETES_SERVICE_HOST" in os.environ


def refusal_of(address: str, *, loopback: bool) -> str:
    """Say why an IP address is refused; empty when it is not.

    Args:
        address: An IP address, a zone allowed.
        loopback: Whether loopback addresses are allowed.
    """
    ip = _unwrapped(ipaddress.ip_address(address.partition("%")[0]))
    if ip.is_link_local or ip in _METADATA:
        return "a link-local or metadata address"
    if ip.is_multicast:
        return "a multicast address"
    # Connecting to the unspecified address reaches loopback.
    if (ip.is_loopback or ip.is_unspecified) and not loopback:
        return "an address of the operator's own pod"
    return ""


def _unwrapped(ip: _Address) -> _Address:
    """Return the IPv4 address that an IPv6 one stands for, else itself."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or ip


class GuardedSockets:
    """Makes the sockets of an HTTP client, for allowed addresses only.

    Args:
        loopback: Whether loopback addresses are allowed.
    """

    def __init__(self, *, loopback: bool) -> None:
        self._loopback = loopback

    def __call__(self, info: _Info) -> socket.socket:
        """Make a socket for one address.

        Raises:
            OSError: The address is refused.
        """
        family, kind, protocol, _, where = info
        why = refusal_of(str(where[0]), loopback=self._loopback)
        if why:
            raise OSError(f"{where[0]} is {why}, which sources must not lead to")
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)  # noqa: FBT003 - the standard library's own signature
        return made
