"""The custom resource definitions of the work tree: to read, fill in, and put into a cluster."""

import copy
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

ROOT = Path(__file__).resolve().parents[2]
GROUP, VERSION = "drifttrigger.dev", "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
PLURALS = ("drifttriggers", "retrainings")
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
        case "string":
            return schema["enum"][0] if "enum" in schema else "Text"
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


def edited(edit: Edit) -> dict[str, Any]:
    """Change the smallest complete DriftTrigger."""
    body = copy.deepcopy(SMALLEST)
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
        where = (GROUP, VERSION, self.namespace, plural)
        return self.objects.create_namespaced_custom_object(
            *where, body, dry_run=dry_run, field_validation="Strict"
        )

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
