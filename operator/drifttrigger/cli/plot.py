"""`drifttrigger plot`: the recent scores of a trigger against θ, as a picture or in the terminal.

It asks the trigger's own server at the trigger's own ticks, as `backtest` does, and decides
nothing. A long history is asked at every so many ticks, and the words say so.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click
import msgspec

from drifttrigger.api.errors import UsageError
from drifttrigger.api.reasons import Outcome
from drifttrigger.cli.backtest.observations import observations_of
from drifttrigger.cli.backtest.past import Span, fetched, period_of, said_by, span_of
from drifttrigger.cli.backtest.ticks import schedule_for, ticks_between
from drifttrigger.cli.chart import chart_of
from drifttrigger.cli.completion import complete_names
from drifttrigger.cli.connection import Connection, connection_options
from drifttrigger.cli.manifests import read_trigger
from drifttrigger.cli.printing import console, printable
from drifttrigger.cli.reach import Way, reach_options
from drifttrigger.cli.rules import rules_of_body, uid_of
from drifttrigger.core.decide import SYMBOLS
from drifttrigger.core.observation import Observation, format_value
from drifttrigger.core.rules import Rules, breaches
from drifttrigger.core.times import format_duration, format_instant

_MOST_POINTS = 100_000
_FORMS = {".png": "png", ".svg": "svg"}
Json = dict[str, Any]


class Asked(msgspec.Struct, frozen=True):
    """When to look, and what a person should know of it."""

    ticks: Sequence[datetime]
    note: str = ""


class Seen(msgspec.Struct, frozen=True):
    """What was there at each tick, and what a person should know of it."""

    seen: Sequence[Observation]
    notes: Sequence[str]
    is_thinned: bool


class _Past(msgspec.Struct, frozen=True, kw_only=True):
    """Where the scores of a trigger come from."""

    body: Json
    rules: Rules
    connection: Connection
    way: Way

    def look(self, span: Span, *, step: timedelta | None) -> Seen:
        """Ask for what was there; see `asked_ticks`."""
        rules = self.rules
        asked = asked_ticks(rules, span, step=step, uid=uid_of(self.body))
        namespace = (self.body.get("metadata") or {}).get("namespace")
        history = asyncio.run(
            fetched(
                rules, asked.ticks, namespace=namespace, connection=self.connection, way=self.way
            )
        )
        seen = observations_of(rules, history, asked.ticks, offset=rules.query_offset)
        return Seen(seen, [asked.note, *said_by(history)], bool(asked.note))

    def look_closer(self, found: Seen, span: Span, *, step: timedelta | None) -> Seen:
        """Look again at more ticks, where scores begin so late that all of them can be shown."""
        # Scores that are younger than the last of these ticks have no place among them yet.
        first = next((n for n, o in enumerate(found.seen) if is_drawn(o)), len(found.seen))
        if not found.is_thinned or not first:
            return found
        # Two back: between the last of them and now there may be no tick of the trigger's own.
        return self.look(Span(found.seen[max(first - 2, 0)].tick, span.until), step=step)


@click.command()
@click.argument("name", required=False, shell_complete=complete_names)
@click.option("-f", "--filename", help="File with the trigger, - for standard input; no cluster.")
@connection_options
@reach_options
@click.option(
    "--since", help="Time, or a duration back from --until. Default: 30d, or where scores begin."
)
@click.option("--until", help="Time, or a duration back from now. Default: now.")
@click.option("--step", help="Time between two scores. Default: the trigger's own ticks.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a picture (.png or .svg) instead of drawing in the terminal.",
)
def plot(
    *,
    connection: Connection,
    way: Way,
    name: str | None,
    filename: str | None,
    since: str | None,
    until: str | None,
    step: str | None,
    output: Path | None,
) -> None:
    """Draw the recent scores of a trigger: the live one called NAME, or one in a file (-f)."""
    if filename is None and name is None:
        raise click.UsageError("name a live trigger, or a file with -f")
    form = _form_of(output) if output is not None else ""
    span, distance = span_of(since, until), period_of(step)
    body = asyncio.run(_body(filename, name, connection))
    past = _Past(body=body, rules=rules_of_body(body), connection=connection, way=way)
    found = past.look(span, step=distance)
    if since is None:
        found = past.look_closer(found, span, step=distance)
    rules, seen = past.rules, found.seen
    shown = seen if since is not None else without_prelude(seen)
    if not any(is_drawn(observation) for observation in seen):
        raise UsageError(_nothing(rules, seen, span))
    if output is None:
        out = console()
        out.print(chart_of(rules, shown, width=out.width), soft_wrap=True)
    else:
        _draw(output, form, rules, shown)
        click.echo(f"Wrote {output}")
    for line in words(rules, shown, notes=found.notes):
        click.echo(printable(line))


def _form_of(path: Path) -> str:
    form = _FORMS.get(path.suffix.lower())
    if form is None:
        raise click.BadParameter(f"{path} must end in .png or .svg", param_hint="--output")
    return form


async def _body(filename: str | None, name: str | None, connection: Connection) -> Json:
    if filename is not None:
        return read_trigger(filename, name=name)
    async with connection.open() as cluster:
        return await cluster.trigger(name or "")


def asked_ticks(rules: Rules, span: Span, *, step: timedelta | None, uid: str) -> Asked:
    """Choose the ticks: all of them where a picture can show so many, else every so many.

    Args:
        rules: The trigger's rules.
        span: From when to when.
        step: As given with --step; None for the trigger's own ticks.
        uid: Of a live trigger, which sets the phase of its ticks.

    Raises:
        UsageError: None lies in the span, or --step gives too many.
    """
    schedule = schedule_for(rules, step=step, align=None, uid=uid)
    wait = schedule.shortest_wait()
    count, note = (span.until - span.since) / wait, ""
    if step is None and count > _MOST_POINTS:
        wait *= math.ceil(count / _MOST_POINTS)
        schedule = schedule_for(rules, step=wait, align=None, uid=uid)
        note = f"only a score every {format_duration(wait)} is shown; a later --since shows all"
    elif count > _MOST_POINTS:
        raise UsageError(
            f"--step {format_duration(wait)} is more than {_MOST_POINTS:,} scores; set a larger"
            " --step, or a later --since"
        )
    ticks = ticks_between(schedule, span.since, span.until)
    if not ticks:
        raise UsageError(
            f"no tick of {rules.name} lies between {format_instant(span.since)} and"
            f" {format_instant(span.until)}; set an earlier --since, or a --step"
        )
    return Asked(ticks, note)


def is_drawn(observation: Observation) -> bool:
    """Whether there is a number to draw."""
    score = observation.score
    return observation.outcome is Outcome.SCORE and score is not None and math.isfinite(score)


def without_prelude(observations: Sequence[Observation]) -> Sequence[Observation]:
    """Leave out the time before the first score, which is mostly before the trigger was made."""
    first = next((n for n, seen in enumerate(observations) if is_drawn(seen)), 0)
    return observations[first:]


def _nothing(rules: Rules, seen: Sequence[Observation], span: Span) -> str:
    """Say why there is nothing to draw; an answer that is no number tells more than no data."""
    telling = next((o for o in seen if o.outcome is not Outcome.NO_DATA), seen[-1])
    why = f"{telling.outcome.value}: {telling.message}" if telling.message else "no data"
    return (
        f"{rules.name} has no score between {format_instant(span.since)} and"
        f" {format_instant(span.until)} ({why})"
    )


def _draw(path: Path, form: str, rules: Rules, observations: Sequence[Observation]) -> None:
    from drifttrigger.cli.analysis.score_plots import history_plot

    try:
        path.write_bytes(history_plot(rules, observations, form=form))
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror}") from error


def words(
    rules: Rules, observations: Sequence[Observation], *, notes: Sequence[str] = ()
) -> list[str]:
    """Say what the picture shows."""
    drawn = [(o.tick, o.score) for o in observations if is_drawn(o) and o.score is not None]
    beyond = sum(breaches(score, rules.comparison, rules.threshold) for _, score in drawn)
    at, last = drawn[-1]
    bounds = f"θ: score {SYMBOLS[rules.comparison]} {format_value(rules.threshold)}"
    if rules.clear_threshold != rules.threshold:
        bounds += f", clear threshold {format_value(rules.clear_threshold)}"
    first, end = observations[0].tick, observations[-1].tick
    lines = [
        f"{rules.name}: {rules.query}",
        f"{len(drawn)} scores from {format_instant(first)} to {format_instant(end)}; {bounds}",
        f"{beyond} of them breach; the last is {last:.6g} ({format_instant(at)})",
    ]
    missing = len(observations) - len(drawn)
    if missing:
        lines.append(f"{missing} of {len(observations)} ticks have no score")
    return [*lines, *(f"Note: {note}" for note in notes if note)]
