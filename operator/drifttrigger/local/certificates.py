"""Keys and certificates for a control plane on loopback, from the standard library alone.

A bare machine has neither openssl nor the `cryptography` package, yet clients must verify TLS and
tests need client certificates of arbitrary users. So this writes P-256 keys (FIPS 186-5, SEC 1) and
X.509 v3 certificates (RFC 5280) itself. The arithmetic is not constant-time: these keys guard a
cluster on 127.0.0.1 that holds no secrets, and must never be used for anything else.
"""

import base64
import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from ipaddress import IPv4Address
from pathlib import Path
from typing import Self

# Domain parameters of P-256, SEC 2 §2.4.2.
_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
_A = -3
_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
_KEY_BYTES = 32
_VALID_FOR = timedelta(days=365)
# A machine whose clock was set back a little must still accept a certificate made a second ago.
_VALID_BEFORE = timedelta(hours=1)

_Point = tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A P-256 key.

    Args:
        secret: The private scalar, 1 to n - 1.
    """

    secret: int

    @classmethod
    def generate(cls) -> Self:
        """Draw a key from the system's randomness."""
        return cls(secrets.randbelow(_N - 1) + 1)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a key that `pem` wrote."""
        body = "".join(path.read_text().splitlines()[1:-1])
        # SEQUENCE header (2 bytes), INTEGER 1 (3 bytes), OCTET STRING header (2 bytes), the scalar.
        return cls(int.from_bytes(base64.b64decode(body)[7 : 7 + _KEY_BYTES], "big"))

    def pem(self) -> str:
        """Write the key as `EC PRIVATE KEY` (RFC 5915)."""
        body = _sequence(
            _integer(1),
            _tlv(0x04, self.secret.to_bytes(_KEY_BYTES, "big")),
            _tlv(0xA0, _OID_P256),
            _tlv(0xA1, _bit_string(self.public_point())),
        )
        return _pem("EC PRIVATE KEY", body)

    def public_point(self) -> bytes:
        """Give the public key as an uncompressed point (65 bytes)."""
        point = _multiply(self.secret, _G)
        if point is None:
            raise ValueError("the private scalar is a multiple of the group's order")
        return b"\x04" + b"".join(part.to_bytes(_KEY_BYTES, "big") for part in point)

    def sign(self, message: bytes) -> bytes:
        """Sign with ECDSA and SHA-256 (FIPS 186-5 §6.4.1), as DER."""
        digest = int.from_bytes(hashlib.sha256(message).digest(), "big")
        while True:
            nonce = secrets.randbelow(_N - 1) + 1
            point = _multiply(nonce, _G)
            r = point[0] % _N if point else 0
            s = pow(nonce, -1, _N) * (digest + r * self.secret) % _N
            if r and s:
                return _sequence(_integer(r), _integer(s))


class Usage(Enum):
    """What a certificate is for."""

    AUTHORITY = "authority"
    SERVER = "server"
    CLIENT = "client"


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a certificate names.

    Args:
        name: Common name; Kubernetes reads a client's user name from it.
        groups: Organizations; Kubernetes reads a client's groups from them.
    """

    name: str
    groups: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority of one cluster.

    Args:
        subject: Its own name.
        key: Its own key.
    """

    subject: Subject
    key: PrivateKey

    def certificate(self, *, now: datetime) -> str:
        """Write the authority's own certificate as PEM."""
        return self._sign(self.subject, self.key, usage=Usage.AUTHORITY, now=now)

    def issue(self, subject: Subject, key: PrivateKey, *, usage: Usage, now: datetime) -> str:
        """Sign a certificate.

        Args:
            subject: Whom it names.
            key: The holder's key, of which only the public part goes in.
            usage: Server certificates are for 127.0.0.1 and localhost.
            now: Aware UTC; the certificate is valid for a year from an hour before.

        Returns:
            The certificate as PEM.
        """
        return self._sign(subject, key, usage=usage, now=now)

    def _sign(self, subject: Subject, key: PrivateKey, *, usage: Usage, now: datetime) -> str:
        body = _sequence(
            _tlv(0xA0, _integer(2)),
            _integer(secrets.randbits(126) + 1),
            _ECDSA_SHA256,
            _name(self.subject),
            _sequence(_time(now - _VALID_BEFORE), _time(now + _VALID_FOR)),
            _name(subject),
            _sequence(_sequence(_OID_EC, _OID_P256), _bit_string(key.public_point())),
            _tlv(0xA3, _sequence(*_extensions(usage, key=key, issuer=self.key))),
        )
        signed = _sequence(body, _ECDSA_SHA256, _bit_string(self.key.sign(body)))
        return _pem("CERTIFICATE", signed)


def _extensions(usage: Usage, *, key: PrivateKey, issuer: PrivateKey) -> list[bytes]:
    found = [
        _extension("2.5.29.14", _tlv(0x04, _key_id(key))),
        _extension("2.5.29.35", _sequence(_tlv(0x80, _key_id(issuer)))),
    ]
    if usage is Usage.AUTHORITY:
        # Bits 5 and 6 of KeyUsage: keyCertSign, cRLSign.
        key_usage, constraints = b"\x01\x06", _sequence(_tlv(0x01, b"\xff"))
    else:
        # Bit 0: digitalSignature.
        key_usage, constraints = b"\x07\x80", _sequence()
        purpose = "1.3.6.1.5.5.7.3.1" if usage is Usage.SERVER else "1.3.6.1.5.5.7.3.2"
        found.append(_extension("2.5.29.37", _sequence(_oid(purpose))))
    if usage is Usage.SERVER:
        names = _sequence(_tlv(0x82, b"localhost"), _tlv(0x87, IPv4Address("127.0.0.1").packed))
        found.append(_extension("2.5.29.17", names))
    critical = _tlv(0x01, b"\xff")
    found.append(_extension("2.5.29.15", _tlv(0x03, key_usage), flags=critical))
    found.append(_extension("2.5.29.19", constraints, flags=critical))
    return found


def _extension(oid: str, value: bytes, *, flags: bytes = b"") -> bytes:
    return _sequence(_oid(oid), flags, _tlv(0x04, value))


def _key_id(key: PrivateKey) -> bytes:
    # RFC 7093 §2, method 1.
    return hashlib.sha256(key.public_point()).digest()[:20]


def _name(subject: Subject) -> bytes:
    groups = [("2.5.4.10", group) for group in subject.groups]
    return _sequence(
        *(
            _tlv(0x31, _sequence(_oid(oid), _tlv(0x0C, value.encode())))
            for oid, value in [*groups, ("2.5.4.3", subject.name)]
        )
    )


def _time(at: datetime) -> bytes:
    # UTCTime, which RFC 5280 §4.1.2.5 wants until 2049.
    return _tlv(0x17, f"{at.astimezone(UTC):%y%m%d%H%M%SZ}".encode())


def _tlv(tag: int, value: bytes) -> bytes:
    size = len(value)
    if size < 0x80:
        return bytes([tag, size]) + value
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + value


def _sequence(*parts: bytes) -> bytes:
    return _tlv(0x30, b"".join(parts))


def _integer(value: int) -> bytes:
    return _tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _bit_string(value: bytes) -> bytes:
    return _tlv(0x03, b"\x00" + value)


def _oid(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    encoded = bytearray([40 * first + second])
    for arc in rest:
        octets = [arc & 0x7F]
        while arc := arc >> 7:
            octets.append(0x80 | (arc & 0x7F))
        encoded.extend(reversed(octets))
    return _tlv(0x06, bytes(encoded))


def _pem(label: str, body: bytes) -> str:
    text = base64.b64encode(body).decode()
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])


def _add(left: _Point, right: _Point) -> _Point:
    """Add two points of the curve in affine coordinates; None is the point at infinity."""
    if left is None:
        return right
    if right is None:
        return left
    (x1, y1), (x2, y2) = left, right
    if x1 == x2:
        if (y1 + y2) % _P == 0:
            return None
        slope = (3 * x1 * x1 + _A) * pow(2 * y1, -1, _P) % _P
    else:
        slope = (y2 - y1) * pow(x2 - x1, -1, _P) % _P
    x3 = (slope * slope - x1 - x2) % _P
    return x3, (slope * (x1 - x3) - y1) % _P


def _multiply(scalar: int, point: _Point) -> _Point:
    total: _Point = None
    while scalar:
        if scalar & 1:
            total = _add(total, point)
        point = _add(point, point)
        scalar >>= 1
    return total


_OID_EC = _oid("1.2.840.10045.2.1")
_OID_P256 = _oid("1.2.840.10045.3.1.7")
_ECDSA_SHA256 = _sequence(_oid("1.2.840.10045.4.3.2"))
