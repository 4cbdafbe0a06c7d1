"""The home-made certificates convince a TLS library, and only with the right authority."""

import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from drifttrigger.local.certificates import Authority, PrivateKey, Subject, Usage


def _authority() -> Authority:
    return Authority(Subject("test"), PrivateKey.generate())


def _write(folder: Path, *, authority: Authority, usage: Usage, now: datetime) -> tuple[Path, Path]:
    key = PrivateKey.generate()
    certificate = folder / f"{usage.value}.crt"
    certificate.write_text(authority.issue(Subject("jane", ("a", "b")), key, usage=usage, now=now))
    (folder / f"{usage.value}.key").write_text(key.pem())
    return certificate, folder / f"{usage.value}.key"


def _trust(path: Path, authority: Authority) -> ssl.SSLContext:
    path.write_text(authority.certificate(now=datetime.now(UTC)))
    context = ssl.create_default_context(cafile=path)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> dict[str, object]:
    """Shake hands over a socket pair; returns what the server learnt of the client."""
    near, far = socket.socketpair()
    learnt: dict[str, object] = {}

    def serve() -> None:
        try:
            with server.wrap_socket(far, server_side=True) as secured:
                learnt.update(secured.getpeercert() or {})
                secured.sendall(b"x")
        except OSError:
            far.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(near, server_hostname="127.0.0.1") as secured:
            secured.recv(1)
    finally:
        near.close()
        thread.join()
    return learnt


def test_a_client_that_trusts_the_authority_accepts_the_server(tmp_path: Path) -> None:
    authority = _authority()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(
        *_write(tmp_path, authority=authority, usage=Usage.SERVER, now=datetime.now(UTC))
    )
    _handshake(server, _trust(tmp_path / "ca.crt", authority))


def test_a_client_that_trusts_another_authority_refuses_the_server(tmp_path: Path) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(
        *_write(tmp_path, authority=_authority(), usage=Usage.SERVER, now=datetime.now(UTC))
    )
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(server, _trust(tmp_path / "ca.crt", _authority()))


def test_a_server_learns_the_user_and_groups_of_a_client(tmp_path: Path) -> None:
    authority, now = _authority(), datetime.now(UTC)
    client = _trust(tmp_path / "ca.crt", authority)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*_write(tmp_path, authority=authority, usage=Usage.SERVER, now=now))
    server.load_verify_locations(tmp_path / "ca.crt")
    server.verify_mode = ssl.CERT_REQUIRED
    client.load_cert_chain(*_write(tmp_path, authority=authority, usage=Usage.CLIENT, now=now))

    subject = _handshake(server, client)["subject"]

    assert subject == (
        (("organizationName", "a"),),
        (("organizationName", "b"),),
        (("commonName", "jane"),),
    )


def test_a_certificate_of_a_year_ago_has_expired(tmp_path: Path) -> None:
    authority = _authority()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    long_ago = datetime.now(UTC) - timedelta(days=366)
    server.load_cert_chain(*_write(tmp_path, authority=authority, usage=Usage.SERVER, now=long_ago))
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        _handshake(server, _trust(tmp_path / "ca.crt", authority))


@pytest.mark.parametrize("secret", [1, 255, 2**255], ids=["smallest", "one byte", "large"])
def test_a_key_is_read_as_it_was_written(tmp_path: Path, secret: int) -> None:
    path = tmp_path / "key"
    path.write_text(PrivateKey(secret).pem())
    assert PrivateKey.read(path) == PrivateKey(secret)
