"""The command lines of etcd, the Kubernetes components and kwok, and the files they read.

Everything binds to 127.0.0.1. The API server has RBAC on; the components have client certificates
of their own, so that the audit log tells them apart.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from drifttrigger.local.certificates import Authority, PrivateKey, Subject, Usage
from drifttrigger.local.kubeconfig import (
    ClientCertificate,
    Token,
    write_kubeconfig,
    write_private,
)
from drifttrigger.local.layout import Layout
from drifttrigger.local.ports import HOST
from drifttrigger.local.processes import Program

ETCD = "etcd"
API_SERVER = "kube-apiserver"
CONTROLLER_MANAGER = "kube-controller-manager"
SCHEDULER = "kube-scheduler"
KWOK = "kwok"

NODE = "local"
NODE_LEASE = f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{NODE}"
MASTERS = "system:masters"

# Those that talk to the API server, with the users that they are there.
COMPONENTS = {
    CONTROLLER_MANAGER: Subject(f"system:{CONTROLLER_MANAGER}"),
    SCHEDULER: Subject(f"system:{SCHEDULER}"),
    KWOK: Subject(KWOK, (MASTERS,)),
}

_HERE = Path(__file__).parent
_ISSUER = "https://kubernetes.default.svc.cluster.local"
_AUTHORITY = Subject("drifttrigger-local")
_NODE_LEASE_SECONDS = 40
_AUDIT_LOG_MEGABYTES = 100_000


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the control plane listens.

    Args:
        api: The API server.
        etcd: etcd for its clients.
        etcd_peers: etcd for members, of which there is one.
        prometheus: Prometheus, when it runs.
    """

    api: int
    etcd: int
    etcd_peers: int
    prometheus: int

    @property
    def api_url(self) -> str:
        """URL of the API server."""
        return f"https://{HOST}:{self.api}"

    @property
    def etcd_url(self) -> str:
        """URL of etcd."""
        return f"http://{HOST}:{self.etcd}"


def prepare(layout: Layout, *, url: str, now: datetime) -> str:
    """Write keys, certificates, tokens and kubeconfigs.

    A folder that has keys keeps them, so that service account tokens and client certificates stay
    valid over a restart of the whole cluster.

    Args:
        layout: The cluster's folder.
        url: Of the API server.
        now: Aware UTC, for the certificates' dates.

    Returns:
        The administrator's token.
    """
    authority = _authority(layout, now=now)
    server_key = layout.pki / "server.key"
    if not server_key.exists():
        key = PrivateKey.generate()
        certificate = authority.issue(Subject("kube-apiserver"), key, usage=Usage.SERVER, now=now)
        write_private(layout.pki / "server.crt", certificate)
        write_private(layout.pki / "service-accounts.key", PrivateKey.generate().pem())
        # The last column holds the groups; the third, the uid, means nothing here.
        tokens = f'{secrets.token_urlsafe(24)},admin,admin,"{MASTERS}"\n'
        write_private(layout.pki / "tokens.csv", tokens)
        # Last, for it says that all are there.
        write_private(server_key, key.pem())
    for component, subject in COMPONENTS.items():
        path = layout.pki / f"{component}.kubeconfig"
        write_user_kubeconfig(layout, path=path, url=url, subject=subject, now=now)
    token = (layout.pki / "tokens.csv").read_text().split(",")[0]
    write_kubeconfig(
        layout.kubeconfig,
        url=url,
        ca_file=layout.ca_file,
        user="admin",
        credential=Token(token),
    )
    return token


def write_user_kubeconfig(
    layout: Layout, *, path: Path, url: str, subject: Subject, now: datetime
) -> Path:
    """Write a kubeconfig whose client certificate says who the user is.

    Args:
        layout: The cluster's folder, whose authority signs.
        path: Where to write it.
        url: Of the API server.
        subject: The user's name and groups.
        now: Aware UTC, for the certificate's dates.

    Returns:
        The path.
    """
    key = PrivateKey.generate()
    authority = _authority(layout, now=now)
    credential = ClientCertificate(
        certificate=authority.issue(subject, key, usage=Usage.CLIENT, now=now), key=key.pem()
    )
    return write_kubeconfig(
        path, url=url, ca_file=layout.ca_file, user=subject.name, credential=credential
    )


def etcd(layout: Layout, *, binaries: Path, ports: Ports) -> Program:
    """Run etcd with one member; no fsync, for a crash of the machine may lose the data."""
    peers = f"http://{HOST}:{ports.etcd_peers}"
    return Program(
        name=ETCD,
        command=(
            str(binaries / ETCD),
            f"--name={NODE}",
            f"--data-dir={layout.directory / 'etcd'}",
            f"--listen-client-urls={ports.etcd_url}",
            f"--advertise-client-urls={ports.etcd_url}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster={NODE}={peers}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ),
        grace_seconds=5.0,
    )


def api_server(
    layout: Layout, *, binaries: Path, ports: Ports, arguments: Sequence[str] = ()
) -> Program:
    """Run the API server with RBAC and an audit log."""
    pki = layout.pki
    return Program(
        name=API_SERVER,
        command=(
            str(binaries / API_SERVER),
            f"--etcd-servers={ports.etcd_url}",
            f"--bind-address={HOST}",
            f"--secure-port={ports.api}",
            f"--advertise-address={HOST}",
            # The Service `kubernetes` may have no loopback address; nobody uses it here.
            "--endpoint-reconciler-type=none",
            f"--tls-cert-file={pki / 'server.crt'}",
            f"--tls-private-key-file={pki / 'server.key'}",
            f"--client-ca-file={layout.ca_file}",
            f"--token-auth-file={pki / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            f"--service-account-issuer={_ISSUER}",
            f"--service-account-key-file={pki / 'service-accounts.key'}",
            f"--service-account-signing-key-file={pki / 'service-accounts.key'}",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--allow-privileged=true",
            f"--audit-policy-file={_HERE / 'audit-policy.yaml'}",
            f"--audit-log-path={layout.audit_log}",
            # Rotation would take events away from who reads the file.
            f"--audit-log-maxsize={_AUDIT_LOG_MEGABYTES}",
            *arguments,
        ),
    )


def controller_manager(layout: Layout, *, binaries: Path) -> Program:
    """Run the controllers, each as the service account that a real cluster gives it."""
    pki = layout.pki
    return Program(
        name=CONTROLLER_MANAGER,
        command=(
            str(binaries / CONTROLLER_MANAGER),
            f"--kubeconfig={pki / CONTROLLER_MANAGER}.kubeconfig",
            f"--root-ca-file={layout.ca_file}",
            f"--service-account-private-key-file={pki / 'service-accounts.key'}",
            "--use-service-account-credentials",
            "--leader-elect=false",
            f"--bind-address={HOST}",
            "--secure-port=0",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
        ),
    )


def scheduler(layout: Layout, *, binaries: Path) -> Program:
    """Run the scheduler."""
    return Program(
        name=SCHEDULER,
        command=(
            str(binaries / SCHEDULER),
            f"--kubeconfig={layout.pki / SCHEDULER}.kubeconfig",
            "--leader-elect=false",
            f"--bind-address={HOST}",
            "--secure-port=0",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
        ),
    )


def kwok(layout: Layout, *, binaries: Path) -> Program:
    """Run the simulated kubelet of the one node."""
    return Program(
        name=KWOK,
        command=(
            str(binaries / KWOK),
            f"--kubeconfig={layout.pki / KWOK}.kubeconfig",
            f"--config={_HERE / 'stages.yaml'}",
            "--manage-all-nodes=true",
            f"--node-lease-duration-seconds={_NODE_LEASE_SECONDS}",
        ),
    )


def node() -> dict[str, object]:
    """Give the one node, as its kubelet would register it."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": NODE,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/hostname": NODE,
                "kubernetes.io/os": "linux",
            },
        },
    }


def _authority(layout: Layout, *, now: datetime) -> Authority:
    path = layout.pki / "ca.key"
    if path.exists():
        return Authority(_AUTHORITY, PrivateKey.read(path))
    authority = Authority(_AUTHORITY, PrivateKey.generate())
    write_private(layout.ca_file, authority.certificate(now=now))
    write_private(path, authority.key.pem())
    return authority
