"""Values of Secrets and ConfigMaps, read when they are used and kept for at most a minute.

Nothing here is ever logged, and no message holds a value. The operator has no right to any Secret
by default; the message that says so holds the command that grants it.
"""

import base64
import binascii

import msgspec

from drifttrigger.api.errors import CredentialError, DriftTriggerError, MissingRight, NotFoundError
from drifttrigger.api.servers import KeyRef
from drifttrigger.clients.clock import Clock
from drifttrigger.clients.kube import CONFIG_MAPS, SECRETS, Json, KubeApi, Resource

KEPT_SECONDS = 30.0
"""`sources.credentials` keeps what it makes of a value as long again: a minute at most."""
READER_ROLE = "drifttrigger-source-reader"
_Where = tuple[str, str, str]


class _Kept(msgspec.Struct, frozen=True):
    data: Json
    until: float


class Secrets:
    """Reads single values.

    Args:
        kube: The API server; None where there is no cluster.
        clock: The clock.
    """

    def __init__(self, kube: KubeApi | None, clock: Clock) -> None:
        self._kube = kube
        self._clock = clock
        self._kept: dict[_Where, _Kept] = {}

    async def secret(self, namespace: str, ref: KeyRef, *, fresh: bool = False) -> str:
        """Read one key of a Secret, as text without the line break at its end.

        Args:
            namespace: Namespace of the Secret.
            ref: Its name and the key.
            fresh: Read it now, whatever is kept.

        Raises:
            CredentialError: It can't be read; says what to do.
        """
        data = await self._data(SECRETS, namespace, ref.name, fresh=fresh)
        return _decoded(data, ref, namespace).rstrip("\r\n")

    async def config_map(self, namespace: str, ref: KeyRef, *, fresh: bool = False) -> str:
        """Read one key of a ConfigMap; arguments and errors as of `secret`."""
        data = await self._data(CONFIG_MAPS, namespace, ref.name, fresh=fresh)
        value = data.get(ref.key)
        if not isinstance(value, str):
            raise CredentialError(f"ConfigMap {namespace}/{ref.name} has no key {ref.key}")
        return value

    def _forget_old(self) -> None:
        now = self._clock.monotonic()
        self._kept = {where: kept for where, kept in self._kept.items() if kept.until > now}

    async def _data(self, resource: Resource, namespace: str, name: str, *, fresh: bool) -> Json:
        where = (resource.kind, namespace, name)
        self._forget_old()
        if not fresh and where in self._kept:
            return self._kept[where].data
        self._kept.pop(where, None)
        data = (await self._read(resource, namespace, name)).get("data")
        kept = _Kept(data if isinstance(data, dict) else {}, self._clock.monotonic() + KEPT_SECONDS)
        self._kept[where] = kept
        return kept.data

    async def _read(self, resource: Resource, namespace: str, name: str) -> Json:
        what = f"{resource.kind} {namespace}/{name}"
        if self._kube is None:
            raise CredentialError(f"{what} can't be read without a cluster")
        try:
            return await self._kube.get(resource, namespace, name)
        except NotFoundError as error:
            raise CredentialError(f"there is no {what}") from error
        except MissingRight as error:
            raise CredentialError(
                f"no right to read {what}; grant it with: {grant_command(error.user, namespace)}"
            ) from error
        except DriftTriggerError as error:
            raise CredentialError(f"{what} can't be read now: {error}") from error


def grant_command(user: str, namespace: str) -> str:
    """Write the kubectl command that lets a user read the Secrets of a namespace.

    Args:
        user: As the API server names it, `system:serviceaccount:<namespace>:<name>` for accounts.
        namespace: Where the Secrets are.
    """
    prefix = "system:serviceaccount:"
    who = f"--user={user}"
    if user.startswith(prefix):
        who = f"--serviceaccount={user.removeprefix(prefix)}"
    return (
        f"kubectl create rolebinding {READER_ROLE} --clusterrole={READER_ROLE} "
        f"{who} --namespace={namespace}"
    )


def _decoded(data: Json, ref: KeyRef, namespace: str) -> str:
    where = f"Secret {namespace}/{ref.name}"
    text = data.get(ref.key)
    if not isinstance(text, str):
        raise CredentialError(f"{where} has no key {ref.key}")
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        # Not chained: the error would carry the value into a traceback.
        raise CredentialError(f"key {ref.key} of {where} is no text in UTF-8") from None
