"""`drifttrigger cluster`: a real control plane on this machine, without Docker.

`up` prints shell lines, so that `eval "$(drifttrigger cluster up --detach)"` is all it takes. What
is said on the way goes to stderr.
"""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from drifttrigger.api.errors import DriftTriggerError
from drifttrigger.local.binaries import ensure_binaries
from drifttrigger.local.errors import AlreadyRunning, NotRunning, StartError
from drifttrigger.local.handle import ClusterHandle
from drifttrigger.local.keeper import (
    KeeperOptions,
    announcement_for,
    find,
    keep,
    start_keeper,
    stop_keeper,
)
from drifttrigger.local.prometheus import PrometheusOptions

_directory = click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the cluster's data lie, and stay. Default: a temporary folder.",
)


@click.group()
def cluster() -> None:
    """Run a real Kubernetes control plane on this machine.

    Neither Docker nor a cluster is needed. The binaries are built once, with Go.
    """


@cluster.command()
@_directory
@click.option("--prometheus", is_flag=True, help="Run a Prometheus beside it.")
@click.option("--detach", is_flag=True, help="Return when it is ready; `down` stops it.")
def up(directory: Path | None, *, prometheus: bool, detach: bool) -> None:
    """Start a control plane; it runs until Ctrl-C."""
    options = KeeperOptions(
        announcement=announcement_for(directory),
        directory=directory,
        prometheus=PrometheusOptions() if prometheus else None,
    )
    with _errors_in_one_line():
        _refuse_a_second(options, directory=directory)
        if detach:
            _print_exports(start_keeper(options, progress=_say))
            return
        try:
            keep(options, progress=_say, ready=_ready_at_terminal)
        except KeyboardInterrupt:
            _say("stopped")


@cluster.command()
@_directory
def down(directory: Path | None) -> None:
    """Stop the control plane that `up` started."""
    with _errors_in_one_line():
        stop_keeper(KeeperOptions(announcement=announcement_for(directory)))
        _say("stopped")


@cluster.command()
@_directory
def status(directory: Path | None) -> None:
    """Tell whether a control plane runs, and how to reach it."""
    with _errors_in_one_line():
        found = find(announcement_for(directory))
        click.echo(f"running     {'ready' if _is_ready(found) else 'not ready'}, pid {found.pid}")
        click.echo(f"url         {found.url}")
        click.echo(f"kubeconfig  {found.kubeconfig}")
        click.echo(f"prometheus  {found.prometheus_url or 'none'}")
        click.echo(f"binaries    {found.binaries}")
        click.echo(f"directory   {found.directory}")


@cluster.command()
def binaries() -> None:
    """Print the folder with the control plane's binaries; build them when they are missing."""
    with _errors_in_one_line():
        click.echo(ensure_binaries(progress=_say))


def _refuse_a_second(options: KeeperOptions, *, directory: Path | None) -> None:
    try:
        running = find(options.announcement)
    except NotRunning:
        return
    where = "" if directory is None else f" --dir {shlex.quote(str(directory))}"
    raise AlreadyRunning(
        f"a local cluster runs already: use KUBECONFIG={running.kubeconfig},"
        f" or stop it with `drifttrigger cluster down{where}`"
    )


def _ready_at_terminal(found: ClusterHandle) -> None:
    _print_exports(found)
    _say("ready; Ctrl-C stops it")


def _print_exports(found: ClusterHandle) -> None:
    click.echo(f"export KUBECONFIG={shlex.quote(str(found.kubeconfig))}")
    click.echo(f"export PATH={shlex.quote(str(found.binaries))}:$PATH")
    if found.prometheus_url is not None:
        click.echo(f"export PROMETHEUS_URL={found.prometheus_url}")


def _is_ready(found: ClusterHandle) -> bool:
    try:
        return found.api().get("/readyz").status == 200
    except OSError:
        return False


def _say(line: str) -> None:
    click.echo(line, err=True)


@contextmanager
def _errors_in_one_line() -> Iterator[None]:
    """Turn our own errors into one last line on stderr and exit code 1."""
    try:
        yield
    except NotRunning as error:
        raise click.ClickException(f"{error}: start one with `drifttrigger cluster up`") from error
    except StartError as error:
        if error.log:
            _say(error.log)
        raise click.ClickException(str(error).partition("\n")[0]) from error
    except DriftTriggerError as error:
        raise click.ClickException(str(error)) from error
