"""`drifttrigger describe`: what a trigger is, how it stands, and its story in time order.

It reads the trigger, its Retrainings, their Jobs and the Events, and nothing else. What the person
may not read is left out, and the text says so.
"""

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from rich.text import Text

from drifttrigger.api.errors import ForbiddenError, MissingRight, SpecError, UsageError
from drifttrigger.api.reasons import ConditionType
from drifttrigger.api.v1alpha1 import (
    ANNOTATION_HOLD,
    LABEL_TRIGGER,
    DriftTriggerSpec,
    DriftTriggerStatus,
    RetrainingSpec,
    RetrainingStatus,
)
from drifttrigger.cli.completion import complete_names
from drifttrigger.cli.connection import Cluster, Connection, connection_options
from drifttrigger.cli.page import page_of
from drifttrigger.cli.printing import STYLES, as_document, console, printable
from drifttrigger.cli.standing import Standing, facts_of
from drifttrigger.cli.story import (
    Chapter,
    EventSeen,
    JobSeen,
    Record,
    Sources,
    points_of,
    shown_time,
    story_of,
)
from drifttrigger.clients.clock import SystemClock
from drifttrigger.clients.kube import EVENTS, JOBS, RETRAININGS, Json
from drifttrigger.clients.viewing import read
from drifttrigger.core.manual import hold_of
from drifttrigger.core.times import format_instant, parse_instant

ValueT = TypeVar("ValueT")
_OURS = [("fieldSelector", "reportingComponent=drifttrigger"), ("limit", "5000")]


@click.command()
@click.argument("name", shell_complete=complete_names)
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write one self-contained page to this file instead.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json", "yaml"]),
    default="text",
    show_default=True,
)
@connection_options
def describe(connection: Connection, *, name: str, html: Path | None, output: str) -> None:
    """Tell how the trigger NAME stands, and its story.

    Evaluation, decision, Retraining, Job, outcome and the score after it, episode by episode.
    """
    if html is not None and output != "text":
        raise click.UsageError("--html and --output exclude each other")
    standing, sources, notes = asyncio.run(_gather(connection, name))
    chapters = story_of(sources)
    if html is not None:
        page = page_of(standing, chapters, points_of(sources), notes=notes)
        _write(html, page)
        click.echo(f"Wrote {html}")
    elif output == "text":
        _tell(standing, chapters, notes)
    else:
        click.echo(as_document(_as_json(standing, chapters, notes), output))


def _write(file: Path, page: str) -> None:
    try:
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from error


async def _gather(connection: Connection, name: str) -> tuple[Standing, Sources, list[str]]:
    """Read everything; what the person may not read becomes a note."""
    notes: list[str] = []
    async with connection.open() as cluster:
        body = await cluster.trigger(name)
        label, namespace = f"{LABEL_TRIGGER}={name}", cluster.namespace
        retrainings = await _if_allowed(
            cluster.kube.list_all(RETRAININGS, namespace, labels=label), "Retrainings", notes
        )
        jobs = await _if_allowed(
            cluster.kube.list_all(JOBS, namespace, labels=label), "Jobs", notes
        )
        events = await _if_allowed(_events(cluster), "Events", notes)
    standing = _standing(body)
    records = tuple(_record(item) for item in retrainings)
    about = {standing.uid, *(record.uid for record in records)}
    sources = Sources(
        threshold=standing.spec.threshold,
        comparison=standing.spec.comparison,
        status=standing.status,
        records=records,
        jobs=tuple(_job(item) for item in jobs),
        events=tuple(_event(e) for e in events if e["involvedObject"].get("uid") in about),
    )
    return standing, sources, notes


async def _if_allowed(reading: Awaitable[list[Json]], what: str, notes: list[str]) -> list[Json]:
    try:
        return await reading
    except (MissingRight, ForbiddenError) as error:
        notes.append(f"{what} are not shown: {error}")
        return []


async def _events(cluster: Cluster) -> list[Json]:
    path = EVENTS.path(cluster.namespace)
    items: list[Json] = (await read(cluster.kube, path, query=_OURS)).get("items") or []
    return items


def _standing(body: Json) -> Standing:
    metadata = body["metadata"]
    annotation = (metadata.get("annotations") or {}).get(ANNOTATION_HOLD)
    now = SystemClock().now()
    return Standing(
        name=metadata["name"],
        namespace=metadata["namespace"],
        uid=metadata["uid"],
        spec=_convert(body.get("spec") or {}, DriftTriggerSpec, "spec"),
        status=_convert(body.get("status") or {}, DriftTriggerStatus, "status"),
        hold=hold_of(annotation, now=now),
        now=now,
    )


def _record(body: Json) -> Record:
    metadata = body["metadata"]
    return Record(
        name=metadata["name"],
        uid=metadata["uid"],
        created_at=parse_instant(metadata["creationTimestamp"]),
        spec=_convert(body.get("spec") or {}, RetrainingSpec, f"{metadata['name']}: spec"),
        status=_convert(body.get("status") or {}, RetrainingStatus, f"{metadata['name']}: status"),
    )


def _convert(value: Any, kind: type[ValueT], field: str) -> ValueT:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise SpecError(field, f"{error}; this drifttrigger may be older than the cluster") from (
            error
        )


def _job(body: Json) -> JobSeen:
    metadata = body["metadata"]
    return JobSeen(
        name=metadata["name"],
        created_at=parse_instant(metadata["creationTimestamp"]),
        failed_pods=int((body.get("status") or {}).get("failed") or 0),
    )


def _event(body: Json) -> EventSeen:
    at = body.get("lastTimestamp") or body.get("eventTime") or body["metadata"]["creationTimestamp"]
    return EventSeen(
        at=parse_instant(at),
        about=str(body["involvedObject"].get("name") or ""),
        is_warning=body.get("type") == "Warning",
        reason=str(body.get("reason") or ""),
        message=str(body.get("message") or ""),
    )


def _tell(standing: Standing, chapters: tuple[Chapter, ...], notes: list[str]) -> None:
    out = console()
    facts = facts_of(standing)
    width = max(len(fact.label) for fact in facts) + 2
    for fact in facts:
        # Appended, since the style of a Text is the base of all that is appended to it.
        label = Text().append(f"{fact.label + ':':<{width}}", style=STYLES["dim"])
        out.print(label.append(printable(fact.text), style=STYLES[fact.tone]))
    if not chapters:
        out.print("\nNo Retraining yet.")
    for chapter in chapters:
        out.print()
        out.print(Text(printable(chapter.title), style="bold"))
        for moment in chapter.moments:
            when = shown_time(moment.at) if moment.is_timed else ""
            line = Text().append(f"  {when:<19}  ", style=STYLES["dim"])
            line.append(f"{printable(moment.what):<20} ", style=STYLES[moment.tone] or "bold")
            out.print(line.append(printable(moment.text), style=""))
    for note in notes:
        out.print(Text(f"\nNote: {printable(note)}", style=STYLES["warn"]))


def _as_json(standing: Standing, chapters: tuple[Chapter, ...], notes: list[str]) -> Json:
    ready = [c.type for c in standing.status.conditions if c.status == "True"]
    return {
        "name": standing.name,
        "namespace": standing.namespace,
        "drifted": ConditionType.DRIFTED in ready,
        "facts": {fact.label: fact.text for fact in facts_of(standing)},
        "chapters": [
            {
                "title": chapter.title,
                "moments": [
                    {
                        "time": format_instant(m.at) if m.is_timed else None,
                        "what": m.what,
                        "text": m.text,
                    }
                    for m in chapter.moments
                ],
            }
            for chapter in chapters
        ],
        "notes": notes,
    }
