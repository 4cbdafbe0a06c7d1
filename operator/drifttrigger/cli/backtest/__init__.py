"""`drifttrigger backtest`: the operator's own decision, replayed over past scores.

```
inputs        what was asked for            observations  one named answer a tick
ticks         when it would have asked      replay        decide(), tick by tick
pulse         how often the score changes   sweep         other thresholds, budgets, incidents
result        all that was found            words, page   for people
past          scores from the server
```

Scores come from a range query or from a CSV file. Nothing is written anywhere but what is asked for
by --plot and --html.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec.structs import replace

from drifttrigger.api.errors import UsageError
from drifttrigger.api.v1alpha1 import LABEL_TRIGGER
from drifttrigger.cli.backtest import inputs
from drifttrigger.cli.backtest.observations import observations_of
from drifttrigger.cli.backtest.past import (
    fetched,
    period_of,
    progress_bar,
    said_by,
    span_of,
    until_of,
)
from drifttrigger.cli.backtest.pulse import refresh_period, tick_distance, warnings_about
from drifttrigger.cli.backtest.recorded import recorded_training
from drifttrigger.cli.backtest.replay import replay
from drifttrigger.cli.backtest.result import Result, as_json
from drifttrigger.cli.backtest.sweep import Past, automatic, suggest, sweep
from drifttrigger.cli.backtest.ticks import schedule_for, ticks_between
from drifttrigger.cli.backtest.words import show
from drifttrigger.cli.connection import Connection, connection_options
from drifttrigger.cli.manifests import read_trigger
from drifttrigger.cli.reach import Way, reach_options
from drifttrigger.cli.rules import rules_of_body, uid_of
from drifttrigger.clients.clock import SystemClock
from drifttrigger.clients.kube import RETRAININGS
from drifttrigger.core.observation import Observation
from drifttrigger.core.rules import Rules

_RECORDED = "recorded"
Json = dict[str, Any]
_File = click.Path(dir_okay=False, path_type=Path)


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The command line, as it was written."""

    name: str | None
    filename: str | None
    connection: Connection
    way: Way
    csv_file: Path | None
    since: str | None
    until: str | None
    step: str | None
    align: str | None
    training_time: str
    sweep_text: str | None
    budget: str | None
    incidents: Path | None
    output: str
    plot: Path | None
    html: Path | None


@click.command()
@click.argument("name", required=False)
@click.option("-f", "--filename", help="File with the trigger, - for standard input; no cluster.")
@connection_options
@reach_options
@click.option(
    "--csv",
    "csv_file",
    type=_File,
    help="Scores from a file (timestamp,drift_score; empty: no data) instead; a row is a tick.",
)
@click.option(
    "--since",
    help="Time, or a duration back from --until. Default: 30d, all of --csv.",
)
@click.option("--until", help="Time, or a duration back from now. Default: now, the end of --csv.")
@click.option("--step", help="Time between ticks. Default: the trigger's own ticks.")
@click.option("--align", help="Ticks fall on this time, or this long after multiples of the step.")
@click.option(
    "--training-time",
    default="0s",
    show_default=True,
    help="Assumed length of a retraining; `recorded`: the median of a live trigger's own.",
)
@click.option("--sweep", "sweep_text", help="Other θ: 0.1,0.2 or 0.1:0.5:0.05 or auto.")
@click.option("--budget", help="Suggest the θ that sees most within it, as in 2/30d (episodes).")
@click.option("--incidents", type=_File, help="Known bad times (CSV start,end) to hold each θ to.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table")
@click.option("--plot", type=_File, help="Write a picture (PNG).")
@click.option("--html", type=_File, help="Write a report: one page without outside assets.")
def backtest(**given: Any) -> None:
    """Replay past scores through a trigger: the live one called NAME, or one in a file (-f).

    Tells which retrainings would have been made, and why no others.
    """
    options = Options(**given)
    if options.filename is None and options.name is None:
        raise click.UsageError("name a live trigger, or a file with -f")
    _refuse_contradictions(options)
    result = _run(options)
    if options.plot is not None:
        _write(options.plot, _picture(result))
    if options.html is not None:
        from drifttrigger.cli.backtest.page import page_of

        _write(options.html, page_of(result).encode())
    if options.output == "json":
        click.echo(json.dumps(as_json(result), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        show(result)


def _refuse_contradictions(options: Options) -> None:
    if options.csv_file is None:
        return
    for option, value in (("--step", options.step), ("--align", options.align)):
        if value is not None:
            raise click.UsageError(f"{option} is for queries: every row of --csv is a tick")
    if options.way != Way():
        raise click.UsageError("--csv asks no server: leave out --address and --via-apiserver")


def _run(options: Options) -> Result:
    # What was written wrong is said before anything is asked.
    assumed = _assumed(options)
    limit = inputs.budget(options.budget) if options.budget is not None else None
    wanted = inputs.thresholds(options.sweep_text) if options.sweep_text is not None else None
    known = inputs.incidents(options.incidents) if options.incidents is not None else None
    body, recorded = _body(options)
    namespace = (body.get("metadata") or {}).get("namespace")
    training = assumed if assumed is not None else recorded_training(recorded)
    rules, uid = rules_of_body(body), uid_of(body)
    notes = []
    if rules.suspend:
        rules = replace(rules, suspend=False)
        notes.append("the trigger is suspended (spec.suspend); it is replayed as if it were not")
    if rules.dry_run:
        notes.append("dryRun is true: its retrainings start nothing and use no attempt")
    observations, origin, said = _past(options, rules, uid, namespace)
    past = Past(rules=rules, observations=observations, training=training, uid=uid)
    refresh = refresh_period(observations)
    rows = suggestion = None
    with progress_bar() as progress:
        if options.sweep_text is not None or known is not None:
            thresholds = wanted or automatic(past)
            task = progress.add_task("thresholds", total=len(thresholds))
            rows = sweep(past, thresholds, incidents=known, progress=lambda: progress.advance(task))
        if limit is not None:
            search = progress.add_task("budget", total=None)
            suggestion = suggest(past, limit, progress=lambda: progress.advance(search))
    return Result(
        replay=replay(rules, observations, training=training, uid=uid),
        observations=observations,
        origin=origin,
        training=training,
        refresh=refresh,
        warnings=[*notes, *said, *warnings_about(rules, refresh, tick_distance(observations))],
        rows=rows,
        suggestion=suggestion,
    )


def _assumed(options: Options) -> timedelta | None:
    """Return the assumed length of a retraining; None to look at those that were recorded."""
    if options.training_time != _RECORDED:
        return inputs.duration(options.training_time, "--training-time")
    if options.filename is not None:
        raise click.UsageError(f"--training-time {_RECORDED} is for a live trigger")
    return None


def _body(options: Options) -> tuple[Json, Sequence[Json]]:
    """Return the trigger, and what is recorded of its retrainings."""
    if options.filename is not None:
        return read_trigger(options.filename, name=options.name), ()
    return asyncio.run(_live(options.connection, options.name or ""))


async def _live(connection: Connection, name: str) -> tuple[Json, Sequence[Json]]:
    async with connection.open() as cluster:
        body = await cluster.trigger(name)
        label = f"{LABEL_TRIGGER}={name}"
        return body, await cluster.kube.list_all(RETRAININGS, cluster.namespace, labels=label)


def _past(
    options: Options, rules: Rules, uid: str, namespace: str | None
) -> tuple[Sequence[Observation], str, Sequence[str]]:
    """Return what was seen at each tick, where it comes from, and what the server warned of."""
    if options.csv_file is not None:
        return _from_file(options, options.csv_file, rules)
    span = span_of(options.since, options.until)
    align = inputs.alignment(options.align, "--align") if options.align is not None else None
    schedule = schedule_for(rules, step=period_of(options.step), align=align, uid=uid)
    ticks = ticks_between(schedule, span.since, span.until)
    history = asyncio.run(
        fetched(rules, ticks, namespace=namespace, connection=options.connection, way=options.way)
    )
    observations = observations_of(rules, history, ticks, offset=rules.query_offset)
    return observations, rules.query, said_by(history)


def _from_file(
    options: Options, path: Path, rules: Rules
) -> tuple[Sequence[Observation], str, Sequence[str]]:
    from drifttrigger.cli.analysis.history import read_csv

    history = read_csv(path)
    ticks = [time.to_pydatetime() for time in history.table["timestamp"]]
    if not ticks:
        raise UsageError(f"{path}: holds no score")
    until = until_of(options.until, now=SystemClock().now()) if options.until else ticks[-1]
    since = inputs.moment(options.since, "--since", before=until) if options.since else ticks[0]
    ticks = inputs.within(ticks, since, until)
    observations = observations_of(rules, history, ticks, offset=timedelta(0))
    return observations, path.name, ()


def _picture(result: Result) -> bytes:
    from drifttrigger.cli.analysis.backtest_plots import backtest_plot

    return backtest_plot(result)


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror}") from error
