"""`drifttrigger hold` and `release`: no retrainings of a trigger for a while, and again.

A hold is an annotation, so that GitOps does not fight it; the operator goes on evaluating and
recording, and starts nothing. A Job that runs is left alone.
"""

import asyncio
from datetime import datetime

import click

from drifttrigger.api.errors import SpecError, UsageError
from drifttrigger.api.v1alpha1 import ANNOTATION_HOLD
from drifttrigger.cli.completion import complete_names
from drifttrigger.cli.connection import Cluster, Connection, connection_options
from drifttrigger.clients.clock import SystemClock
from drifttrigger.clients.kube import DRIFT_TRIGGERS
from drifttrigger.core.manual import FOREVER, Hold, hold_of
from drifttrigger.core.observation import clean
from drifttrigger.core.times import format_instant, parse_duration, parse_instant


@click.command()
@click.argument("name", shell_complete=complete_names)
@click.option("--until", help="End of the hold, RFC 3339, as 2026-01-31T12:00:00Z.")
@click.option("--for", "lasting", help="Length of the hold, as 90m, 8h or 2w.")
@click.option("--reason", required=True, help="Why, for whoever wonders.")
@connection_options
def hold(
    connection: Connection, *, name: str, until: str | None, lasting: str | None, reason: str
) -> None:
    """Start no retrainings of the trigger NAME until released, or for a while.

    Without --until and --for it holds until `drifttrigger release NAME`.
    """
    now = SystemClock().now().replace(microsecond=0)
    end = _end(until, lasting, now=now)
    words = clean(reason)
    if not words:
        raise click.BadParameter("say why, in a few words", param_hint="--reason")
    annotation = f"{'forever' if end == FOREVER else format_instant(end)} {words}"
    before = asyncio.run(_annotate(connection, name, annotation, now=now))
    if before is not None:
        click.echo(f"It was {before.text()}.")
    click.echo(f"DriftTrigger {name} is {Hold(end, words).text()}")


@click.command()
@click.argument("name", shell_complete=complete_names)
@connection_options
def release(connection: Connection, *, name: str) -> None:
    """End the hold on the trigger NAME."""
    before = asyncio.run(_annotate(connection, name, None, now=SystemClock().now()))
    if before is None:
        click.echo(f"DriftTrigger {name} was not held.")
        return
    click.echo(f"DriftTrigger {name} is released. It was {before.text()}")


def _end(until: str | None, lasting: str | None, *, now: datetime) -> datetime:
    if until is not None and lasting is not None:
        raise click.UsageError("give --until or --for, not both")
    if lasting is not None:
        return _after(lasting, now=now)
    if until is None:
        return FOREVER
    try:
        end = parse_instant(until)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--until") from error
    if end <= now:
        raise click.BadParameter(f"{until} has passed", param_hint="--until")
    return end


def _after(lasting: str, *, now: datetime) -> datetime:
    try:
        length = parse_duration(lasting, field="--for")
    except SpecError as error:
        raise click.UsageError(str(error)) from error
    if not length:
        raise click.BadParameter("must be longer than 0s", param_hint="--for")
    try:
        return now + length
    except OverflowError as error:
        raise click.BadParameter(f"{lasting} is too long", param_hint="--for") from error


async def _annotate(
    connection: Connection, name: str, annotation: str | None, *, now: datetime
) -> Hold | None:
    """Set or remove the annotation; return the hold that was in force."""
    async with connection.open() as cluster:
        body = await cluster.trigger(name)
        old = (body["metadata"].get("annotations") or {}).get(ANNOTATION_HOLD)
        if annotation is not None or old is not None:
            await _patch(cluster, name, annotation, uid=body["metadata"]["uid"])
        return hold_of(old, now=now)


async def _patch(cluster: Cluster, name: str, annotation: str | None, *, uid: str) -> None:
    metadata = {"uid": uid, "annotations": {ANNOTATION_HOLD: annotation}}
    patched = await cluster.kube.patch(
        DRIFT_TRIGGERS, cluster.namespace, name, {"metadata": metadata}
    )
    stored = (patched["metadata"].get("annotations") or {}).get(ANNOTATION_HOLD)
    if stored != annotation:
        raise UsageError(f"something else set the hold of {name} to {stored!r}; look who does")
