"""Every way to show who we are, to a real Prometheus with a web configuration and to a gateway."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from drifttrigger.api.reasons import Outcome
from drifttrigger.api.servers import PrometheusServer
from drifttrigger.clients.clock import SystemClock
from drifttrigger.clients.http import HttpClient
from drifttrigger.clients.secrets import Secrets
from drifttrigger.core.observation import Answer
from drifttrigger.local.certificates import Usage
from drifttrigger.sources.base import Question
from drifttrigger.sources.prometheus import PrometheusSource
from support.cluster import SharedCluster
from support.gateway import Gateway
from support.locked import LockedPrometheus, Papers, locked_prometheus
from support.vault import Vault

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("sources")]
FIRST, SECOND = "first-pw-7Qx2", "second-pw-9Zk4"
TOKEN, CLIENT_SECRET = "bearer-token-3Jf6", "client/secret+8Nd1"


def ref(name: str, key: str) -> dict[str, Any]:
    return {"secretKeyRef": {"name": name, "key": key}}


BASIC = {"basic": {"username": "reader", "passwordFrom": ref("login", "password")}}
BEARER = {"bearer": {"tokenFrom": ref("login", "token")}}
CA = {"caFrom": {"configMapKeyRef": {"name": "ca", "key": "ca.crt"}}}
MINE = {"clientCertificate": {"secretName": "mine"}}


class Client:
    """The operator's client, with Secrets in memory."""

    def __init__(self) -> None:
        self.vault, self.http, clock = Vault(), HttpClient(), SystemClock()
        secrets = Secrets(self.vault, clock)  # type: ignore[arg-type] # only reads
        self._new = lambda: PrometheusSource(self.http, secrets, clock)
        self.source = self._new()
        self.vault.secret("login", password=FIRST, token=TOKEN, secret=CLIENT_SECRET)

    def trust(self, papers: Papers, *, key: str = "ca.crt") -> None:
        self.vault.put("ConfigMap", "models", "ca", {"data": {key: papers.ca}})

    def hold(self, papers: Papers) -> None:
        data = {key.replace(".", "_"): value for key, value in papers.client().items()}
        self.vault.secret("mine", **data)

    async def ask(self, address: str, **block: Any) -> Answer:
        server = msgspec.convert({"address": address, **block}, PrometheusServer)
        at = datetime.now(UTC)
        question = Question(source=server, namespace="models", query="vector(0.25)", at=at)
        return await self.source.ask(question)

    async def reconnect(self) -> None:
        """End the connections, as servers do now and then."""
        await self.http.close()

    def forget(self) -> None:
        """Forget what was learned of servers."""
        self.source = self._new()


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    made = Client()
    yield made
    await made.http.close()


@pytest.fixture(scope="module")
def password(
    cluster: SharedCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LockedPrometheus]:
    """A Prometheus behind TLS that wants a password."""
    folder = tmp_path_factory.mktemp("password")
    with locked_prometheus(cluster.binaries, folder, tls=True) as server:
        yield server


@pytest.fixture(scope="module")
def mutual(
    cluster: SharedCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LockedPrometheus]:
    """A Prometheus that wants a client certificate, below a prefix."""
    folder = tmp_path_factory.mktemp("mutual")
    with locked_prometheus(cluster.binaries, folder, prefix="/prometheus", tls=True) as server:
        yield server


@pytest.fixture
def gateway(cluster: SharedCluster) -> Iterator[Gateway]:
    """A gateway that wants a token and a tenant."""
    assert cluster.prometheus_url is not None
    with Gateway(
        cluster.prometheus_url,
        tokens={TOKEN},
        clients={"me:1": CLIENT_SECRET},
        headers={"X-Scope-OrgID": "team-a"},
        parameters={"partial_response": "false"},
    ) as running:
        yield running


TENANT = {
    "headers": [{"name": "X-Scope-OrgID", "value": "team-a"}],
    "queryParameters": [{"name": "partial_response", "value": "false"}],
}


def oauth2(gateway: Gateway, *, client: str = "me:1") -> dict[str, Any]:
    secret = ref("login", "secret")
    url = f"{gateway.address}/token"
    return {"oauth2": {"tokenURL": url, "clientID": client, "clientSecretFrom": secret}}


def score(answer: Answer) -> str:
    assert answer.failure is None, answer
    [sample] = answer.samples
    return sample.value


def check_refused(answer: Answer, outcome: Outcome, words: str) -> None:
    assert answer.failure is outcome, answer
    assert words in answer.message, answer.message
    for secret in (FIRST, SECOND, TOKEN, CLIENT_SECRET, "PRIVATE KEY", "cmVhZGVyOm"):
        assert secret not in answer.message


async def test_a_password_over_tls(client: Client, password: LockedPrometheus) -> None:
    assert password.papers is not None
    client.trust(password.papers)
    password.accept("reader", FIRST)
    assert score(await client.ask(password.address, auth=BASIC, tls=CA)) == "0.25"


@pytest.mark.parametrize(
    ("tls", "auth", "outcome", "words"),
    [
        pytest.param(CA, None, Outcome.UNAUTHORIZED, "HTTP 401: Unauthorized", id="no password"),
        pytest.param(CA, BEARER, Outcome.UNAUTHORIZED, "HTTP 401", id="a token"),
        pytest.param(
            None,
            BASIC,
            Outcome.UNREACHABLE,
            "name its authority with tls.caFrom",
            id="an authority that is not trusted",
        ),
        pytest.param(
            {**CA, "serverName": "prometheus.internal"},
            BASIC,
            Outcome.UNREACHABLE,
            "certificate is not valid for 'prometheus.internal'; name it as its",
            id="another name",
        ),
        pytest.param(
            {"caFrom": ref("login", "password")},
            BASIC,
            Outcome.UNAUTHORIZED,
            "tls.caFrom holds no certificate in PEM",
            id="a CA that is none",
        ),
        pytest.param(
            {"caFrom": ref("none", "ca.crt")},
            BASIC,
            Outcome.UNAUTHORIZED,
            "there is no Secret models/none",
            id="no such Secret",
        ),
    ],
)
async def test_wrong_to_a_server_that_wants_a_password(
    tls: dict[str, Any] | None,
    auth: dict[str, Any] | None,
    outcome: Outcome,
    words: str,
    client: Client,
    password: LockedPrometheus,
) -> None:
    assert password.papers is not None
    client.trust(password.papers)
    password.accept("reader", FIRST)
    block = {key: value for key, value in {"tls": tls, "auth": auth}.items() if value}
    check_refused(await client.ask(password.address, **block), outcome, words)


async def test_a_wrong_password(client: Client, password: LockedPrometheus) -> None:
    password.accept("reader", SECOND)
    block = {"auth": BASIC, "tls": {"insecureSkipVerify": True}}
    answer = await client.ask(password.address, **block)
    check_refused(answer, Outcome.UNAUTHORIZED, "HTTP 401: Unauthorized")
    plain = await client.ask(password.address.replace("https", "http"), auth=BASIC)
    check_refused(plain, Outcome.UNREACHABLE, "HTTP request to an HTTPS server")


async def test_a_rotated_password_costs_no_answer(
    client: Client, password: LockedPrometheus
) -> None:
    block = {"auth": BASIC, "tls": {"insecureSkipVerify": True}}
    password.accept("reader", FIRST)
    score(await client.ask(password.address, **block))
    client.vault.secret("login", password=SECOND)
    score(await client.ask(password.address, **block))
    password.accept("reader", SECOND)
    assert score(await client.ask(password.address, **block)) == "0.25"


async def test_a_client_certificate_and_a_prefix(client: Client, mutual: LockedPrometheus) -> None:
    assert mutual.papers is not None
    client.trust(mutual.papers)
    mutual.want(papers := Papers("clients"))
    client.hold(papers)
    assert score(await client.ask(mutual.address, tls={**CA, **MINE})) == "0.25"


@pytest.mark.parametrize("held", ["none", "of another authority", "of a server", "half"])
async def test_wrong_to_a_server_that_wants_a_certificate(
    held: str, client: Client, mutual: LockedPrometheus
) -> None:
    assert mutual.papers is not None
    client.trust(mutual.papers)
    mutual.want(papers := Papers("clients"))
    outcome, words = Outcome.UNREACHABLE, "tls.clientCertificate"
    tls = {**CA, **MINE}
    if held == "none":
        tls = CA
    elif held == "of another authority":
        client.hold(Papers("others"))
    elif held == "of a server":
        certificate, key = papers.issue("x", Usage.SERVER)
        client.vault.secret("mine", tls_crt=certificate, tls_key=key)
    elif held == "half":
        certificate, _ = papers.issue("x", Usage.CLIENT)
        client.vault.secret("mine", tls_crt=certificate)
        outcome, words = Outcome.UNAUTHORIZED, "Secret models/mine has no key tls.key"
    check_refused(await client.ask(mutual.address, tls=tls), outcome, words)


async def test_rotated_certificates_cost_no_answer(
    client: Client, mutual: LockedPrometheus
) -> None:
    assert mutual.papers is not None
    client.trust(mutual.papers)
    mutual.want(first := Papers("clients"))
    client.hold(first)
    score(await client.ask(mutual.address, tls={**CA, **MINE}))
    # Ours: the new one is in the Secret, then the server takes the new ones only.
    second = Papers("clients of next year")
    client.hold(second)
    mutual.want(second)
    await client.reconnect()
    score(await client.ask(mutual.address, tls={**CA, **MINE}))
    # The server's: the new authority is in the ConfigMap, then the server shows the new one.
    server = Papers("prometheus-ca of next year")
    client.trust(server)
    mutual.show(server)
    await client.reconnect()
    assert score(await client.ask(mutual.address, tls={**CA, **MINE})) == "0.25"


async def test_a_token_a_tenant_and_a_parameter(client: Client, gateway: Gateway) -> None:
    assert score(await client.ask(gateway.address, auth=BEARER, **TENANT)) == "0.25"


async def test_a_rotated_token_costs_no_answer(client: Client, gateway: Gateway) -> None:
    score(await client.ask(gateway.address, auth=BEARER, **TENANT))
    client.vault.secret("login", token="next-token-2Kc7")
    gateway.tokens = {"next-token-2Kc7"}
    assert score(await client.ask(gateway.address, auth=BEARER, **TENANT)) == "0.25"


async def test_tokens_by_client_credentials(client: Client, gateway: Gateway) -> None:
    block = {"auth": oauth2(gateway), **TENANT}
    found = await asyncio.gather(*(client.ask(gateway.address, **block) for _ in range(10)))
    assert {score(answer) for answer in found} == {"0.25"}
    assert gateway.asked.count("/token") == 1


async def test_a_token_that_was_revoked_costs_no_answer(client: Client, gateway: Gateway) -> None:
    block = {"auth": oauth2(gateway), **TENANT}
    score(await client.ask(gateway.address, **block))
    gateway.tokens = set()
    assert score(await client.ask(gateway.address, **block)) == "0.25"
    assert gateway.asked.count("/token") == 2


async def test_wrong_to_a_gateway(client: Client, gateway: Gateway) -> None:
    unauthorized = Outcome.UNAUTHORIZED
    for auth, words in (
        (None, "this token is not known"),
        (BASIC, "this token is not known"),
        ({"bearer": {"tokenFrom": ref("login", "secret")}}, "this token is not known"),
        (oauth2(gateway, client="nobody"), "auth.oauth2.tokenURL gave no token: invalid_client"),
    ):
        block = {**TENANT, **({"auth": auth} if auth else {})}
        client.forget()
        check_refused(await client.ask(gateway.address, **block), unauthorized, words)
    tenant = {**TENANT, "headers": [{"name": "X-Scope-OrgID", "valueFrom": ref("login", "token")}]}
    client.forget()
    answer = await client.ask(gateway.address, auth=BEARER, **tenant)
    check_refused(answer, unauthorized, "this X-Scope-OrgID is not known")
    answer = await client.ask(gateway.address, auth=BEARER, headers=TENANT["headers"])
    check_refused(answer, unauthorized, "partial_response must be false")
