"""`drifttrigger check`: one evaluation with the operator's own code, in words.

From a file the trigger is taken as new, and no cluster is needed unless its source is a reference
or has credentials. By name it reads the live trigger and goes on from its status. Nothing is
written anywhere.
"""

import asyncio
import json
import sys
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from drifttrigger.api.errors import SpecError
from drifttrigger.api.reasons import SENTENCES
from drifttrigger.api.v1alpha1 import DriftTriggerStatus
from drifttrigger.cli.connection import Connection, connection_options
from drifttrigger.cli.manifests import read_trigger
from drifttrigger.cli.reach import Way, reach_options, reached
from drifttrigger.cli.rules import rules_of_body, uid_of
from drifttrigger.clients.clock import SystemClock
from drifttrigger.core.decide import Action, Decision, decide
from drifttrigger.core.episode import is_drifted
from drifttrigger.core.observation import Observation, observe
from drifttrigger.core.rules import Rules
from drifttrigger.core.status import to_json
from drifttrigger.core.times import format_instant, parse_instant

Json = dict[str, Any]
DRIFTED = 3


class Checked(msgspec.Struct, frozen=True):
    """One evaluation and what it came to."""

    rules: Rules
    observation: Observation
    decision: Decision
    drifted: bool


@click.command()
@click.argument("name", required=False)
@click.option("-f", "--filename", help="File with the trigger, - for standard input; no cluster.")
@click.option("--at", help="Evaluate at this RFC 3339 time instead of now.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
@connection_options
@reach_options
def check(
    *,
    connection: Connection,
    way: Way,
    name: str | None,
    filename: str | None,
    at: str | None,
    output: str,
) -> None:
    """Evaluate a trigger once: the live one called NAME, or one in a file (-f).

    Exit status: 0 not drifted, 1 no usable answer, 2 wrong usage, 3 drifted.
    """
    if filename is None and name is None:
        raise click.UsageError("name a live trigger, or a file with -f")
    tick = _tick(at)
    checked = asyncio.run(_check(name, filename, connection, way, tick))
    if output == "json":
        click.echo(json.dumps(as_json(checked), indent=2, ensure_ascii=False))
    else:
        for line in as_text(checked):
            click.echo(line)
    if checked.drifted:
        sys.exit(DRIFTED)
    if checked.decision.verdict is None and not checked.rules.suspend:
        sys.exit(1)  # no usable answer must not read as healthy


def _tick(at: str | None) -> datetime:
    if at is None:
        return SystemClock().now()
    try:
        return parse_instant(at)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--at") from error


async def _check(
    name: str | None, filename: str | None, connection: Connection, way: Way, tick: datetime
) -> Checked:
    if filename is not None:
        body = read_trigger(filename, name=name)
    else:
        async with connection.open() as cluster:
            body = await cluster.trigger(name or "")
    rules = rules_of_body(body)
    namespace = (body.get("metadata") or {}).get("namespace")
    async with reached(rules, namespace, connection, way) as server:
        answer = await server.ask(rules.query, tick - rules.query_offset)
    observation = observe(rules, answer, tick)
    try:
        status = msgspec.convert(body.get("status") or {}, DriftTriggerStatus)
    except msgspec.ValidationError as error:
        raise SpecError("status", str(error)) from error
    # The tick of a check is its own: it decides even where the operator has asked just before.
    status = msgspec.structs.replace(status, last_tick="")
    status, decision = decide(rules, status, observation, uid=uid_of(body))
    return Checked(rules, observation, decision, is_drifted(status))


def as_json(checked: Checked) -> Json:
    """Give the result for programs."""
    observation, decision, rules = checked.observation, checked.decision, checked.rules
    return {
        "trigger": rules.name,
        "namespace": rules.namespace,
        "time": format_instant(observation.tick.astimezone(UTC)),
        "outcome": observation.outcome.value,
        "score": observation.score if observation.outcome.value == "Score" else None,
        "value": observation.value,
        "threshold": rules.threshold,
        "comparison": rules.comparison.value,
        "decision": "Retrain" if decision.action is Action.RETRAIN else "Nothing",
        "reason": decision.reason.value,
        "message": decision.message,
        "drifted": checked.drifted,
        "series": to_json(observation.series) if observation.series is not None else None,
        "warnings": list(observation.warnings),
    }


def as_text(checked: Checked) -> list[str]:
    """Give the result for people."""
    observation, decision, rules = checked.observation, checked.decision, checked.rules
    lines = [f"Checking {rules.name}: {rules.query}"]
    if observation.outcome.value == "Score":
        lines.append(f"Latest drift score: {observation.value}, threshold: {rules.threshold:g}")
    else:
        lines.append(f"Warning: {observation.outcome.value}: {observation.message}")
    lines += [f"Warning: {warning}" for warning in observation.warnings]
    if decision.action is Action.RETRAIN:
        lines.append(f"Drift detected: {decision.message}. A retraining would be triggered.")
    elif checked.drifted:
        lines.append(f"Drifted ({decision.reason.value}): {decision.message}. Nothing would start.")
    elif observation.outcome.is_error or decision.verdict is None:
        sentence = SENTENCES[decision.reason]
        lines.append(f"No decision ({decision.reason.value}): {sentence}. Nothing would start.")
    else:
        lines.append(f"No retraining needed ({decision.reason.value}): {decision.message}.")
    return lines
