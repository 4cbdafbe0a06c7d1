"""Secrets are read when used, kept for less than a minute, and never in a message."""

import pytest

from drifttrigger.api.errors import CredentialError, TransientError
from drifttrigger.api.servers import KeyRef
from drifttrigger.clients.secrets import KEPT_SECONDS, Secrets, grant_command
from support.clock import FakeClock
from support.vault import OPERATOR, Vault

PASSWORD = KeyRef(name="login", key="password")
PLANTED = "planted-4Vb8"


@pytest.fixture
def vault() -> Vault:
    vault = Vault()
    vault.secret("login", password=PLANTED + "\n", odd=b"\xff\xfe" + PLANTED.encode())
    return vault


async def test_a_value_is_read_once_in_half_a_minute(vault: Vault) -> None:
    clock = FakeClock()
    secrets = Secrets(vault, clock)  # type: ignore[arg-type] # only reads
    for _ in range(3):
        assert await secrets.secret("models", PASSWORD) == PLANTED
    assert len(vault.reads) == 1
    vault.secret("login", password="new")
    clock.move(KEPT_SECONDS - 1)
    assert await secrets.secret("models", PASSWORD) == PLANTED
    clock.move(1)
    assert await secrets.secret("models", PASSWORD) == "new"
    assert len(vault.reads) == 2


async def test_what_credentials_are_made_of_is_a_minute_old_at_most() -> None:
    assert 2 * KEPT_SECONDS <= 60


async def test_a_fresh_read_asks_the_api_server_and_others_profit(vault: Vault) -> None:
    secrets = Secrets(vault, FakeClock())  # type: ignore[arg-type] # only reads
    await secrets.secret("models", PASSWORD)
    vault.secret("login", password="new")
    assert await secrets.secret("models", PASSWORD, fresh=True) == "new"
    assert await secrets.secret("models", PASSWORD) == "new"
    assert len(vault.reads) == 2


async def test_a_secret_of_another_namespace_is_another_secret(vault: Vault) -> None:
    secrets = Secrets(vault, FakeClock())  # type: ignore[arg-type] # only reads
    await secrets.secret("models", PASSWORD)
    with pytest.raises(CredentialError, match="there is no Secret others/login"):
        await secrets.secret("others", PASSWORD)


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        (KeyRef(name="none", key="k"), "there is no Secret models/none"),
        (KeyRef(name="login", key="k"), "Secret models/login has no key k"),
        (KeyRef(name="login", key="odd"), "key odd of Secret models/login is no text in UTF-8"),
    ],
    ids=["no Secret", "no key", "no text"],
)
async def test_what_is_missing_is_named_and_no_value(vault: Vault, ref: KeyRef, words: str) -> None:
    with pytest.raises(CredentialError) as caught:
        await Secrets(vault, FakeClock()).secret("models", ref)  # type: ignore[arg-type]
    assert str(caught.value) == words
    assert caught.value.__cause__ is None or PLANTED not in repr(caught.value.__cause__)


async def test_a_failed_fresh_read_leaves_nothing_old_behind(vault: Vault) -> None:
    secrets = Secrets(vault, FakeClock())  # type: ignore[arg-type] # only reads
    await secrets.secret("models", PASSWORD)
    vault.remove("Secret", "models", "login")
    for fresh in (True, False):
        with pytest.raises(CredentialError, match="there is no Secret"):
            await secrets.secret("models", PASSWORD, fresh=fresh)


async def test_a_missing_right_comes_with_the_command_that_grants_it(vault: Vault) -> None:
    vault.refuse()
    with pytest.raises(CredentialError) as caught:
        await Secrets(vault, FakeClock()).secret("models", PASSWORD)  # type: ignore[arg-type]
    command = grant_command(OPERATOR, "models")
    assert str(caught.value) == f"no right to read Secret models/login; grant it with: {command}"
    assert command == (
        "kubectl create rolebinding drifttrigger-source-reader "
        "--clusterrole=drifttrigger-source-reader "
        "--serviceaccount=drifttrigger-system:drifttrigger --namespace=models"
    )


def test_a_person_is_granted_it_as_a_user() -> None:
    assert "--user=ana@example.org --namespace=models" in grant_command("ana@example.org", "models")


async def test_an_api_server_that_is_down_is_named(vault: Vault) -> None:
    vault.fail(TransientError("503 down"))
    with pytest.raises(CredentialError, match="Secret models/login can't be read now: 503 down"):
        await Secrets(vault, FakeClock()).secret("models", PASSWORD)  # type: ignore[arg-type]


async def test_without_a_cluster_it_says_so() -> None:
    with pytest.raises(CredentialError, match="can't be read without a cluster"):
        await Secrets(None, FakeClock()).secret("models", PASSWORD)


async def test_a_config_map_is_read_as_it_is(vault: Vault) -> None:
    vault.put("ConfigMap", "models", "ca", {"data": {"ca.crt": "PEM\n"}, "binaryData": {"b": "AA"}})
    secrets = Secrets(vault, FakeClock())  # type: ignore[arg-type] # only reads
    assert await secrets.config_map("models", KeyRef(name="ca", key="ca.crt")) == "PEM\n"
    with pytest.raises(CredentialError, match="ConfigMap models/ca has no key b"):
        await secrets.config_map("models", KeyRef(name="ca", key="b"))
    vault.put("ConfigMap", "models", "empty", {})
    with pytest.raises(CredentialError, match="ConfigMap models/empty has no key k"):
        await secrets.config_map("models", KeyRef(name="empty", key="k"))
