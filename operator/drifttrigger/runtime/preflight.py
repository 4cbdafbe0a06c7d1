"""Before anything is watched: does the API server let us do what the controllers need?

Asks by SelfSubjectAccessReviews and names each missing permission, since a watch that is refused
would be retried for a minute and then end the process with less to say.
"""

import asyncio
import logging
from contextlib import suppress

from drifttrigger.api.errors import ConflictError, DriftTriggerError, TransientError, UsageError
from drifttrigger.api.v1alpha1 import GROUP
from drifttrigger.clients.kube import (
    ACCESS_REVIEWS,
    CLUSTER_METRICS_SOURCES,
    DRIFT_TRIGGERS,
    METRICS_SOURCES,
    RETRAININGS,
    KubernetesApi,
    Resource,
)
from drifttrigger.runtime.settings import Controller, Settings

_LOG = logging.getLogger(__name__)
_AGAIN_SECONDS = 2.0
Permission = tuple[str, str, str]
"""Verb, API group, resource (with its subresource)."""

_WATCHED = (
    ("list", GROUP, "drifttriggers"),
    ("watch", GROUP, "drifttriggers"),
    ("get", GROUP, "drifttriggers"),
    ("patch", GROUP, "drifttriggers/status"),
    ("list", GROUP, "retrainings"),
    ("watch", GROUP, "retrainings"),
    ("get", GROUP, "retrainings"),
    ("patch", GROUP, "retrainings/status"),
    ("get", "batch", "jobs"),
)
_LEASES = tuple(
    (verb, "coordination.k8s.io", "leases") for verb in ("get", "list", "create", "patch", "delete")
)
_CLUSTER_SOURCES = (
    ("list", GROUP, "clustermetricssources"),
    ("watch", GROUP, "clustermetricssources"),
    ("get", GROUP, "clustermetricssources"),
    ("patch", GROUP, "clustermetricssources/status"),
    ("get", "", "namespaces"),
)
"""Without cluster-wide rights a ClusterMetricsSource can't be used, and need not be."""
_NEEDED: dict[Controller, tuple[Permission, ...]] = {
    Controller.DETECTION: (
        *_WATCHED,
        ("create", GROUP, "retrainings"),
        ("delete", GROUP, "retrainings"),
        ("list", GROUP, "metricssources"),
        ("watch", GROUP, "metricssources"),
        ("get", GROUP, "metricssources"),
        ("patch", GROUP, "metricssources/status"),
    ),
    Controller.EXECUTION: (
        *_WATCHED,
        ("patch", GROUP, "retrainings"),
        ("list", "batch", "jobs"),
        ("watch", "batch", "jobs"),
        ("create", "batch", "jobs"),
        ("patch", "batch", "jobs"),
        ("delete", "batch", "jobs"),
    ),
}


async def preflight_until(
    kube: KubernetesApi, settings: Settings, stop: asyncio.Event, *, seconds: float = _AGAIN_SECONDS
) -> None:
    """Check as `preflight` does; wait for an API server that can't answer now, until told to stop.

    Raises:
        UsageError: Something is missing; says what.
    """
    while not stop.is_set():
        try:
            await preflight(kube, settings)
        except (TransientError, ConflictError) as error:
            _LOG.warning("waiting for the API server: %s", error)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), seconds)
        else:
            return


async def preflight(kube: KubernetesApi, settings: Settings) -> None:
    """Check that the CRDs are there and that nothing needed is refused.

    Raises:
        UsageError: Something is missing; says what.
    """
    needed = dict.fromkeys(p for c in settings.controllers for p in _NEEDED[c])
    if Controller.DETECTION in settings.controllers and not settings.namespaces:
        needed |= dict.fromkeys(_CLUSTER_SOURCES)
    wanted = [(p, where) for where in settings.namespaces or ("",) for p in needed]
    leases = settings.lease_namespace or settings.own_namespace
    wanted += [(permission, leases) for permission in _LEASES]
    missing = []
    for permission, namespace in wanted:
        if not await _allowed(kube, permission, namespace):
            verb, group, resource = permission
            where = f" in namespace {namespace}" if namespace else ""
            missing.append(f"{verb} {resource}.{group}{where}")
    if missing:
        raise UsageError(f"missing permissions: {', '.join(missing)}; apply manifests/rbac")
    try:
        for kind in _kinds(settings):
            for each in settings.namespaces or (None,):
                async for _ in kube.list_metadata(kind, each):
                    break
    except (TransientError, ConflictError):
        raise
    except DriftTriggerError as error:
        raise UsageError(f"can't list our kinds ({error}); are the CRDs installed?") from error


def _kinds(settings: Settings) -> list[Resource]:
    """Name the kinds that are watched: each needs its definition."""
    kinds = [DRIFT_TRIGGERS, RETRAININGS]
    if Controller.DETECTION in settings.controllers:
        kinds.append(METRICS_SOURCES)
        kinds += [] if settings.namespaces else [CLUSTER_METRICS_SOURCES]
    return kinds


async def _allowed(kube: KubernetesApi, permission: Permission, namespace: str) -> bool:
    verb, group, resource = permission
    name, _, subresource = resource.partition("/")
    attributes = {"verb": verb, "group": group, "resource": name, "namespace": namespace}
    if subresource:
        attributes["subresource"] = subresource
    body = {
        "apiVersion": ACCESS_REVIEWS.api_version,
        "kind": ACCESS_REVIEWS.kind,
        "spec": {"resourceAttributes": attributes},
    }
    answer = await kube.create(ACCESS_REVIEWS, None, body)
    return bool((answer.get("status") or {}).get("allowed"))
