"""What the API server was asked: by the operator, from its audit log, and by everybody in all."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from drifttrigger.core.times import parse_instant
from drifttrigger.local.rest import Rest

_TOTAL = "apiserver_request_total{"
_OURS = 'group="drifttrigger.dev"'


@dataclass(frozen=True, slots=True)
class Made:
    """An object that the operator created."""

    resource: str
    namespace: str
    name: str
    at: datetime


@dataclass(frozen=True, slots=True)
class AuditLog:
    """The API server's record of the operator's requests."""

    path: Path

    def position(self) -> int:
        """Return where the next event will begin."""
        return self.path.stat().st_size if self.path.exists() else 0

    def events(self, start: int, end: int | None = None) -> Iterator[dict[str, Any]]:
        """Read the events between two positions; a line still being written is left out."""
        if not self.path.exists():
            return
        with self.path.open("rb") as lines:
            lines.seek(start)
            position = start
            for line in lines:
                position += len(line)
                if not line.endswith(b"\n") or (end is not None and position > end):
                    return
                yield json.loads(line)

    def requests(self, start: int, end: int | None = None) -> Counter[str]:
        """Count requests by verb and resource; a watch counts when it ends."""
        return Counter(_what(event) for event in self.events(start, end))

    def created(self, start: int) -> list[Made]:
        """List the Retrainings and Jobs that were created since, rehearsals left out."""
        return [
            Made(
                resource=event["objectRef"]["resource"],
                namespace=event["objectRef"]["namespace"],
                name=event["objectRef"]["name"],
                at=parse_instant(event["stageTimestamp"]),
            )
            for event in self.events(start)
            if event["verb"] == "create"
            and event.get("objectRef", {}).get("resource") in ("retrainings", "jobs")
            and event.get("responseStatus", {}).get("code") == 201
            and "dryRun" not in event["requestURI"]
        ]


def _what(event: dict[str, Any]) -> str:
    reference = event.get("objectRef", {})
    resource = reference.get("resource", event["requestURI"].partition("?")[0])
    subresource = reference.get("subresource")
    return f"{event['verb']} {resource}" + (f"/{subresource}" if subresource else "")


def server_total(api: Rest) -> float:
    """Read from the API server's metrics how often anybody asked for our resources.

    It has no label for who asked; only we ask for these steadily.
    """
    lines = api.get("/metrics").body.decode().splitlines()
    ours = (line for line in lines if line.startswith(_TOTAL) and _OURS in line)
    return sum(float(line.rpartition(" ")[2]) for line in ours if 'verb="WATCH"' not in line)
