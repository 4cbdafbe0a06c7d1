"""What goes over the way to the API server: the token, our headers, JSON."""

from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from drifttrigger.api.errors import TransientError, UnknownOutcome
from drifttrigger.clients.kube import DRIFT_TRIGGERS, KubernetesApi
from drifttrigger.clients.viewing import act_as, read, watch


class ApiServer:
    """Remembers what it was asked, and answers with an object."""

    def __init__(self) -> None:
        self.asked: list[web.BaseRequest] = []
        self.bodies: list[bytes] = []
        self.status = 200
        self.answer = b'{"kind": "Thing"}'

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(request)
        self.bodies.append(await request.read())
        return web.Response(status=self.status, body=self.answer, content_type="application/json")


@pytest.fixture
def server() -> ApiServer:
    return ApiServer()


@pytest.fixture
async def address(server: ApiServer) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    async with TestServer(app) as running:
        yield str(running.make_url("/behind/a/path/"))


@pytest.fixture
async def kube(address: str, tmp_path: Path) -> AsyncIterator[KubernetesApi]:
    named = {"name": "a"}
    document = {
        "clusters": [named | {"cluster": {"server": address}}],
        "users": [named | {"user": {"token": "secret"}}],
        "contexts": [named | {"context": {"cluster": "a", "user": "a"}}],
        "current-context": "a",
    }
    config = tmp_path / "kubeconfig"
    config.write_text(yaml.safe_dump(document))
    kube = await KubernetesApi.connect(kubeconfig=str(config))
    yield kube
    await kube.close()


async def test_a_write_is_json_below_the_servers_own_path(
    kube: KubernetesApi, server: ApiServer
) -> None:
    body = {"metadata": {"name": "grün"}, "big": 2**63 - 1, "half": 0.5}
    answer = await kube.create(DRIFT_TRIGGERS, "ml", body, dry_run=True)
    (request,) = server.asked
    path = "/behind/a/path/apis/drifttrigger.dev/v1alpha1/namespaces/ml/drifttriggers"
    assert (request.method, request.path) == ("POST", path)
    assert dict(request.query) == {"fieldValidation": "Strict", "dryRun": "All"}
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Authorization"] == "Bearer secret"
    assert request.headers["User-Agent"].startswith("drifttrigger/")
    assert orjson.loads(server.bodies[0]) == body
    assert answer == {"kind": "Thing"}
    assert kube.requests == {("POST", "drifttriggers", "200"): 1}


async def test_a_patch_says_of_what_kind_it_is(kube: KubernetesApi, server: ApiServer) -> None:
    await kube.patch(DRIFT_TRIGGERS, "ml", "t", {"status": None}, subresource="status")
    (request,) = server.asked
    assert request.headers["Content-Type"] == "application/merge-patch+json"
    assert request.path.endswith("/drifttriggers/t/status")


async def test_acting_as_somebody_sends_every_group(kube: KubernetesApi, server: ApiServer) -> None:
    act_as(kube, user="ann", groups=["a", "b"])
    await read(kube, "/version")
    (request,) = server.asked
    assert request.headers["Impersonate-User"] == "ann"
    assert request.headers.getall("Impersonate-Group") == ["a", "b"]


async def test_a_watch_yields_until_the_server_ends_it(
    kube: KubernetesApi, server: ApiServer
) -> None:
    server.answer = b'{"type": "ADDED", "object": {"n": 1}}\n{"type": "DELETED", "object": {}}\n'
    changes = [change async for change in watch(kube, "/things", since="7")]
    assert changes == [("ADDED", {"n": 1}), ("DELETED", {})]
    assert server.asked[0].query["resourceVersion"] == "7"


async def test_no_object_in_the_answer_to_a_write_leaves_open_what_happened(
    kube: KubernetesApi, server: ApiServer
) -> None:
    server.answer = b'{"kind": "Th'
    with pytest.raises(UnknownOutcome):
        await kube.patch(DRIFT_TRIGGERS, "ml", "t", {})
    with pytest.raises(TransientError, match=r"GET .*drifttriggers/t"):
        await kube.get(DRIFT_TRIGGERS, "ml", "t")
