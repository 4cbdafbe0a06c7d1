"""`drifttrigger check`: one evaluation with the operator's own code, in words.

From a file it needs no cluster: the trigger is taken as new. By name it reads the live trigger and
goes on from its status. Nothing is written anywhere.
"""

import asyncio
import difflib
import json
import sys
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from drifttrigger.api.errors import NotFoundError, SpecError, UsageError
from drifttrigger.api.reasons import SENTENCES
from drifttrigger.api.v1alpha1 import DriftTriggerSpec, DriftTriggerStatus
from drifttrigger.cli.manifests import read_trigger
from drifttrigger.clients.clock import SystemClock
from drifttrigger.clients.http import HttpClient
from drifttrigger.clients.kube import DRIFT_TRIGGERS, KubernetesApi
from drifttrigger.core.decide import Action, Decision, decide
from drifttrigger.core.episode import is_drifted
from drifttrigger.core.observation import Observation, observe
from drifttrigger.core.rules import Rules, digest, rules_of
from drifttrigger.core.status import to_json
from drifttrigger.core.times import format_instant, parse_instant
from drifttrigger.sources.base import Question
from drifttrigger.sources.prometheus import PrometheusSource

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
@click.option("-n", "--namespace", default="default", show_default=True, help="Of a live trigger.")
@click.option("--kubeconfig", help="Path; without it KUBECONFIG, then the default one.")
@click.option("--context", help="Context of the kubeconfig.")
@click.option("--address", help="Ask this server instead of the one that the trigger names.")
@click.option("--at", help="Evaluate at this RFC 3339 time instead of now.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
def check(
    name: str | None,
    filename: str | None,
    namespace: str,
    kubeconfig: str | None,
    context: str | None,
    address: str | None,
    at: str | None,
    output: str,
) -> None:
    """Evaluate a trigger once: the live one called NAME, or one in a file (-f).

    Exit status: 0 not drifted, 1 no usable answer, 2 wrong usage, 3 drifted.
    """
    if filename is None and name is None:
        raise click.UsageError("name a live trigger, or a file with -f")
    if filename is not None:
        body = read_trigger(filename, name=name)
    else:
        body = asyncio.run(_live(name or "", namespace, kubeconfig, context))
    tick = _tick(at)
    checked = asyncio.run(_check(_rules(body), body, address, tick))
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


async def _live(name: str, namespace: str, kubeconfig: str | None, context: str | None) -> Json:
    kube = await KubernetesApi.connect(kubeconfig=kubeconfig, context=context)
    try:
        return await kube.get(DRIFT_TRIGGERS, namespace, name)
    except NotFoundError as error:
        raise UsageError(f"there is no DriftTrigger {name} in namespace {namespace}") from error
    finally:
        await kube.close()


def _rules(body: Json) -> Rules:
    metadata, spec = body.get("metadata") or {}, body.get("spec") or {}
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(name, str) or not name:
        raise SpecError("metadata.name", "is missing")
    if not isinstance(spec, dict):
        raise SpecError("spec", "is no object")
    _refuse_unknown(spec, DriftTriggerSpec, known={"jobTemplate"}, path="spec")
    try:
        decoded = msgspec.convert(spec, DriftTriggerSpec)
        template = digest(spec.get("jobTemplate"))
    except (msgspec.ValidationError, TypeError, RecursionError) as error:
        raise SpecError("spec", str(error).replace("`$.", "`")) from error
    generation = metadata.get("generation")
    return rules_of(
        decoded,
        name=name,
        namespace=str(metadata.get("namespace") or "default"),
        uid=str(metadata.get("uid") or ""),
        generation=generation if isinstance(generation, int) else 0,
        template=template,
    )


def _refuse_unknown(value: Json, kind: type[msgspec.Struct], *, known: set[str], path: str) -> None:
    """Refuse misspelt fields, as the API server does under strict validation."""
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
    for name, inner in value.items():
        if name not in fields and name not in known:
            close = difflib.get_close_matches(name, [*fields, *known], n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise SpecError(f"{path}.{name}", f"is no field{hint}")
        nested = fields.get(name)
        if (
            isinstance(inner, dict)
            and isinstance(nested, type)
            and issubclass(nested, msgspec.Struct)
        ):
            _refuse_unknown(inner, nested, known=set(), path=f"{path}.{name}")


async def _check(rules: Rules, body: Json, address: str | None, tick: datetime) -> Checked:
    http = HttpClient()
    try:
        answer = await PrometheusSource(http).ask(
            Question(
                address=address or rules.server.address,
                query=rules.query,
                at=tick - rules.query_offset,
                timeout=rules.timeout,
            )
        )
    finally:
        await http.close()
    observation = observe(rules, answer, tick)
    try:
        status = msgspec.convert(body.get("status") or {}, DriftTriggerStatus)
    except msgspec.ValidationError as error:
        raise SpecError("status", str(error)) from error
    # The tick of a check is its own: it decides even where the operator has asked just before.
    status = msgspec.structs.replace(status, last_tick="")
    uid = str((body.get("metadata") or {}).get("uid") or "")
    status, decision = decide(rules, status, observation, uid=uid)
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
