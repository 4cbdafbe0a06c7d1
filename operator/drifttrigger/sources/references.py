"""From a reference to a server block: which source a trigger means, and whether it may use it.

A reference is resolved when it is asked, from what the watch told or, where that knows nothing, by
a live read: a source applied in the same moment as its triggers is found.
"""

import logging

import msgspec
from msgspec.structs import replace

from drifttrigger.api.errors import DriftTriggerError, MissingRight, NotFoundError, SpecError
from drifttrigger.api.reasons import Outcome
from drifttrigger.api.servers import (
    AllowedNamespaces,
    ClusterMetricsSourceSpec,
    LabelSelector,
    MetricsSourceSpec,
    PrometheusServer,
    SourceKind,
    SourceRef,
)
from drifttrigger.api.v1alpha1 import MetricsSourceStatus
from drifttrigger.clients.clock import Clock
from drifttrigger.clients.kube import (
    CLUSTER_METRICS_SOURCES,
    METRICS_SOURCES,
    NAMESPACES,
    Json,
    KubeApi,
    Resource,
)
from drifttrigger.core.observation import Answer
from drifttrigger.core.servers import check_server

_LOG = logging.getLogger(__name__)
_UNKNOWN_SECONDS = 5.0
_NAMESPACE_SECONDS = 60.0
_BORROWED_SECONDS = 60.0
SOURCES: dict[SourceKind, Resource] = {
    SourceKind.METRICS_SOURCE: METRICS_SOURCES,
    SourceKind.CLUSTER_METRICS_SOURCE: CLUSTER_METRICS_SOURCES,
}
Key = tuple[str, str]
"""Namespace (empty for the cluster's) and name."""


class SourceView(msgspec.Struct, frozen=True, kw_only=True):
    """A source as it is at one resourceVersion.

    Attributes:
        server: Its server block; None when it can't be used.
        problem: Why not.
        allowed: Whose triggers may use it; None allows none. Of a cluster's source only.
    """

    kind: SourceKind
    namespace: str
    name: str
    uid: str
    resource_version: str
    generation: int
    server: PrometheusServer | None
    problem: str
    allowed: AllowedNamespaces | None
    status: MetricsSourceStatus

    @property
    def key(self) -> Key:
        """Namespace (empty for a cluster's source) and name."""
        return self.namespace, self.name


def decode_source(kind: SourceKind, body: Json) -> SourceView:
    """Decode a source; a spec that can't be used becomes `problem`, never an exception."""
    metadata = body["metadata"]
    is_cluster = kind is SourceKind.CLUSTER_METRICS_SOURCE
    spec: PrometheusServer | None = None
    problem = ""
    try:
        decoded = ClusterMetricsSourceSpec if is_cluster else MetricsSourceSpec
        spec = msgspec.convert(body.get("spec") or {}, decoded)
        check_server(spec, field="spec")
    except (msgspec.ValidationError, SpecError) as error:
        problem = str(error)
    try:
        status = msgspec.convert(body.get("status") or {}, MetricsSourceStatus)
    except msgspec.ValidationError:
        status = MetricsSourceStatus()  # broken by hand: written anew
    return SourceView(
        kind=kind,
        namespace=metadata.get("namespace", ""),
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        generation=metadata.get("generation", 0),
        server=_block(spec) if spec is not None and not problem else None,
        problem=problem,
        allowed=spec.allowed_namespaces if isinstance(spec, ClusterMetricsSourceSpec) else None,
        status=status,
    )


def _block(spec: PrometheusServer) -> PrometheusServer:
    """Return the server block alone: equal blocks share their connections, wherever they stand."""
    names = [field.name for field in msgspec.structs.fields(PrometheusServer)]
    return PrometheusServer(**{name: getattr(spec, name) for name in names})


class References:
    """Resolves references.

    Args:
        kube: The API server.
        clock: The clock.
        namespace: Whose Secrets the cluster's sources name: the operator's own.
        default: The cluster's source that a trigger means that names none.
        watched: The kinds that `take` is told of; others are read again every minute.

    Attributes:
        views: The sources that are known.
    """

    def __init__(
        self,
        kube: KubeApi,
        clock: Clock,
        *,
        namespace: str,
        default: str,
        watched: frozenset[SourceKind] = frozenset(),
    ) -> None:
        self._kube = kube
        self._clock = clock
        self.namespace = namespace
        self._default = default
        self._watched = watched
        self.views: dict[Key, SourceView] = {}
        self._borrowed: dict[Key, tuple[float, SourceView]] = {}
        self._unknown: dict[Key, tuple[float, Answer]] = {}
        self._labels: dict[str, tuple[float, dict[str, str]]] = {}

    def take(self, view: SourceView) -> None:
        """Take a snapshot, unless a newer one of the same object is known."""
        self._unknown.pop(view.key, None)
        known = self.views.get(view.key)
        is_older = (
            known is not None
            and known.uid == view.uid
            and int(known.resource_version) > int(view.resource_version)
        )
        if not is_older:
            self.views[view.key] = view

    def whose(self, view: SourceView) -> str:
        """Return the namespace of the Secrets that a source names."""
        return view.namespace or self.namespace

    def uses(self, ref: object, namespace: str, view: SourceView) -> bool:
        """Whether a trigger of a namespace that names a source means this one."""
        if not isinstance(ref, SourceRef) or ref.kind is not view.kind:
            return False
        return (ref.name or self._default) == view.name and view.namespace in ("", namespace)

    async def resolve(
        self, source: PrometheusServer | SourceRef, namespace: str
    ) -> tuple[PrometheusServer, str] | Answer:
        """Find the server block that a trigger of a namespace may ask.

        Returns:
            The block and the namespace of its Secrets, or the answer that says why there is none.
        """
        if isinstance(source, PrometheusServer):
            return source, namespace
        is_cluster = source.kind is SourceKind.CLUSTER_METRICS_SOURCE
        source = source if source.name else replace(source, name=self._default)
        key = ("" if is_cluster else namespace, source.name)
        view = self.views.get(key) or self._borrowed_view(key)
        if view is None:
            found = await self._look_for(source, key)
            if isinstance(found, Answer):
                return found
            view = found
        if is_cluster and not await self._allows(view.allowed, namespace):
            return Answer(
                failure=Outcome.UNAUTHORIZED,
                message=f"ClusterMetricsSource {source.name} does not allow namespace "
                f"{namespace}; its allowedNamespaces has to name or select it",
            )
        if view.server is None:
            return _failure(f"{source.kind.value} {source.name} can't be used: {view.problem}")
        return view.server, self.whose(view)

    def _borrowed_view(self, key: Key) -> SourceView | None:
        until, view = self._borrowed.get(key, (0.0, None))
        return view if self._clock.monotonic() < until else None

    async def _look_for(self, ref: SourceRef, key: Key) -> SourceView | Answer:
        """Read a source that the watch has not told of; remember for a moment that it is not."""
        until, answer = self._unknown.get(key, (0.0, Answer()))
        if self._clock.monotonic() < until:
            return answer
        what = f"{ref.kind.value} {ref.name}"
        where = f" in namespace {key[0]}" if key[0] else ""
        try:
            body = await self._kube.get(SOURCES[ref.kind], key[0], ref.name)
        except NotFoundError:
            hint = "" if key[0] else "; name a source with sourceRef, or a server with prometheus"
            answer = _failure(f"there is no {what}{where}{hint}")
        except MissingRight as error:
            answer = _failure(f"{what} can't be read: {error}")
        except DriftTriggerError as error:
            return _failure(f"{what} can't be read now: {error}")
        else:
            view = decode_source(ref.kind, body)
            if ref.kind in self._watched:
                self.take(view)
            else:
                self._borrowed[key] = (self._clock.monotonic() + _BORROWED_SECONDS, view)
            return view
        self._unknown[key] = (self._clock.monotonic() + _UNKNOWN_SECONDS, answer)
        return answer

    async def _allows(self, allowed: AllowedNamespaces | None, namespace: str) -> bool:
        if allowed is None:
            return False
        if namespace in allowed.names:
            return True
        if allowed.selector is None:
            return False
        if allowed.selector == LabelSelector():
            return True
        return selects(allowed.selector, await self._labels_of(namespace))

    async def _labels_of(self, namespace: str) -> dict[str, str]:
        until, labels = self._labels.get(namespace, (0.0, {}))
        if self._clock.monotonic() < until:
            return labels
        try:
            body = await self._kube.get(NAMESPACES, "", namespace)
            labels = (body.get("metadata") or {}).get("labels") or {}
        except DriftTriggerError as error:
            # What was known stays for a moment; nothing known selects nothing.
            _LOG.warning("the labels of namespace %s can't be read: %s", namespace, error)
            self._labels[namespace] = (self._clock.monotonic() + _UNKNOWN_SECONDS, labels)
            return labels
        self._labels[namespace] = (self._clock.monotonic() + _NAMESPACE_SECONDS, labels)
        return labels


def _failure(message: str) -> Answer:
    return Answer(failure=Outcome.UNREACHABLE, message=message)


def selects(selector: LabelSelector, labels: dict[str, str]) -> bool:
    """Whether a label selector selects labels, as the API server means it."""
    if any(labels.get(key) != value for key, value in selector.match_labels.items()):
        return False
    for requirement in selector.match_expressions:
        value = labels.get(requirement.key)
        is_met = {
            "In": value is not None and value in requirement.values,
            "NotIn": value is None or value not in requirement.values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }.get(requirement.operator, False)
        if not is_met:
            return False
    return True
