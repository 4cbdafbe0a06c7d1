"""A whole control plane that starts, can be disturbed, and always ends.

```
Cluster.start ── claim a folder (sweeping those of the dead)
              ── certificates, tokens, kubeconfigs
              ── etcd ─ kube-apiserver ─ controllers, scheduler, kwok, Prometheus
              ── ready: /readyz, the default service account, the node
    stop_process / kill_process / pause / resume / start_process      for chaos tests
Cluster.stop  ── all processes ended, the temporary folder removed
```

It ends on every way out: leaving the `with` block, an exception, Ctrl-C, SIGTERM, the
interpreter's exit. After a `kill -9` the kernel ends the children, and the next start removes the
folder.
"""

import atexit
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from drifttrigger.local import control_plane
from drifttrigger.local import prometheus as metrics
from drifttrigger.local.binaries import ensure_binaries
from drifttrigger.local.building import Progress
from drifttrigger.local.control_plane import Ports
from drifttrigger.local.errors import NotRunning, StartError
from drifttrigger.local.handle import ClusterHandle
from drifttrigger.local.layout import Layout, claim, claim_temporary
from drifttrigger.local.locks import FileLock
from drifttrigger.local.ports import HOST, free_ports
from drifttrigger.local.processes import Processes
from drifttrigger.local.prometheus import PrometheusOptions, ScrapeTarget
from drifttrigger.local.rest import Rest
from drifttrigger.local.signals import guard, unguard

READY_TIMEOUT_SECONDS = 60.0
_DEFAULT_SERVICE_ACCOUNT = "/api/v1/namespaces/default/serviceaccounts/default"
_PORT_TRIES = 3
_PORT_TAKEN = "address already in use"


@dataclass(frozen=True, slots=True)
class _Plan:
    """What was asked for at the start, kept for restarts."""

    binaries: Path
    prometheus: PrometheusOptions | None
    scrape: Sequence[ScrapeTarget]
    api_arguments: Sequence[str]


class Cluster:
    """A running control plane, owned by this process. Made by `start`."""

    def __init__(self, layout: Layout, *, plan: _Plan, lock: FileLock, temporary: bool) -> None:
        self._layout = layout
        self._plan = plan
        self._lock = lock
        self._temporary = temporary
        self._processes = Processes(layout.logs)
        self._handle: ClusterHandle | None = None
        self._owner: int | None = os.getpid()

    @classmethod
    def start(
        cls,
        directory: Path | None = None,
        *,
        prometheus: bool | PrometheusOptions = False,
        scrape: Sequence[ScrapeTarget] = (),
        api_arguments: Sequence[str] = (),
        progress: Progress = lambda _: None,
    ) -> Self:
        """Start a control plane and wait until it is ready.

        Args:
            directory: Where its data lie; they are kept when it stops, and found again by the
                next start. None means a temporary folder that is removed when it stops.
            prometheus: Whether a Prometheus runs beside it, and how.
            scrape: What Prometheus scrapes from the start.
            api_arguments: More arguments of kube-apiserver.
            progress: Called with one line per step of a build, should one be needed.

        Returns:
            The cluster; also a context manager that stops it.

        Raises:
            BuildError: The binaries can't be had.
            AlreadyRunning: A cluster runs from this directory.
            StartError: A process did not come up; carries its last log lines.
        """
        options = PrometheusOptions() if prometheus is True else (prometheus or None)
        guard()
        try:
            plan = _Plan(
                binaries=ensure_binaries(progress=progress),
                prometheus=options,
                scrape=scrape,
                api_arguments=api_arguments,
            )
            cluster = cls._claim(directory, plan=plan)
        except BaseException:
            unguard()
            raise
        try:
            cluster._run_on_free_ports()  # noqa: SLF001 - of our own class
        except BaseException:
            cluster.stop()
            raise
        return cluster

    @classmethod
    def _claim(cls, directory: Path | None, *, plan: _Plan) -> Self:
        if directory is None:
            claimed, lock = claim_temporary()
        else:
            claimed = directory.absolute()
            lock = claim(claimed)
        cluster = cls(Layout(claimed), plan=plan, lock=lock, temporary=directory is None)
        atexit.register(cluster.stop)
        return cluster

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End all processes and remove the folder when it is temporary; may be called again."""
        # A fork of ours inherits this object and the exit hook, but not the right to end the rest.
        if self._owner != os.getpid():
            return
        self._layout.state.unlink(missing_ok=True)
        self._processes.stop_all()
        if self._temporary:
            shutil.rmtree(self._layout.directory, ignore_errors=True)
        self._lock.release()
        self._owner = None
        atexit.unregister(self.stop)
        unguard()

    @property
    def handle(self) -> ClusterHandle:
        """How others reach the cluster."""
        if self._handle is None:
            raise NotRunning("the cluster is not ready")
        return self._handle

    @property
    def directory(self) -> Path:
        """Folder of all its files."""
        return self._layout.directory

    @property
    def kubeconfig(self) -> Path:
        """Kubeconfig of the administrator."""
        return self.handle.kubeconfig

    @property
    def url(self) -> str:
        """URL of the API server."""
        return self.handle.url

    @property
    def ca_file(self) -> Path:
        """Certificate that clients verify the API server with."""
        return self.handle.ca_file

    @property
    def prometheus_url(self) -> str | None:
        """URL of Prometheus; None when it does not run."""
        return self.handle.prometheus_url

    @property
    def audit_log(self) -> Path:
        """The API server's audit log."""
        return self.handle.audit_log

    @property
    def binaries(self) -> Path:
        """Folder that holds the programs, kubectl among them."""
        return self._plan.binaries

    @property
    def kubectl(self) -> Path:
        """A kubectl of the API server's version."""
        return self.handle.kubectl

    @property
    def processes(self) -> Mapping[str, int]:
        """Process ids of what runs now, by name."""
        return self._processes.pids()

    def kubeconfig_for(
        self, name: str, *, user: str | None = None, groups: Sequence[str] = ()
    ) -> Path:
        """Make a kubeconfig of an arbitrary user; see `ClusterHandle.kubeconfig_for`."""
        return self.handle.kubeconfig_for(name, user=user, groups=groups)

    def service_account_kubeconfig(self, namespace: str, name: str) -> Path:
        """Make a kubeconfig with a real token of a service account."""
        return self.handle.service_account_kubeconfig(namespace, name)

    def audit_events(self) -> Iterator[Mapping[str, Any]]:
        """Read the audit log; see `ClusterHandle.audit_events`."""
        return self.handle.audit_events()

    def add_scrape_target(
        self, job: str, address: str, *, labels: Mapping[str, str] | None = None
    ) -> None:
        """Have Prometheus scrape one more address."""
        self.handle.add_scrape_target(job, address, labels=labels)

    def backfill(self, samples: Path) -> None:
        """Give Prometheus a history; it is restarted for that.

        Args:
            samples: OpenMetrics with timestamps, ending in `# EOF`.

        Raises:
            NotRunning: The cluster has no Prometheus.
            StartError: promtool refuses the file.
        """
        if self.prometheus_url is None:
            raise NotRunning("the cluster runs no Prometheus")
        self.stop_process(metrics.PROMETHEUS)
        try:
            metrics.backfill(self._layout, binaries=self.binaries, samples=samples)
        finally:
            self.start_process(metrics.PROMETHEUS)

    def stop_process(self, name: str) -> None:
        """Ask one process to end, as in `kube-apiserver`, and wait until it has."""
        self._processes.stop(name)

    def kill_process(self, name: str) -> None:
        """End one process at once (SIGKILL)."""
        self._processes.kill(name)

    def start_process(self, name: str) -> None:
        """Start a stopped process on the same port with the same data; waits until it is ready.

        After the API server, those that talk to it are started anew: left alone they sit out their
        growing pauses, and a Job may wait for a minute.
        """
        if name == control_plane.KWOK:
            self._free_node()
        self._processes.start_again(name)
        self._wait_for(name)
        if name == control_plane.API_SERVER:
            for component in control_plane.COMPONENTS:
                if component in self._processes.pids():
                    self._processes.kill(component)
                    self.start_process(component)

    def pause(self, name: str) -> None:
        """Freeze one process (SIGSTOP)."""
        self._processes.pause(name)

    def resume(self, name: str) -> None:
        """Let a frozen process go on (SIGCONT)."""
        self._processes.resume(name)

    def check(self) -> None:
        """Raise StartError when a process ended by itself."""
        self._processes.check()

    def _run_on_free_ports(self) -> None:
        for attempt in range(1, _PORT_TRIES + 1):
            try:
                self._run()
            except StartError as error:
                # Between the choice of a port and its use, any other process may have taken it.
                if attempt == _PORT_TRIES or _PORT_TAKEN not in error.log:
                    raise
                self._processes.stop_all()
                shutil.rmtree(self._layout.logs)
                self._processes = Processes(self._layout.logs)
            else:
                return

    def _run(self) -> None:
        self._layout.make()
        api, etcd, etcd_peers, prometheus = free_ports(4)
        ports = Ports(api=api, etcd=etcd, etcd_peers=etcd_peers, prometheus=prometheus)
        token = control_plane.prepare(self._layout, url=ports.api_url, now=datetime.now(UTC))
        handle = ClusterHandle(
            directory=self._layout.directory,
            url=ports.api_url,
            token=token,
            binaries=self._plan.binaries,
            pid=os.getpid(),
            prometheus_url=f"http://{HOST}:{prometheus}" if self._plan.prometheus else None,
        )
        self._handle = handle
        self._start_processes(ports)
        self._register_node(handle.api())
        for name in self._processes.pids():
            self._wait_for(name)
        handle.write()

    def _start_processes(self, ports: Ports) -> None:
        layout, binaries = self._layout, self._plan.binaries
        self._processes.start(control_plane.etcd(layout, binaries=binaries, ports=ports))
        self._processes.start(
            control_plane.api_server(
                layout, binaries=binaries, ports=ports, arguments=self._plan.api_arguments
            )
        )
        if self._plan.prometheus is not None:
            self._start_prometheus(self._plan.prometheus, port=ports.prometheus)
        # The others would only retry, with growing pauses, before the API server is ready.
        self._wait_for(control_plane.API_SERVER)
        self._processes.start(control_plane.controller_manager(layout, binaries=binaries))
        self._processes.start(control_plane.scheduler(layout, binaries=binaries))
        self._free_node()
        self._processes.start(control_plane.kwok(layout, binaries=binaries))

    def _start_prometheus(self, options: PrometheusOptions, *, port: int) -> None:
        for samples in options.backfill:
            metrics.backfill(self._layout, binaries=self._plan.binaries, samples=samples)
        metrics.write_config(self._layout, options=options, targets=self._plan.scrape)
        self._processes.start(
            metrics.prometheus(
                self._layout, binaries=self._plan.binaries, port=port, options=options
            )
        )

    def _free_node(self) -> None:
        """Take the node from the kwok that died; a new one waits until the old lease is over."""
        self.handle.api().send("DELETE", control_plane.NODE_LEASE)

    def _register_node(self, api: Rest) -> None:
        answer = api.send("POST", "/api/v1/nodes", body=control_plane.node())
        # 409: the folder's data has it from an earlier run.
        if answer.status not in {201, 409}:
            raise StartError(control_plane.API_SERVER, f"refused the node: {answer.body!r}")

    def _wait_for(self, name: str) -> None:
        """Wait until a process does its work, seen from outside where that is possible."""
        api = self.handle.api()
        questions: dict[str, Callable[[], bool]] = {
            control_plane.API_SERVER: lambda: _found(api, "/readyz"),
            control_plane.CONTROLLER_MANAGER: lambda: _found(api, _DEFAULT_SERVICE_ACCOUNT),
            control_plane.KWOK: lambda: _node_is_ready(api),
            metrics.PROMETHEUS: lambda: _found(Rest(self.prometheus_url or ""), "/-/ready"),
        }
        ready = questions.get(name)
        if ready is not None:
            self._processes.wait_until(name, ready, timeout_seconds=READY_TIMEOUT_SECONDS)


def _found(server: Rest, path: str) -> bool:
    return server.get(path).status == 200


def _node_is_ready(api: Rest) -> bool:
    """Tell whether pods can be scheduled: the condition alone comes before the taint goes."""
    answer = api.get(f"/api/v1/nodes/{control_plane.NODE}")
    if answer.status != 200:
        return False
    node = json.loads(answer.body)
    conditions = node["status"].get("conditions", [])
    ready = any(found["type"] == "Ready" and found["status"] == "True" for found in conditions)
    return ready and not node["spec"].get("taints")
