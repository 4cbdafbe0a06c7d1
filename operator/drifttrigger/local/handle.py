"""How any process reaches a running cluster, and the identities it can take there.

The process that runs a cluster writes a handle into the cluster's folder; a test worker, the demo
or a person's shell reads it. Everything here works from another process than the owner's.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from drifttrigger.local.certificates import Subject
from drifttrigger.local.control_plane import write_user_kubeconfig
from drifttrigger.local.errors import NotRunning, StartError
from drifttrigger.local.kubeconfig import Token, write_kubeconfig, write_private
from drifttrigger.local.layout import Layout
from drifttrigger.local.locks import is_held
from drifttrigger.local.prometheus import PROMETHEUS, ScrapeTarget, add_target
from drifttrigger.local.rest import Rest

_TOKEN_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class ClusterHandle:
    """A running cluster, as others see it.

    Args:
        directory: The cluster's folder.
        url: Of the API server, https on 127.0.0.1.
        token: The administrator's bearer token.
        binaries: Folder with kubectl and all the others.
        pid: Process that runs the cluster.
        prometheus_url: None when the cluster has no Prometheus.
    """

    directory: Path
    url: str
    token: str
    binaries: Path
    pid: int
    prometheus_url: str | None

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Read the handle of the cluster that runs from a folder.

        Raises:
            NotRunning: None runs there, or it is not ready yet.
        """
        layout = Layout(directory)
        if not layout.state.exists() or not is_held(layout.owner_lock):
            raise NotRunning(f"no cluster runs from {directory}")
        found = json.loads(layout.state.read_text())
        return cls(
            directory=Path(found["directory"]),
            url=found["url"],
            token=found["token"],
            binaries=Path(found["binaries"]),
            pid=found["pid"],
            prometheus_url=found["prometheus_url"],
        )

    def write(self) -> None:
        """Write the handle for others to read."""
        found = {
            "directory": str(self.directory),
            "url": self.url,
            "token": self.token,
            "binaries": str(self.binaries),
            "pid": self.pid,
            "prometheus_url": self.prometheus_url,
        }
        write_private(self._layout.state, json.dumps(found, indent=2) + "\n")

    @property
    def kubeconfig(self) -> Path:
        """Kubeconfig of the administrator."""
        return self._layout.kubeconfig

    @property
    def ca_file(self) -> Path:
        """Certificate that clients verify the API server with."""
        return self._layout.ca_file

    @property
    def audit_log(self) -> Path:
        """The API server's audit log."""
        return self._layout.audit_log

    @property
    def kubectl(self) -> Path:
        """A kubectl of the API server's version."""
        return self.binaries / "kubectl"

    def kubeconfig_for(
        self, name: str, *, user: str | None = None, groups: Sequence[str] = ()
    ) -> Path:
        """Make a kubeconfig of an arbitrary user, proven by a client certificate.

        Args:
            name: Name of the file.
            user: User name that the API server sees; None means `name`.
            groups: Groups that the API server sees beside `system:authenticated`.

        Returns:
            Path of the kubeconfig; valid for a year.
        """
        return write_user_kubeconfig(
            self._layout,
            path=self._layout.kubeconfigs / _file_name(name),
            url=self.url,
            subject=Subject(user or name, groups),
            now=datetime.now(UTC),
        )

    def service_account_kubeconfig(
        self, namespace: str, name: str, *, valid_seconds: int = _TOKEN_SECONDS
    ) -> Path:
        """Make a kubeconfig with a real token of a service account that exists.

        Args:
            namespace: Of the service account.
            name: Of the service account.
            valid_seconds: How long the token is valid; the API server wants 600 or more.

        Returns:
            Path of the kubeconfig.

        Raises:
            StartError: The API server gives no token.
        """
        answer = self.api().send(
            "POST",
            f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token",
            body={
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenRequest",
                "spec": {"expirationSeconds": valid_seconds},
            },
        )
        if answer.status != 201:
            said = json.loads(answer.body).get("message", answer.status)
            problem = f"gives no token for service account {namespace}/{name}: {said}"
            raise StartError("kube-apiserver", problem)
        return write_kubeconfig(
            self._layout.kubeconfigs / _file_name(f"{namespace}-{name}"),
            url=self.url,
            ca_file=self.ca_file,
            user=f"system:serviceaccount:{namespace}:{name}",
            credential=Token(json.loads(answer.body)["status"]["token"]),
        )

    def audit_events(self) -> Iterator[Mapping[str, Any]]:
        """Read what the API server was asked so far, in the order of its answers.

        Yields:
            One event of `audit.k8s.io/v1` per request; a line still being written is left out.
        """
        with self.audit_log.open("rb") as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    yield json.loads(line)

    def add_scrape_target(
        self, job: str, address: str, *, labels: Mapping[str, str] | None = None
    ) -> None:
        """Have Prometheus scrape one more address.

        Args:
            job: Value of the label `job`.
            address: `host:port` that answers at `/metrics`.
            labels: More labels of each series.

        Raises:
            NotRunning: The cluster has no Prometheus.
            StartError: Prometheus refuses the target.
        """
        if self.prometheus_url is None:
            raise NotRunning(f"the cluster in {self.directory} runs no {PROMETHEUS}")
        target = ScrapeTarget(job=job, address=address, labels=dict(labels or {}))
        add_target(self._layout, target, url=self.prometheus_url)

    def api(self) -> Rest:
        """Give a plain client of the API server as the administrator."""
        return Rest(self.url, ca_file=self.ca_file, token=self.token)

    @property
    def _layout(self) -> Layout:
        return Layout(self.directory)


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]", "_", name)
