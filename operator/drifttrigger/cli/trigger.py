"""`drifttrigger trigger`: ask for one retraining now, and wait for the operator's answer.

The request is an annotation with the present time; the operator answers in `status.lastManual`,
with the name of the Retraining or with what stands in the way.
"""

import asyncio
import sys
from datetime import datetime, timedelta

import click
import msgspec

from drifttrigger.api.errors import SpecError, UsageError
from drifttrigger.api.v1alpha1 import ANNOTATION_TRIGGER_NOW, LastManual
from drifttrigger.cli.completion import complete_names
from drifttrigger.cli.connection import Cluster, Connection, connection_options
from drifttrigger.cli.printing import printable
from drifttrigger.clients.clock import SystemClock
from drifttrigger.clients.kube import DRIFT_TRIGGERS, Json
from drifttrigger.core.times import format_precise, parse_duration, parse_instant

_LOOK_SECONDS = 0.3
_ACCEPTED, _REFUSED, _IGNORED = "Accepted: ", "Refused: ", "Ignored: "


@click.command()
@click.argument("name", shell_complete=complete_names)
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait for the answer.")
@click.option("--timeout", default="30s", show_default=True, help="How long to wait.")
@connection_options
def trigger(connection: Connection, *, name: str, wait: bool, timeout: str) -> None:
    """Ask for one retraining of the trigger NAME now, whatever its score.

    It ignores cooldown, attempts and suspend, and uses no attempt. It is refused while a retraining
    runs or a hold is in force. Exit status: 0 accepted, 1 refused or not answered.
    """
    try:
        patience = parse_duration(timeout, field="--timeout")
    except SpecError as error:
        raise click.UsageError(str(error)) from error
    answer = asyncio.run(_ask(connection, name, patience if wait else None))
    if answer is None:
        click.echo(f"Asked; `drifttrigger describe {name}` tells what became of it.")
        return
    if answer.result.startswith(_ACCEPTED):
        click.echo(f"Retraining {answer.result.removeprefix(_ACCEPTED)} begins.")
        return
    why = answer.result.removeprefix(_REFUSED).removeprefix(_IGNORED)
    click.echo(f"drifttrigger: refused: {printable(why)}", err=True)
    sys.exit(1)


async def _ask(connection: Connection, name: str, patience: timedelta | None) -> LastManual | None:
    async with connection.open() as cluster:
        body = await cluster.trigger(name)
        asked_at = request_time(_answer(body), now=SystemClock().now())
        metadata = {
            "uid": body["metadata"]["uid"],
            "annotations": {ANNOTATION_TRIGGER_NOW: format_precise(asked_at)},
        }
        await cluster.kube.patch(DRIFT_TRIGGERS, cluster.namespace, name, {"metadata": metadata})
        if patience is None:
            return None
        try:
            async with asyncio.timeout(patience.total_seconds()):
                return await _wait(cluster, name, asked_at)
        except TimeoutError as error:
            raise UsageError(
                f"no operator answered for {patience.total_seconds():g} s; is it running?"
                " (kubectl -n drifttrigger-system get pods) The request stays good for 10 minutes"
            ) from error


def request_time(last: LastManual | None, *, now: datetime) -> datetime:
    """Choose the time of a request: now, yet newer than the last one answered.

    The operator takes one that is not newer for answered; the clock that made the last one may be
    ahead of ours.
    """
    now = now.replace(microsecond=now.microsecond // 1000 * 1000)
    if last is None:
        return now
    return max(now, parse_instant(last.time) + timedelta(milliseconds=1))


async def _wait(cluster: Cluster, name: str, asked_at: datetime) -> LastManual:
    while True:
        last = _answer(await cluster.trigger(name))
        if last is not None and parse_instant(last.time) > asked_at:
            raise UsageError(f"another request came in between; its answer: {last.result}")
        if last is not None and is_answer(last, asked_at):
            return last
        await asyncio.sleep(_LOOK_SECONDS)


def is_answer(last: LastManual, asked_at: datetime) -> bool:
    """Whether what status remembers is the answer to this request.

    A request that the operator's clock finds too far away is remembered under the operator's time,
    and is named in the refusal.
    """
    return parse_instant(last.time) == asked_at or format_precise(asked_at) in last.result


def _answer(body: Json) -> LastManual | None:
    found = (body.get("status") or {}).get("lastManual")
    return None if found is None else msgspec.convert(found, LastManual)
