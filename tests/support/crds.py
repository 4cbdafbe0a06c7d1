"""The custom resource definitions of the work tree: to read, fill in, and put into a cluster."""

import copy
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

ROOT = Path(__file__).resolve().parents[2]
GROUP, VERSION = "drifttrigger.dev", "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
PLURALS = ("drifttriggers", "retrainings", "metricssources", "clustermetricssources")
WAIT_SECONDS = 30.0

GONE = object()
Edit = dict[str, Any]  # path of a field -> its value, or GONE

POD = {"restartPolicy": "Never", "containers": [{"name": "retrain", "image": "example/retrain:1"}]}
SMALLEST = {
    "apiVersion": API_VERSION,
    "kind": "DriftTrigger",
    "metadata": {"name": "fraud-detector"},
    "spec": {
        "prometheus": {"address": "http://prometheus.monitoring:9090"},
        "query": 'max(model_drift_score{model="fraud-detector"})',
        "threshold": 0.2,
        "jobTemplate": {"spec": {"template": {"spec": POD}}},
    },
}
SMALLEST_SOURCE = {
    "apiVersion": API_VERSION,
    "kind": "MetricsSource",
    "metadata": {"name": "platform"},
    "spec": {"address": "https://prometheus.monitoring:9090"},
}
SMALLEST_CLUSTER_SOURCE = {**SMALLEST_SOURCE, "kind": "ClusterMetricsSource"}


class Rule(NamedTuple):
    """A rule by the words of its message, with edits that keep it and edits that break it."""

    says: str
    accepts: dict[str, Edit]
    refuses: dict[str, Edit]


def field(path: str, *values: Any) -> dict[str, Edit]:
    """Name one edit of one field for each value."""
    named = {f"{path.rpartition('.')[2]} {str(v)[:60]!r}": {path: v} for v in values}
    assert len(named) == len(values), "two values look the same; name them yourself"
    return named


def cases(rules: Sequence[Rule], which: str) -> list[Any]:
    """Give every edit that the rules accept, or refuse, with the words of its rule."""
    return [
        pytest.param(edit, rule.says, id=f"{rule.says} - {name}")
        for rule in rules
        for name, edit in getattr(rule, which).items()
    ]


def messages_of(schema: Any) -> Iterator[str]:
    """Yield the message of every rule of a schema and below it."""
    yield from (rule["message"] for rule in schema.get("x-kubernetes-validations", []))
    for child in schema.get("properties", {}).values():
        yield from messages_of(child)
    if "items" in schema:
        yield from messages_of(schema["items"])


def load_crd(plural: str) -> dict[str, Any]:
    """Read one definition as it is committed."""
    crd: dict[str, Any] = yaml.safe_load((ROOT / "crds" / f"{plural}.yaml").read_text())
    return crd


def schema_of(plural: str) -> dict[str, Any]:
    """Return the schema of the only version of one definition."""
    (version,) = load_crd(plural)["spec"]["versions"]
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return schema


def sample(schema: dict[str, Any]) -> Any:
    """Make a value that has every field of a schema, none of them the default of its type."""
    match schema.get("type"):
        case "object" if "additionalProperties" in schema:
            return {"example.org/key": sample(schema["additionalProperties"])}
        case "object":
            return {name: sample(child) for name, child in schema["properties"].items()}
        case "array":
            return [sample(schema["items"])]
        case "string" if schema.get("format") == "date-time":
            return "2026-01-31T12:00:00Z"
        case "string" if "enum" in schema:
            return next(choice for choice in schema["enum"] if choice != schema.get("default"))
        case "string":
            return "Text"
        case "integer" | "number":
            return 7 if schema["type"] == "integer" else 0.25
        case "boolean":
            return True
    return {"parallelism": 1, "unknownInner": {"kept": [1, "2", None]}}


def install_crds(kubeconfig: Path) -> None:
    """Apply every definition and wait until it is served; does nothing where it already is.

    Several tests, and several test processes, may do this at once on one cluster.

    Raises:
        TimeoutError: A definition is not served within half a minute.
        ApiException: The API server refuses one.
    """
    with config.new_client_from_config(config_file=str(kubeconfig)) as api:
        for plural in PLURALS:
            crd = load_crd(plural)
            _until_done(lambda crd=crd: _apply(api, crd), retried={409})
            _until_done(lambda crd=crd: _established(api, crd), retried={404})
            _until_done(lambda plural=plural: _served(api, plural), retried={404, 429, 503})


def _apply(api: client.ApiClient, crd: dict[str, Any]) -> bool:
    client.CustomObjectsApi(api).patch_cluster_custom_object(
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        crd["metadata"]["name"],
        crd,
        field_manager="drifttrigger-tests",
        force=True,
        _content_type="application/apply-patch+yaml",
    )
    return True


def _established(api: client.ApiClient, crd: dict[str, Any]) -> bool:
    found = client.CustomObjectsApi(api).get_cluster_custom_object(
        "apiextensions.k8s.io", "v1", "customresourcedefinitions", crd["metadata"]["name"]
    )
    conditions = found.get("status", {}).get("conditions") or []  # null right after creation
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)


def _served(api: client.ApiClient, plural: str) -> bool:
    # Established is said before every request sees it.
    client.CustomObjectsApi(api).list_cluster_custom_object(GROUP, VERSION, plural, limit=1)
    return True


def _until_done(step: Any, *, retried: set[int]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            if step():
                return
        except ApiException as error:
            if error.status not in retried:
                raise
        if time.monotonic() > deadline:
            raise TimeoutError(f"not served within {WAIT_SECONDS:.0f} s")
        time.sleep(0.1)


def edited(edit: Edit, smallest: Edit = SMALLEST) -> dict[str, Any]:
    """Change the smallest complete object of a kind, a DriftTrigger unless told otherwise."""
    body = copy.deepcopy(smallest)
    for path, value in edit.items():
        *parents, last = path.split(".")
        node = body
        for parent in parents:
            node = node.setdefault(parent, {})
        if value is GONE:
            del node[last]
        else:
            node[last] = value
    return body


def refusal_of(call: Any, *args: Any, **kwargs: Any) -> str:
    """Expect the API server to refuse a call for what is in it; return its words."""
    with pytest.raises(ApiException) as refused:
        call(*args, **kwargs)
    assert refused.value.status in {400, 422}
    return refused.value.body.replace('\\"', '"')


class Server:
    """The API server, with what the cases need of it."""

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        self.objects = client.CustomObjectsApi(api)
        self.namespace = namespace

    def create(self, plural: str, body: Edit, *, dry_run: str | None = "All") -> dict[str, Any]:
        """Create an object under strict field validation; by default it is not stored."""
        how = {"dry_run": dry_run, "field_validation": "Strict"}
        if load_crd(plural)["spec"]["scope"] == "Cluster":
            return self.objects.create_cluster_custom_object(GROUP, VERSION, plural, body, **how)
        where = (GROUP, VERSION, self.namespace, plural)
        return self.objects.create_namespaced_custom_object(*where, body, **how)

    def edit(self, plural: str, name: str, patch: Edit, *, status: bool = False) -> dict[str, Any]:
        """Merge a patch into a stored object, its status on demand; the result is not stored."""
        suffix = "_status" if status else ""
        call = getattr(self.objects, f"patch_namespaced_custom_object{suffix}")
        return call(
            *(GROUP, VERSION, self.namespace, plural, name, patch),
            dry_run="All",
            field_validation="Strict",
            _content_type="application/merge-patch+json",
        )
