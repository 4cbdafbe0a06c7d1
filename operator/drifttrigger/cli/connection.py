"""Which cluster, which namespace, and as whom: the flags that kubectl has, for every command.

`@connection_options` gives a command the flags and hands it one `Connection`. What can go wrong on
the way to an API server is said here once, with what to do about it.
"""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import click
import msgspec
import yaml
from kubernetes.aio import config

from drifttrigger.api.errors import (
    DriftTriggerError,
    ForbiddenError,
    MissingRight,
    NotFoundError,
    TransientError,
    UsageError,
)
from drifttrigger.clients.kube import DRIFT_TRIGGERS, Json, KubernetesApi
from drifttrigger.clients.viewing import act_as

CommandT = TypeVar("CommandT", bound=Callable[..., Any])
_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_LOST = (aiohttp.ClientError, TimeoutError, OSError)


class Cluster(msgspec.Struct, frozen=True):
    """A cluster that a command talks to.

    Attributes:
        kube: The logged-in client.
        namespace: The one named, else the context's, else `default`.
    """

    kube: KubernetesApi
    namespace: str

    async def trigger(self, name: str) -> Json:
        """Read a DriftTrigger.

        Raises:
            UsageError: There is none of that name.
        """
        try:
            return await self.kube.get(DRIFT_TRIGGERS, self.namespace, name)
        except NotFoundError as error:
            if _is_unknown_kind(error):
                raise
            raise UsageError(
                f"there is no DriftTrigger {name} in namespace {self.namespace};"
                " `drifttrigger get -A` lists all"
            ) from error


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """What the flags say; nothing is opened yet.

    Attributes:
        namespace: As given with -n; None for the context's.
        kubeconfig: Path; None for KUBECONFIG, in-cluster, or the default file.
        context: Context of the kubeconfig; None for its current one.
        user: Whom to act as; None for oneself.
        groups: Groups to act as.
    """

    namespace: str | None = None
    kubeconfig: str | None = None
    context: str | None = None
    user: str | None = None
    groups: tuple[str, ...] = ()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Cluster]:
        """Log in, and say in one line what stands in the way of anything in the block.

        Raises:
            UsageError: There is no cluster, it can't be reached, or it refuses; says what to do.
        """
        with _explained():
            self._look_for_the_file()
            try:
                kube = await KubernetesApi.connect(kubeconfig=self.kubeconfig, context=self.context)
                namespace = self.namespace or self._default_namespace()
            except (yaml.YAMLError, AttributeError, config.ConfigException) as error:
                words = " ".join(str(error).split())
                raise UsageError(f"the kubeconfig can't be read: {words}") from error
            if self.user is not None:
                act_as(kube, user=self.user, groups=self.groups)
            try:
                yield Cluster(kube, namespace)
            finally:
                await kube.close()

    def _look_for_the_file(self) -> None:
        """Say which file is missing, which the library leaves out."""
        named = self.kubeconfig or os.environ.get("KUBECONFIG")
        paths = named.split(os.pathsep) if named else []
        if paths and not any(Path(path).expanduser().is_file() for path in paths if path):
            raise UsageError(f"there is no kubeconfig {named}; set KUBECONFIG or pass --kubeconfig")

    def _default_namespace(self) -> str:
        named = self.kubeconfig or self.context or os.environ.get("KUBECONFIG")
        if not named and os.environ.get("KUBERNETES_SERVICE_HOST"):
            return _POD_NAMESPACE.read_text().strip() if _POD_NAMESPACE.exists() else "default"
        contexts, current = config.list_kube_config_contexts(self.kubeconfig)  # type: ignore[no-untyped-call] # the package is untyped here
        chosen = self.context or current["name"]
        entry = next((c for c in contexts if c["name"] == chosen), current)
        return str((entry.get("context") or {}).get("namespace") or "default")


def connection_options(command: CommandT) -> CommandT:
    """Give a command kubectl's flags; it gets one argument `connection` for all of them."""

    def gather(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
        """Move the value of one flag into the Connection that the command is called with."""
        before = context.params.get("connection") or Connection()
        given = {str(parameter.name).removeprefix("to_"): value}
        context.params["connection"] = msgspec.structs.replace(before, **given)
        return value

    def check_groups(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
        gather(context, parameter, value)
        if value and not context.params["connection"].user:
            raise click.UsageError("--as-group needs --as")
        return value

    flags: list[tuple[tuple[str, ...], dict[str, Any]]] = [
        (("-n", "--namespace", "to_namespace"), {"help": "Namespace; default: the context's."}),
        (("--context", "to_context"), {"help": "Context of the kubeconfig."}),
        (("--kubeconfig", "to_kubeconfig"), {"help": "Path; without it KUBECONFIG, as kubectl."}),
        (("--as", "to_user"), {"help": "Act as this user.", "metavar": "USER", "is_eager": True}),
        (
            ("--as-group", "to_groups"),
            {"help": "Act as this group; repeatable.", "metavar": "GROUP", "multiple": True},
        ),
    ]
    for names, settings in reversed(flags):
        callback = check_groups if names[-1] == "to_groups" else gather
        option = click.option(*names, callback=callback, expose_value=False, **settings)
        command = option(command)
    return command


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what an API server, or the way to it, says into one line with a remedy."""
    try:
        yield
    except (MissingRight, ForbiddenError) as error:
        remedy = "the cluster roles view (to read) and edit (to change) allow it"
        if "impersonate" in str(error):
            remedy = "leave out --as, or be granted the verb impersonate"
        raise UsageError(f"{error}; {remedy}") from error
    except NotFoundError as error:
        if not _is_unknown_kind(error):
            raise
        raise UsageError(
            "the cluster knows no DriftTriggers; install them: kubectl apply --server-side -k"
            " manifests/"
        ) from error
    except TransientError as error:
        raise UsageError(_lost(error)) from error


def _lost(error: DriftTriggerError) -> str:
    if isinstance(error.__cause__, _LOST):
        return (
            f"the API server can't be reached ({error}); is it running, and is this the right"
            " context? (--context, --kubeconfig)"
        )
    if str(error).startswith("401"):
        return f"{error}; log in again, or choose another context (--context)"
    return f"the API server can't answer now ({error}); try again"


def _is_unknown_kind(error: NotFoundError) -> bool:
    return str(error).startswith("404 page not found")
