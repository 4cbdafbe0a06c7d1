"""The Job of a Retraining: the user's template with our name, owner, labels and evidence.

Whatever the template says is left alone, but for: `argocd.argoproj.io/*` metadata is stripped (a
tracked Job would be pruned), our labels win, every container gets the evidence first in its `env`
(names that the template sets itself win), and `ttlSecondsAfterFinished` is set only once the
outcome is recorded, so that no TTL can take an outcome away.
"""

from typing import Any

import orjson

from drifttrigger.api.v1alpha1 import (
    API_VERSION,
    LABEL_RETRAINING,
    LABEL_TRIGGER,
    RetrainingSpec,
)
from drifttrigger.core.observation import format_value
from drifttrigger.core.status import to_json

Json = dict[str, Any]
_STRIPPED_PREFIX = "argocd.argoproj.io/"
_STRIPPED = frozenset({"kubectl.kubernetes.io/last-applied-configuration"})


def job_body(spec: RetrainingSpec, *, name: str, namespace: str, uid: str) -> Json:
    """Build the Job of a Retraining.

    Args:
        spec: The Retraining's spec, with the resolved template.
        name: Name of the Retraining, and of the Job.
        namespace: Their namespace.
        uid: UID of the Retraining, which will own the Job.
    """
    template = spec.job_template
    job_spec = _copied(template.get("spec"))
    job_spec.pop("ttlSecondsAfterFinished", None)
    pod_template = _copied(job_spec.get("template"))
    pod_spec = _copied(pod_template.get("spec"))
    labels = {LABEL_TRIGGER: spec.trigger_ref.name, LABEL_RETRAINING: name}
    environment = environment_of(spec, name=name, namespace=namespace)
    for group in ("initContainers", "containers"):
        if isinstance(pod_spec.get(group), list):
            pod_spec[group] = [_with_environment(c, environment) for c in pod_spec[group]]
    pod_template["metadata"] = _metadata(pod_template.get("metadata"), labels)
    pod_template["spec"] = pod_spec
    job_spec["template"] = pod_template
    metadata = _metadata(template.get("metadata"), labels)
    metadata |= {"name": name, "namespace": namespace, "ownerReferences": [owner(name, uid)]}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": job_spec}


def owner(name: str, uid: str) -> Json:
    """Build the controller reference to a Retraining; it never blocks the owner's deletion."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Retraining",
        "name": name,
        "uid": uid,
        "controller": True,
    }


def ttl_of(spec: RetrainingSpec) -> int | None:
    """Return the template's ttlSecondsAfterFinished, None where it sets none."""
    ttl = _copied(spec.job_template.get("spec")).get("ttlSecondsAfterFinished")
    return ttl if isinstance(ttl, int) and not isinstance(ttl, bool) else None


def environment_of(spec: RetrainingSpec, *, name: str, namespace: str) -> list[Json]:
    """List the evidence as environment variables; absent ones have no value to tell.

    Every `$` is doubled: the kubelet expands `$(NAME)` in values, and label values are hostile.
    """
    evidence = spec.evidence
    values: dict[str, str | None] = {
        "DRIFT_TRIGGER": spec.trigger_ref.name,
        "DRIFT_NAMESPACE": namespace,
        "DRIFT_RETRAINING": name,
        "DRIFT_MODEL": spec.model.name,
        "DRIFT_MODEL_VERSION": spec.model.version,
        "DRIFT_SCORE": None if evidence.score is None else format_value(evidence.score),
        "DRIFT_THRESHOLD": format_value(evidence.threshold),
        "DRIFT_COMPARISON": evidence.comparison,
        "DRIFT_EVALUATED_AT": evidence.time,
        "DRIFT_EPISODE": str(spec.episode),
        "DRIFT_ATTEMPT": str(spec.attempt),
        "DRIFT_REASON": spec.reason,
        "DRIFT_QUERY": evidence.query,
        "DRIFT_SERIES": _series(spec),
        "DRIFT_OUTCOME": evidence.outcome,
        "DRIFT_CAUSE": spec.cause,
    }
    return [
        {"name": key, "value": value.replace("$", "$$")}
        for key, value in values.items()
        if value is not None
    ]


def _series(spec: RetrainingSpec) -> str:
    series = spec.evidence.series
    worst = series.worst if series is not None else ()
    return orjson.dumps([to_json(sample) for sample in worst]).decode()


def _with_environment(container: Any, environment: list[Json]) -> Any:
    if not isinstance(container, dict):
        return container
    own = container.get("env")
    own = own if isinstance(own, list) else []
    # A list, not a set: a hostile template may have a name that can't be hashed.
    names = [variable.get("name") for variable in own if isinstance(variable, dict)]
    return {**container, "env": [v for v in environment if v["name"] not in names] + own}


def _metadata(metadata: Any, labels: dict[str, str]) -> Json:
    source = _copied(metadata)
    result: Json = {"labels": {**_kept(source.get("labels")), **labels}}
    if annotations := _kept(source.get("annotations")):
        result["annotations"] = annotations
    return result


def _kept(values: Any) -> Json:
    return {
        key: value
        for key, value in _copied(values).items()
        if not key.startswith(_STRIPPED_PREFIX) and key not in _STRIPPED
    }


def _copied(value: Any) -> Json:
    return dict(value) if isinstance(value, dict) else {}
