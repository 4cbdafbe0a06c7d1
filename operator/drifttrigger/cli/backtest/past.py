"""The past scores of a trigger, from the server it asks, for commands that look back.

A range query at the trigger's own ticks, in pieces that a server answers, over the way that `reach`
finds. pandas and the client library are imported when a query is really made.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click
import msgspec
from rich.console import Console
from rich.progress import Progress

from drifttrigger.api.servers import Tls
from drifttrigger.cli.backtest import inputs
from drifttrigger.cli.backtest.ticks import chunks, common_step
from drifttrigger.cli.connection import Connection
from drifttrigger.cli.reach import Way, reached
from drifttrigger.clients.clock import SystemClock
from drifttrigger.core.rules import Rules
from drifttrigger.core.times import parse_duration

if TYPE_CHECKING:
    from drifttrigger.cli.analysis.history import History

DEFAULT_SINCE = "30d"
_PROGRESS_FROM = 2


class Span(msgspec.Struct, frozen=True):
    """A stretch of time, both ends included."""

    since: datetime
    until: datetime


def span_of(since: str | None, until: str | None) -> Span:
    """Read --since and --until.

    Args:
        since: An instant, or a duration back from `until`; None for 30d.
        until: An instant, or a duration back from now; None for now.

    Raises:
        click.UsageError: One is neither, or they are the wrong way round.
    """
    end = until_of(until, now=SystemClock().now())
    start = inputs.moment(since or DEFAULT_SINCE, "--since", before=end)
    if start > end:
        raise click.UsageError("--since is after --until")
    return Span(start, end)


def until_of(until: str | None, *, now: datetime) -> datetime:
    """Read --until; None for now."""
    return inputs.moment(until, "--until", before=now) if until else now


def period_of(step: str | None) -> timedelta | None:
    """Read --step; None where it is not given."""
    return inputs.period(step, "--step") if step is not None else None


async def fetched(
    rules: Rules,
    ticks: Sequence[datetime],
    *,
    namespace: str | None,
    connection: Connection,
    way: Way,
) -> History:
    """Ask the server of a trigger for what it held at each tick, less spec.queryOffset.

    Args:
        rules: The trigger's rules.
        ticks: By time.
        namespace: The trigger's; None for that of the flags.
        connection: Which cluster, where one is needed.
        way: How to reach the server.

    Raises:
        UsageError: There is no usable answer; says what the server, or the way to it, said.
    """
    from drifttrigger.cli.analysis.history import MetricsServer, fetch_history, session_with

    step = common_step(ticks)
    shift = rules.query_offset
    pieces = [(start - shift, end - shift) for start, end in chunks(ticks, step)]
    async with reached(rules, namespace, connection, way) as found:
        server, material = found.server, await found.material()
    session = session_with(
        headers=material.headers,
        parameters=[(p.name, p.value) for p in server.query_parameters],
        tls=material.tls,
        server_name=(server.tls or Tls()).server_name,
    )
    timeout = parse_duration(server.timeout, field="timeout").total_seconds()
    with session, progress_bar(hidden=len(pieces) < _PROGRESS_FROM) as progress:
        task = progress.add_task("scores", total=len(pieces))
        return fetch_history(
            MetricsServer(server.address, session, timeout),
            rules.query,
            pieces,
            step,
            progress=lambda: progress.advance(task),
        )


def said_by(history: History) -> list[str]:
    """Tell what the server warned of."""
    return [f"the server warned: {warning}" for warning in history.warnings]


def progress_bar(*, hidden: bool = False) -> Progress:
    """Make a bar on stderr that is gone afterwards; none where stderr is no terminal."""
    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=hidden or not console.is_terminal)
