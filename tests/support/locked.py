"""A real Prometheus behind TLS, passwords and client certificates, as platforms run it.

Its web configuration is read anew with each request and each handshake, so that a test rotates
passwords and certificates while it runs.
"""

import http.client
import json
import os
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from drifttrigger.local.certificates import Authority, PrivateKey, Subject, Usage
from drifttrigger.local.ports import free_ports

PASSWORDS = {
    "first-pw-7Qx2": "$2b$04$abcdefghijklmnopqrstuuvdLRDfcJJ3VBPLVDqcXRS8bOnx.Qa2y",
    "second-pw-9Zk4": "$2b$04$abcdefghijklmnopqrstuuOhXO0ioCnJj6hyFcr1GndjUiTCLcBCO",
}
"""Passwords and their bcrypt hashes; the standard library makes none."""
_START_SECONDS = 20.0


class Papers:
    """A certificate authority and what it signs."""

    def __init__(self, name: str) -> None:
        self._authority = Authority(Subject(name), PrivateKey.generate())
        self.ca = self._authority.certificate(now=datetime.now(UTC))

    def issue(self, name: str, usage: Usage) -> tuple[str, str]:
        """Sign a certificate; servers' are for 127.0.0.1 and localhost. Returns it and its key."""
        key = PrivateKey.generate()
        signed = self._authority.issue(Subject(name), key, usage=usage, now=datetime.now(UTC))
        return signed, key.pem()

    def client(self, name: str = "reader") -> dict[str, str]:
        """Make the data of a kubernetes.io/tls Secret."""
        certificate, key = self.issue(name, Usage.CLIENT)
        return {"tls.crt": certificate, "tls.key": key}


@dataclass
class LockedPrometheus:
    """A Prometheus that runs.

    Args:
        address: Its URL, with the prefix.
        folder: Where its web configuration is.
        papers: The authority of its certificate.
    """

    address: str
    folder: Path
    papers: Papers | None = None
    _web: dict[str, Any] = field(default_factory=dict)

    def accept(self, user: str, password: str) -> None:
        """Take this user with this password alone, from the next request on."""
        self._web["basic_auth_users"] = {user: PASSWORDS[password]}
        self._write()

    def show(self, papers: Papers) -> None:
        """Show a certificate of this authority, from the next handshake on."""
        self.papers = papers
        certificate, key = papers.issue("prometheus", Usage.SERVER)
        tls = self._web.setdefault("tls_server_config", {})
        tls["cert_file"] = self._put("server.crt", certificate)
        tls["key_file"] = self._put("server.key", key)
        self._write()

    def want(self, papers: Papers) -> None:
        """Want a client certificate of this authority, from the next handshake on."""
        tls = self._web["tls_server_config"]
        tls["client_ca_file"] = self._put("clients.crt", papers.ca)
        tls["client_auth_type"] = "RequireAndVerifyClientCert"
        self._write()

    def wait_for(self, metric: str) -> None:
        """Wait until it has scraped a metric; some seconds pass before it scrapes at all."""
        assert self.papers is not None
        url = urlsplit(self.address)
        trusted = ssl.create_default_context(cadata=self.papers.ca)
        deadline = time.monotonic() + _START_SECONDS
        while True:
            connection = http.client.HTTPSConnection(url.netloc, context=trusted, timeout=5)
            connection.request("GET", f"{url.path}/api/v1/query?query={metric}")
            answer = json.loads(connection.getresponse().read())
            connection.close()
            if answer["data"]["result"]:
                return
            assert time.monotonic() < deadline, (self.folder / "log").read_text()[-2000:]
            time.sleep(0.05)

    def _put(self, name: str, text: str) -> str:
        """Write a file in one step: it is read at any moment."""
        path = self.folder / name
        path.with_suffix(".new").write_text(text)
        path.with_suffix(".new").replace(path)
        return name

    def _write(self) -> None:
        self._put("web.yml", json.dumps(self._web))


@contextmanager
def locked_prometheus(
    binaries: Path, folder: Path, *, scrapes: Sequence[str] = (), prefix: str = "", tls: bool
) -> Iterator[LockedPrometheus]:
    """Run a Prometheus.

    Args:
        binaries: Folder that holds it.
        folder: An empty folder for it.
        scrapes: Addresses (`host:port`) that it scrapes twice a second.
        prefix: Path below which it serves, as in `/prometheus`.
        tls: Whether it speaks TLS, with a certificate of an authority of its own.
    """
    [port] = free_ports(1)
    server = LockedPrometheus(f"http{'s' * tls}://127.0.0.1:{port}{prefix}", folder)
    job = {"job_name": "scores", "static_configs": [{"targets": list(scrapes)}]}
    intervals = {"scrape_interval": "500ms", "scrape_timeout": "500ms"}
    config = {"global": intervals, "scrape_configs": [job]}
    (folder / "prometheus.json").write_text(json.dumps(config))
    server._put("web.yml", "{}")
    if tls:
        server.show(Papers("prometheus-ca"))
    log = folder / "log"
    command = [
        str(binaries / "prometheus"),
        "--config.file=prometheus.json",
        "--web.config.file=web.yml",
        f"--web.route-prefix={prefix or '/'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=info",
    ]
    environment: Mapping[str, str] = {**os.environ, "GOMAXPROCS": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=output
        )
    try:
        _wait_ready(process, log)
        yield server
    finally:
        process.kill()
        process.wait(10)


def _wait_ready(process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while "Server is ready to receive web requests" not in log.read_text():
        assert process.poll() is None, log.read_text()[-2000:]
        assert time.monotonic() < deadline, log.read_text()[-2000:]
        time.sleep(0.02)
