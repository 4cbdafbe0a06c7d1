"""What requests carry: each shape of auth, rotation without a restart, nothing repeated."""

import base64
import ssl
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from drifttrigger.api.errors import CredentialError
from drifttrigger.api.servers import PrometheusServer
from drifttrigger.clients.http import HttpClient
from drifttrigger.clients.secrets import Secrets
from drifttrigger.local.certificates import Authority, PrivateKey, Subject, Usage
from drifttrigger.sources.credentials import Credentials, Material, make_context
from support.clock import FakeClock
from support.vault import Vault

PLANTED = "planted-4Vb8"
NOW = datetime(2026, 3, 2, tzinfo=UTC)


def ref(name: str, key: str) -> dict[str, Any]:
    return {"secretKeyRef": {"name": name, "key": key}}


BASIC = {"basic": {"username": "u", "passwordFrom": ref("login", "password")}}
BEARER = {"bearer": {"tokenFrom": ref("login", "token")}}


class Setting:
    """One server block, its Secrets and a clock."""

    def __init__(self, address: str = "http://p", **block: Any) -> None:
        self.vault, self.clock = Vault(), FakeClock()
        self.vault.secret("login", password=PLANTED, token="token-" + PLANTED)
        self.http = HttpClient()
        server = msgspec.convert({"address": address, **block}, PrometheusServer)
        self.credentials = Credentials(
            server,
            "models",
            secrets=Secrets(self.vault, self.clock),  # type: ignore[arg-type] # only reads
            http=self.http,
            clock=self.clock,
        )

    async def problem(self) -> str:
        with pytest.raises(CredentialError) as caught:
            await self.credentials.material()
        return str(caught.value)


def basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


@pytest.mark.parametrize(
    ("block", "headers"),
    [
        pytest.param({}, [], id="nothing"),
        pytest.param({"auth": BASIC}, [("Authorization", basic("u", PLANTED))], id="basic"),
        pytest.param(
            {"auth": BEARER}, [("Authorization", f"Bearer token-{PLANTED}")], id="a token"
        ),
        pytest.param(
            {
                "headers": [
                    {"name": "X-Scope-OrgID", "value": "team-a"},
                    {"name": "X-Key", "valueFrom": ref("login", "password")},
                ]
            },
            [("X-Scope-OrgID", "team-a"), ("X-Key", PLANTED)],
            id="headers",
        ),
        pytest.param(
            {"headers": [{"name": "X-Scope-OrgID", "value": "a"}], "auth": BASIC},
            [("X-Scope-OrgID", "a"), ("Authorization", basic("u", PLANTED))],
            id="a tenant and a password",
        ),
    ],
)
async def test_each_shape_becomes_its_headers(
    block: dict[str, Any], headers: list[tuple[str, str]]
) -> None:
    material = await Setting(**block).credentials.material()
    assert list(material.headers) == headers
    assert material.tls is None


async def test_a_line_break_at_the_end_of_a_secret_is_none_of_it() -> None:
    setting = Setting(auth=BEARER)
    setting.vault.secret("login", token="abcd\r\n")
    material = await setting.credentials.material()
    assert material.headers == (("Authorization", "Bearer abcd"),)


@pytest.mark.parametrize("token", ["", "\n", f"{PLANTED}\nX-Evil: 1", f"a\x00{PLANTED}"])
async def test_a_secret_that_is_no_header_is_refused_and_not_shown(token: str) -> None:
    setting = Setting(auth=BEARER)
    setting.vault.secret("login", token=token)
    problem = await setting.problem()
    assert problem == (
        "auth.bearer: key token of Secret login is empty or has unprintable characters"
    )


async def test_a_server_that_repeats_a_credential_is_not_repeated() -> None:
    setting = Setting(auth=BASIC, headers=[{"name": "X", "valueFrom": ref("login", "token")}])
    material = await setting.credentials.material()
    coded = basic("u", PLANTED)
    text = f"you sent {coded}, {PLANTED} and token-{PLANTED}; user u"
    assert material.redact(text) == "you sent Basic [hidden], [hidden] and [hidden]; user u"


async def test_a_secret_that_begins_with_another_is_hidden_whole() -> None:
    setting = Setting(
        headers=[
            {"name": "A", "valueFrom": ref("two", "short")},
            {"name": "B", "valueFrom": ref("two", "long")},
        ]
    )
    setting.vault.secret("two", short="abcd", long="abcd-rest")
    material = await setting.credentials.material()
    assert material.redact("abcd-rest abcd") == "[hidden] [hidden]"


async def test_a_value_that_is_no_secret_is_shown() -> None:
    setting = Setting(auth=BASIC, headers=[{"name": "X-Scope-OrgID", "value": "team-a"}])
    material = await setting.credentials.material()
    assert material.redact("no such tenant team-a") == "no such tenant team-a"


# Rotation.


async def test_material_is_the_same_while_nothing_changes() -> None:
    setting = Setting(auth=BASIC)
    first = await setting.credentials.material()
    for _ in range(5):
        setting.clock.move(40)
        assert await setting.credentials.material() is first


async def test_a_rotated_secret_is_used_within_a_minute() -> None:
    setting = Setting(auth=BASIC)
    await setting.credentials.material()
    setting.vault.secret("login", password="second")
    setting.clock.move(60)
    material = await setting.credentials.material()
    assert material.headers == (("Authorization", basic("u", "second")),)


async def test_a_rotated_secret_is_used_at_once_when_the_server_refuses_the_old_one() -> None:
    setting = Setting(auth=BASIC)
    first = await setting.credentials.material()
    setting.vault.secret("login", password="second")
    assert await setting.credentials.material() is first
    second = await setting.credentials.material(refused=first)
    assert second.headers == (("Authorization", basic("u", "second")),)
    reads = len(setting.vault.reads)
    assert await setting.credentials.material(refused=first) is second
    assert len(setting.vault.reads) == reads, "what another request has just read is enough"


async def test_what_is_refused_and_has_not_changed_stays_the_same() -> None:
    setting = Setting(auth=BASIC)
    first = await setting.credentials.material()
    assert await setting.credentials.material(refused=first) is first
    assert len(setting.vault.reads) == 2


async def test_a_secret_that_went_away_is_looked_for_again() -> None:
    setting = Setting(auth=BASIC)
    first = await setting.credentials.material()
    setting.vault.remove("Secret", "models", "login")
    for refused in (first, None):
        with pytest.raises(CredentialError, match="there is no Secret models/login"):
            await setting.credentials.material(refused=refused)
    setting.vault.secret("login", password="back")
    assert (await setting.credentials.material()).headers[0][1] == basic("u", "back")


# TLS.


class Papers:
    """An authority and what it has signed."""

    def __init__(self) -> None:
        self.authority = Authority(Subject("ca"), PrivateKey.generate())
        self.ca = self.authority.certificate(now=NOW)

    def client(self, name: str) -> dict[str, str]:
        key = PrivateKey.generate()
        signed = self.authority.issue(Subject(name), key, usage=Usage.CLIENT, now=NOW)
        return {"tls_crt": signed, "tls_key": key.pem()}


async def test_https_without_a_tls_block_trusts_the_usual_authorities() -> None:
    material = await Setting("https://p").credentials.material()
    assert material.tls is not None
    assert material.tls.verify_mode is ssl.CERT_REQUIRED
    assert material.tls.check_hostname
    assert len(material.tls.get_ca_certs()) != 1


async def test_a_ca_is_trusted_alone() -> None:
    papers = Papers()
    setting = Setting("https://p", tls={"caFrom": ref("ca", "ca.crt")})
    setting.vault.secret("ca", ca_crt=f"# Főtanúsítvány\n{papers.ca}")
    tls = (await setting.credentials.material()).tls
    assert tls is not None
    assert [dict(entry[0] for entry in c["subject"]) for c in tls.get_ca_certs()] == [  # type: ignore[misc,index]
        {"commonName": "ca"}
    ]
    assert tls.verify_mode is ssl.CERT_REQUIRED


async def test_only_insecure_skip_verify_skips_verifying() -> None:
    tls = (await Setting("https://p", tls={"insecureSkipVerify": True}).credentials.material()).tls
    assert tls is not None
    assert tls.verify_mode is ssl.CERT_NONE


async def test_a_rotated_client_certificate_makes_another_context() -> None:
    papers = Papers()
    setting = Setting("https://p", tls={"clientCertificate": {"secretName": "mine"}})
    setting.vault.secret("mine", **papers.client("a"))
    first = await setting.credentials.material()
    setting.clock.move(60)
    assert await setting.credentials.material() is first
    setting.vault.secret("mine", **papers.client("b"))
    second = await setting.credentials.material(refused=first)
    assert second.tls is not first.tls


@pytest.mark.parametrize(
    ("ca", "certificate", "words"),
    [
        ("", "tls.key of another", "tls.clientCertificate: certificate and key can't be used"),
        ("no PEM", "", "tls.caFrom holds no certificate in PEM"),
        ("Főtanúsítvány", "", "tls.caFrom holds no certificate in PEM"),
        ("", "no PEM", "tls.clientCertificate: certificate and key can't be used"),
    ],
    ids=["a key that does not fit", "a CA that is none", "a comment alone", "no certificate"],
)
def test_papers_that_can_not_be_used_are_named(ca: str, certificate: str, words: str) -> None:
    papers = Papers()
    mine, other = papers.client("a"), papers.client("b")
    fits = certificate != "tls.key of another"
    crt = mine["tls_crt"] if not fits else certificate
    with pytest.raises(CredentialError, match=words) as caught:
        make_context(ca, crt, other["tls_key"], verifies=True)
    assert other["tls_key"].split("\n")[1] not in str(caught.value)


async def test_empty_papers_do_not_mean_none() -> None:
    setting = Setting("https://p", tls={"caFrom": ref("ca", "ca.crt")})
    setting.vault.secret("ca", ca_crt=" \n")
    assert "tls.caFrom holds no certificate" in await setting.problem()
    setting = Setting("https://p", tls={"clientCertificate": {"secretName": "mine"}})
    setting.vault.secret("mine", tls_crt="", tls_key="")
    assert "tls.crt of Secret mine is empty" in await setting.problem()


def test_material_without_secrets_hides_nothing() -> None:
    assert Material().redact("anything") == "anything"
