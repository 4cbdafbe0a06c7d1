"""Objects that a test puts where the operator reads them, and how often they were read."""

import base64
from typing import Any

from drifttrigger.api.errors import DriftTriggerError, MissingRight, NotFoundError
from drifttrigger.clients.kube import Resource

OPERATOR = "system:serviceaccount:drifttrigger-system:drifttrigger"


class Vault:
    """The reading side of an API server, in memory.

    Attributes:
        reads: Kind, namespace and name of each read, in order.
    """

    def __init__(self) -> None:
        self._objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self._error: DriftTriggerError | None = None
        self.reads: list[tuple[str, str, str]] = []

    def secret(self, name: str, *, namespace: str = "models", **values: str | bytes) -> None:
        """Put a Secret; in the name of a key _ stands for a dot."""
        coded = {
            key.replace("_", "."): base64.b64encode(
                value.encode() if isinstance(value, str) else value
            ).decode()
            for key, value in values.items()
        }
        self.put("Secret", namespace, name, {"data": coded})

    def put(self, kind: str, namespace: str, name: str, body: dict[str, Any]) -> None:
        """Put any object."""
        metadata = {"name": name, "namespace": namespace, "uid": name, "resourceVersion": "1"}
        self._objects[kind, namespace, name] = {"metadata": metadata, **body}

    def remove(self, kind: str, namespace: str, name: str) -> None:
        """Take an object away."""
        del self._objects[kind, namespace, name]

    def refuse(self) -> None:
        """Let us read nothing from now on."""
        message = f'403 secrets "x" is forbidden: User "{OPERATOR}" cannot get resource "secrets"'
        self._error = MissingRight(message, user=OPERATOR)

    def fail(self, error: DriftTriggerError | None) -> None:
        """Answer every read with an error, or properly again."""
        self._error = error

    async def get(self, resource: Resource, namespace: str, name: str) -> dict[str, Any]:
        """Read one object."""
        self.reads.append((resource.kind, namespace, name))
        if self._error is not None:
            raise self._error
        try:
            return self._objects[resource.kind, namespace, name]
        except KeyError:
            raise NotFoundError(f"{resource.plural} {name} not found") from None
