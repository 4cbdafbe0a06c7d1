"""Logging in, and what each refusal of the API server means."""

import shutil
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import certifi
import orjson
import pytest
from kubernetes.aio import config

from drifttrigger.api.errors import (
    AlreadyExists,
    ConflictError,
    DriftTriggerError,
    ForbiddenError,
    MissingRight,
    NamespaceGone,
    NotFoundError,
    PermanentError,
    QuotaExceeded,
    TransientError,
    UsageError,
)
from drifttrigger.clients.kube import DRIFT_TRIGGERS, KubernetesApi, error_of


def status(**fields: object) -> bytes:
    return orjson.dumps({"kind": "Status", "message": "said the server", **fields})


@pytest.mark.parametrize(
    ("code", "payload", "kind"),
    [
        pytest.param(400, status(), PermanentError, id="bad request"),
        pytest.param(401, status(), TransientError, id="an expired token says nothing of the Job"),
        pytest.param(403, status(), ForbiddenError, id="an admission policy's refusal"),
        pytest.param(
            403,
            status(message='jobs is forbidden: User "a" cannot create resource "jobs"'),
            MissingRight,
            id="a right that may come",
        ),
        pytest.param(403, status(message="exceeded quota: q"), QuotaExceeded, id="quota"),
        pytest.param(404, status(), NotFoundError, id="gone"),
        pytest.param(
            404, status(details={"kind": "namespaces"}), NamespaceGone, id="no such namespace"
        ),
        pytest.param(
            403,
            status(details={"causes": [{"reason": "NamespaceTerminating"}]}),
            NamespaceGone,
            id="namespace terminating",
        ),
        pytest.param(409, status(reason="AlreadyExists"), AlreadyExists, id="name taken"),
        pytest.param(409, status(reason="Conflict"), ConflictError, id="changed meanwhile"),
        pytest.param(410, status(), ConflictError, id="expired"),
        pytest.param(422, status(), PermanentError, id="invalid"),
        pytest.param(429, status(), TransientError, id="too many requests"),
        pytest.param(500, status(), TransientError, id="a webhook that is down"),
        pytest.param(502, b"<html>bad gateway", TransientError, id="a proxy's page"),
        pytest.param(403, status(details="x"), ForbiddenError, id="odd details"),
        pytest.param(403, status(details={"causes": ["a"]}), ForbiddenError, id="odd causes"),
        pytest.param(400, b"[1]", PermanentError, id="no object"),
        pytest.param(400, b"", PermanentError, id="nothing"),
    ],
)
def test_each_refusal_is_one_class_of_ours(
    code: int, payload: bytes, kind: type[DriftTriggerError]
) -> None:
    assert type(error_of(code, payload)) is kind


def test_a_missing_right_tells_whom_the_server_takes_us_for() -> None:
    account = "system:serviceaccount:drifttrigger-system:drifttrigger"
    message = f'secrets "p" is forbidden: User "{account}" cannot get resource "secrets"'
    error = error_of(403, status(message=message))
    assert isinstance(error, MissingRight)
    assert error.user == account


def test_a_wish_to_wait_is_kept() -> None:
    error = error_of(429, status(), "7")
    assert isinstance(error, TransientError)
    assert error.retry_after_seconds == 7


@pytest.fixture
async def in_a_pod(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[tuple[KubernetesApi, Path]]:
    """Logged in as pods are, with a token that is read anew for each request, not each minute."""
    token = tmp_path / "token"
    token.write_text("the-token")
    shutil.copy(certifi.where(), tmp_path / "ca.crt")
    module = config.incluster_config
    read = module.InClusterConfigLoader._read_token_file

    def read_and_expire(loader: config.incluster_config.InClusterConfigLoader) -> None:
        read(loader)
        loader.token_expires_at = datetime.min  # noqa: DTZ901 - the package's are naive

    monkeypatch.setattr(module.InClusterConfigLoader, "_read_token_file", read_and_expire)
    monkeypatch.setattr(module, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(module, "SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.delenv("KUBECONFIG", raising=False)
    kube = await KubernetesApi.connect()
    yield kube, token
    await kube.close()


async def test_in_a_pod_it_shows_the_pods_own_token_as_it_is_now(
    in_a_pod: tuple[KubernetesApi, Path],
) -> None:
    kube, token = in_a_pod
    assert kube.transport.host == "https://10.0.0.1:443"
    assert await kube.transport.authorization() == "bearer the-token"
    token.write_text("another")
    assert await kube.transport.authorization() == "bearer another"


async def test_a_token_file_that_is_half_written_is_tried_again(
    in_a_pod: tuple[KubernetesApi, Path],
) -> None:
    kube, token = in_a_pod
    token.write_text("")
    with pytest.raises(TransientError, match="Token file exists but empty"):
        await kube.patch(DRIFT_TRIGGERS, "ml", "t", {})


async def test_without_any_cluster_it_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(UsageError, match="set KUBECONFIG or pass --kubeconfig"):
        await KubernetesApi.connect(kubeconfig=str(tmp_path / "none"))
