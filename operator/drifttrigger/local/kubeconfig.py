"""Kubeconfig files for the local cluster; written as JSON, which every YAML reader reads."""

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token."""

    value: str


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A client certificate with its key, both PEM."""

    certificate: str
    key: str


Credential = Token | ClientCertificate


def write_kubeconfig(
    path: Path, *, url: str, ca_file: Path, user: str, credential: Credential
) -> Path:
    """Write a kubeconfig with one cluster, one user and one context.

    Args:
        path: Where; replaced as a whole, readable by the owner only.
        url: Of the API server.
        ca_file: Certificate that the client verifies the API server with.
        user: The user's name in the file.
        credential: How the user proves who they are.

    Returns:
        The path.
    """
    authority = base64.b64encode(ca_file.read_bytes()).decode()
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "local", "cluster": {"server": url, "certificate-authority-data": authority}}
        ],
        "users": [{"name": user, "user": _user(credential)}],
        "contexts": [{"name": "local", "context": {"cluster": "local", "user": user}}],
        "current-context": "local",
    }
    write_private(path, json.dumps(content, indent=2) + "\n")
    return path


def write_private(path: Path, content: str) -> None:
    """Replace a file as a whole; only its owner can read it."""
    staging = path.with_name(f"{path.name}.{os.getpid()}.new")
    staging.touch(mode=0o600)
    staging.write_text(content)
    staging.replace(path)


def _user(credential: Credential) -> Mapping[str, str]:
    if isinstance(credential, Token):
        return {"token": credential.value}
    return {
        "client-certificate-data": base64.b64encode(credential.certificate.encode()).decode(),
        "client-key-data": base64.b64encode(credential.key.encode()).decode(),
    }
