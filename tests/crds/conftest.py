"""An API server with the definitions, and a namespace in it."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client, config

from support.crds import Server, install_crds


@pytest.fixture(scope="module")
def server(cluster: Any) -> Iterator[Server]:
    install_crds(cluster.kubeconfig)
    namespace = f"crd-rules-{uuid.uuid4().hex[:8]}"
    with config.new_client_from_config(config_file=str(cluster.kubeconfig)) as api:
        core = client.CoreV1Api(api)
        core.create_namespace({"metadata": {"name": namespace}})
        yield Server(api, namespace)
        core.delete_namespace(namespace)
