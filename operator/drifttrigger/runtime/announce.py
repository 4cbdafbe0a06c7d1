"""Telling people: one Event and one log line per transition, one audit line per Retraining's.

Nothing here decides anything. Events are best effort and bounded; log lines carry the keys
namespace, object, generation, reason, score, threshold; the audit line goes to the logger
`drifttrigger.audit` from the first day.
"""

import asyncio
import logging
from datetime import datetime
from typing import Any

from drifttrigger.api.errors import DriftTriggerError
from drifttrigger.api.reasons import ConditionType, Outcome, Reason
from drifttrigger.api.servers import SourceKind, SourceRef
from drifttrigger.api.v1alpha1 import API_VERSION, Condition, Pending
from drifttrigger.clients.clock import Clock
from drifttrigger.clients.kube import EVENTS, KubeApi
from drifttrigger.core.conditions import find
from drifttrigger.core.decide import Decision
from drifttrigger.core.manual import Hold
from drifttrigger.core.naming import uid_hash
from drifttrigger.core.observation import Observation, clean
from drifttrigger.core.rules import Rules
from drifttrigger.core.status import to_json
from drifttrigger.core.times import format_instant
from drifttrigger.runtime.records import Record, told_of
from drifttrigger.runtime.views import RetrainingView, TriggerView
from drifttrigger.sources.references import SourceView

_LOG = logging.getLogger("drifttrigger.transitions")
_AUDIT = logging.getLogger("drifttrigger.audit")
_COMPONENT = "drifttrigger"
_QUEUE = 200
_PER_SECOND = 5.0
WARNINGS = frozenset(
    {
        Reason.SPEC_INVALID,
        Reason.JOB_REFUSED,
        Reason.NAME_TAKEN,
        Reason.CANNOT_RECORD,
        Reason.ATTEMPTS_EXHAUSTED,
        Reason.JOB_FAILED,
        Reason.JOB_DELETED,
        Reason.JOB_NOT_CREATED,
        Reason.JOB_PENDING,
        Reason.MANUAL_REFUSED,
        Reason.HOLD_UNREADABLE,
        Reason.STRAY_JOB_DELETED,
        Reason.SOURCE_ERROR,
        *(Reason(outcome.value) for outcome in Outcome if outcome is not Outcome.SCORE),
    }
)
_CLUSTERS_EVENTS = "default"
"""Where Events of objects without a namespace are recorded."""
_READY = ConditionType.READY
_OUTAGES = frozenset({Reason.UNREACHABLE, Reason.UNAUTHORIZED})


def _is_calm(ready: Condition | None, drifted: Condition | None) -> bool:
    """Whether all is well: nothing that a person has to be told after a restart or an outage."""
    is_ready = ready is not None and ready.status == "True"
    return is_ready and drifted is not None and drifted.status == "False"


def server_of(view: TriggerView, rules: Rules) -> tuple[str, str]:
    """Say whom a trigger asks: namespace (empty where it is the same for all) and name."""
    source = rules.source
    is_own = isinstance(source, SourceRef) and source.kind is SourceKind.METRICS_SOURCE
    return (view.namespace if is_own else "", rules.source_name)


class Announcer:
    """Writes Events, log lines and audit lines.

    Args:
        kube: The API server.
        clock: The clock.
        instance: Name of this process, for the Events.
    """

    def __init__(self, kube: KubeApi, clock: Clock, *, instance: str) -> None:
        self._kube = kube
        self._clock = clock
        self._instance = instance
        self._queue: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue(_QUEUE)
        self._sequence = 0
        self._outages: set[tuple[str, str]] = set()
        self.events_dropped = 0

    async def run(self) -> None:
        """Send Events, a few a second, until cancelled."""
        while True:
            namespace, body = await self._queue.get()
            try:
                await self._kube.create(EVENTS, namespace, body)
            except DriftTriggerError as error:
                _LOG.debug("an Event was not recorded: %s", error)
            except Exception:
                # The edge of one Event: what is wrong with it must not stop the others.
                _LOG.exception("an Event was not recorded")
            await asyncio.sleep(1 / _PER_SECOND)

    # Detection.

    def evaluated(self, record: Record, observation: Observation, decision: Decision) -> None:
        """Tell a transition of a trigger, if this evaluation made one."""
        self.unchanged(record, observation, decision)
        self._transition(record, score=observation.score)

    def unchanged(self, record: Record, observation: Observation, decision: Decision) -> None:
        """Log an evaluation, for whoever looks closely."""
        if _LOG.isEnabledFor(logging.DEBUG):
            keys = {"reason": decision.reason, "score": observation.score}
            _LOG.debug("evaluated", extra=self._keys(record.view) | keys)

    def conditions(self, record: Record) -> None:
        """Tell a transition that came without an evaluation."""
        self._transition(record, score=None)

    def _transition(self, record: Record, *, score: float | None) -> None:
        view = record.view
        ready = find(view.status.conditions, ConditionType.READY)
        drifted = find(view.status.conditions, ConditionType.DRIFTED)
        told = told_of(view)
        if told == record.logged:
            return
        before, record.logged = record.logged, told
        if ready is not None and ready.reason == Reason.EVALUATING and view.rules is not None:
            self._say_outage_over(view, view.rules)
        if _is_calm(ready, drifted) and (
            not before or any(reason in _OUTAGES for reason in before)
        ):
            return
        if self._in_known_outage(view, ready):
            return
        main = ready if ready is not None and ready.status == "False" else drifted or ready
        if main is None:
            return
        keys = self._keys(view) | {
            "reason": main.reason,
            "ready": ready.status if ready else "",
            "drifted": drifted.status if drifted else "",
            "score": score,
            "threshold": view.rules.threshold if view.rules else None,
        }
        _LOG.info(main.message, extra=keys)
        if main.reason != Reason.RETRAINING_REQUESTED:  # told when the Retraining is there
            self._event(view, "DriftTrigger", main.reason, main.message)

    def _in_known_outage(self, view: TriggerView, ready: Condition | None) -> bool:
        """Tell an outage of a server once, however many triggers ask it."""
        if ready is None or ready.reason not in _OUTAGES or view.rules is None:
            return False
        server = server_of(view, view.rules)
        is_known = server in self._outages
        self._outages.add(server)
        return is_known

    def _say_outage_over(self, view: TriggerView, rules: Rules) -> None:
        """Tell the end of an outage once."""
        server = server_of(view, rules)
        if server in self._outages:
            self._outages.discard(server)
            message = f"{rules.source_name} answers again"
            _LOG.info(message, extra=self._keys(view) | {"reason": Reason.EVALUATING})
            self._event(view, "DriftTrigger", Reason.EVALUATING, message)

    def source(self, view: SourceView, *, before: tuple[Condition, ...]) -> None:
        """Tell that a source began or ceased to answer; its triggers then need not tell."""
        ready, was = find(view.status.conditions, ConditionType.READY), find(before, _READY)
        if ready is None or (was is not None and was.status == ready.status):
            return
        server = (view.namespace, f"{view.kind.value}/{view.name}")
        if ready.status == "True":
            self._outages.discard(server)
        else:
            self._outages.add(server)
        keys = {"namespace": view.namespace, "object": view.name, "reason": ready.reason}
        _LOG.info("%s %s: %s", view.kind.value, view.name, ready.message, extra=keys)
        if was is not None or ready.status == "False":
            self._event(view, view.kind.value, ready.reason, ready.message)

    def retraining_created(self, view: TriggerView, pending: Pending) -> None:
        """Tell that a decision was carried out."""
        _LOG.info(
            "a Retraining was created",
            extra=self._keys(view)
            | {"reason": Reason.RETRAINING_REQUESTED, "retraining": pending.name},
        )
        message = f"Created Retraining {pending.name}: {pending.reason}"
        self._event(view, "DriftTrigger", Reason.RETRAINING_REQUESTED, message)
        uid = next((a.uid for a in view.status.active if a.name == pending.name), "")
        facts = {
            "namespace": view.namespace,
            "retraining": {"name": pending.name, "uid": uid},
            "trigger": {"name": view.name, "uid": view.uid, "generation": view.generation},
            "state": Reason.PENDING,
            "detail": "decided",
            "target": None,
        }
        self._audit_line(pending, view, facts)

    def released(self, view: TriggerView, retraining: RetrainingView) -> None:
        """Tell that a Retraining of a trigger ended."""
        _LOG.info(
            "a Retraining ended",
            extra=self._keys(view) | {"reason": retraining.reason, "retraining": retraining.name},
        )

    def vanished(self, view: TriggerView, name: str) -> None:
        """Tell that a Retraining was deleted before it ended, and its Job is gone too."""
        message = f"Retraining {name} was deleted before it ended"
        _LOG.warning(message, extra=self._keys(view) | {"reason": Reason.JOB_DELETED})
        self._event(view, "DriftTrigger", Reason.JOB_DELETED, message)

    def manual(self, view: TriggerView, reason: Reason, message: str) -> None:
        """Tell what became of a request by hand."""
        _LOG.info(message, extra=self._keys(view) | {"reason": reason})
        self._event(view, "DriftTrigger", reason, message)

    def hold_unreadable(self, view: TriggerView, hold: Hold) -> None:
        """Tell that a hold annotation can't be read, and so holds for ever."""
        message = (
            f"the hold annotation {hold.reason!r} is no `<RFC 3339 time or forever> <reason>`; "
            "it holds for ever"
        )
        _LOG.warning(message, extra=self._keys(view) | {"reason": Reason.HOLD_UNREADABLE})
        self._event(view, "DriftTrigger", Reason.HOLD_UNREADABLE, message)

    # Execution.

    def retraining(self, view: RetrainingView, trigger: TriggerView | None) -> None:
        """Tell a transition of a Retraining: log line, Event, audit line."""
        condition = view.succeeded
        if condition is None:
            return
        keys = self._keys(view) | {"reason": condition.reason, "trigger": view.trigger}
        _LOG.info(condition.message, extra=keys)
        self._event(view, "Retraining", condition.reason, condition.message)
        facts = {
            "namespace": view.namespace,
            "retraining": {"name": view.name, "uid": view.uid},
            "trigger": to_json(view.spec.trigger_ref),
            "state": condition.reason,
            "detail": condition.message,
            "target": to_json(view.status.target) if view.status.target else None,
        }
        self._audit_line(view, trigger, facts)

    def stray(self, view: RetrainingView, job: str) -> None:
        """Tell that a stray Job was deleted."""
        message = f"Job {job} was not the Job of its Retraining and was deleted"
        _LOG.warning(message, extra=self._keys(view) | {"reason": Reason.STRAY_JOB_DELETED})
        self._event(view, "Retraining", Reason.STRAY_JOB_DELETED, message)

    def _audit_line(
        self, view: RetrainingView | Pending, trigger: TriggerView | None, facts: dict[str, Any]
    ) -> None:
        """Write one line of the audit trail; its fields are docs/reference/audit.md."""
        spec = view.spec if isinstance(view, RetrainingView) else view
        _AUDIT.info(
            facts["state"],
            extra={
                "who": _COMPONENT,
                "when": format_instant(self._clock.now()),
                "specHash": trigger.rules.hashes.condition if trigger and trigger.rules else "",
                "cause": spec.cause,
                "episode": spec.episode,
                "attempt": spec.attempt,
                "reason": spec.reason,
                "model": to_json(spec.model),
                "evidence": to_json(spec.evidence),
                **facts,
            },
        )

    def _keys(self, view: TriggerView | RetrainingView) -> dict[str, Any]:
        keys: dict[str, Any] = {"namespace": view.namespace, "object": view.name}
        if isinstance(view, TriggerView):
            keys["generation"] = view.generation
        return keys

    def _event(
        self, view: TriggerView | RetrainingView | SourceView, kind: str, reason: str, message: str
    ) -> None:
        now: datetime = self._clock.now()
        self._sequence += 1
        stamp = f"{int(now.timestamp() * 1000):x}{self._sequence % 4096:03x}"
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{view.name[:200]}.{uid_hash(self._instance)}{stamp}",
                "namespace": view.namespace or _CLUSTERS_EVENTS,
            },
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": kind,
                "name": view.name,
                **({"namespace": view.namespace} if view.namespace else {}),
                "uid": view.uid,
                "resourceVersion": view.resource_version,
            },
            "type": "Warning" if reason in WARNINGS else "Normal",
            "reason": reason,
            "message": clean(message, limit=1000),
            "source": {"component": _COMPONENT},
            "reportingComponent": _COMPONENT,
            "reportingInstance": self._instance[:128],
            "firstTimestamp": format_instant(now),
            "lastTimestamp": format_instant(now),
            "count": 1,
        }
        try:
            self._queue.put_nowait((view.namespace or _CLUSTERS_EVENTS, body))
        except asyncio.QueueFull:
            self.events_dropped += 1
