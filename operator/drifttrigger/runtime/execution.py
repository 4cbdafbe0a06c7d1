"""The execution controller: from a Retraining to its Job, and to its end.

Watches unfinished Retrainings, our Jobs and the triggers; each event only says when to look. A pass
is `Realisation.run`: it reads everything live and makes at most one step. Beside that it lets the
API server judge each new Job template by a strict dry run, and says so in condition TemplateValid.
"""

import logging
from collections.abc import Callable

from msgspec.structs import replace

from drifttrigger.api.errors import (
    ConflictError,
    DriftTriggerError,
    ForbiddenError,
    NotFoundError,
    PermanentError,
    QuotaExceeded,
    TransientError,
)
from drifttrigger.api.reasons import SENTENCES, ConditionType, Outcome, Reason
from drifttrigger.api.v1alpha1 import Cause, Condition, Evidence, RetrainingSpec, TriggerRef
from drifttrigger.clients.clock import Clock
from drifttrigger.clients.kube import DRIFT_TRIGGERS, KubeApi
from drifttrigger.core.conditions import find, with_conditions
from drifttrigger.core.naming import child_name
from drifttrigger.core.observation import clean
from drifttrigger.core.rules import Rules
from drifttrigger.runtime.announce import Announcer
from drifttrigger.runtime.budget import Priority, WriteBudget
from drifttrigger.runtime.freshness import Freshness
from drifttrigger.runtime.intents import Intents
from drifttrigger.runtime.realisation import Realisation, StartGate, Step
from drifttrigger.runtime.views import Key, RetrainingView, TriggerView, decode_trigger
from drifttrigger.runtime.worklist import Worklist
from drifttrigger.targets.base import Launcher

_LOG = logging.getLogger(__name__)
_REHEARSAL_SEQUENCE = 999_999
NOT_CREATED = "the Job was refused when it was to start: "
"""Begins the message of a refusal that only an edit takes back: a dry run had not seen it."""
_RECHECK_REFUSED_SECONDS = 300.0
_RECHECK_UNKNOWN_SECONDS = 60.0


class Execution:
    """Realises Retrainings.

    Args:
        kube: The API server.
        launcher: Starts Jobs.
        clock: The clock.
        gate: The start rate.
        budget: API writes.
        announcer: Events, logs and the audit trail.
        concurrency: Passes under way at once.

    Attributes:
        owns: Whether the object of a namespace and name, joined by a slash, is this replica's.
    """

    def __init__(
        self,
        kube: KubeApi,
        launcher: Launcher,
        clock: Clock,
        *,
        gate: StartGate,
        budget: WriteBudget,
        announcer: Announcer,
        concurrency: int = 32,
    ) -> None:
        self._kube = kube
        self._launcher = launcher
        self._clock = clock
        self._budget = budget
        self._announcer = announcer
        self._intents = Intents(kube, clock)
        self._realisation = Realisation(
            kube, launcher, clock, gate=gate, budget=budget, on_refused=self._refused
        )
        self.owns: Callable[[str], bool] = lambda _: True
        self._failures: dict[Key, int] = {}
        self._bound: dict[Key, tuple[str | None, ...]] = {}
        self._checked: dict[Key, tuple[str, int]] = {}
        self.work = Worklist(self._pass, clock, concurrency=concurrency)
        self.templates = Worklist(self._check_template, clock, concurrency=8)

    # What the feed tells.

    def on_retraining(self, view: RetrainingView) -> None:
        """Look at an unfinished Retraining."""
        self.work.wake(view.key)

    def on_job(self, namespace: str, retraining: str) -> None:
        """Look at the Retraining of a Job that changed."""
        self.work.wake((namespace, retraining))

    def on_trigger(self, view: TriggerView) -> None:
        """Look at the Retrainings of a trigger whose bindings or hold changed."""
        status = view.status
        names = [entry.name for entry in status.active]
        names += [status.pending.name] if status.pending is not None else []
        episode = status.episode.number if status.episode is not None else 0
        bound = (view.uid, view.hold, str(episode), *(entry.uid for entry in status.active))
        if self._bound.get(view.key) != bound:
            self._bound[view.key] = bound
            for name in names:
                self.work.wake((view.namespace, name))
        if self._checked.get(view.key) != (view.uid, view.generation) and not view.is_deleting:
            self.templates.wake(view.key)

    def on_trigger_gone(self, key: Key, uid: str) -> None:
        """Forget a deleted trigger."""
        if self._bound.get(key, (uid,))[0] != uid:
            return  # another one has the name already
        self._bound.pop(key, None)
        self._checked.pop(key, None)
        self.templates.drop(key)

    # One pass over a Retraining.

    async def _pass(self, key: Key) -> float | None:
        if not self.owns("/".join(key)):
            return None  # a change of members wakes it again
        try:
            step = await self._realisation.run(key)
            self._failures.pop(key, None)
            await self._tell(step)
        except (ConflictError, NotFoundError) as error:
            _LOG.debug("looked at again: %s", error, extra={"namespace": key[0], "object": key[1]})
            return self._back_off(key, first_seconds=0.05)
        except (TransientError, ForbiddenError) as error:
            _LOG.warning(
                "will be tried again: %s", error, extra={"namespace": key[0], "object": key[1]}
            )
            return self._back_off(key, first_seconds=1.0)
        except Exception:
            # The edge of one Retraining's work: a defect met here must not stop the others.
            _LOG.exception(
                "the pass over a Retraining failed",
                extra={"namespace": key[0], "object": key[1]},
            )
            return self._back_off(key, first_seconds=2.0)
        if step.look_again_in_seconds is None:
            return None
        return self._clock.monotonic() + step.look_again_in_seconds

    def _back_off(self, key: Key, *, first_seconds: float) -> float:
        count = self._failures[key] = self._failures.get(key, 0) + 1
        seconds = min(60.0, first_seconds * 2.0 ** min(count - 1, 10))
        return self._clock.monotonic() + seconds * (0.75 + 0.5 * self._clock.jitter())

    async def _tell(self, step: Step) -> None:
        if step.view is None:
            return
        if step.changed:
            self._announcer.retraining(step.view, step.trigger)
        if step.stray_deleted:
            self._announcer.stray(step.view, step.stray_deleted)

    async def _refused(self, view: RetrainingView, why: str) -> None:
        """Say on the trigger that the API server refuses its Job, before the Retraining ends so.

        Raises:
            DriftTriggerError: It can't be said now; the Retraining is looked at again.
        """
        ref = view.spec.trigger_ref
        key = (view.namespace, ref.name)
        self._checked[key] = (ref.uid, ref.generation)
        message = f"{NOT_CREATED}{why}"
        await self._say_template(key, ref.uid, ref.generation, Reason.REFUSED, message)

    # Templates.

    async def _check_template(self, key: Key) -> float | None:
        """Let the API server judge the Job that a trigger would make."""
        if not self.owns("/".join(key)):
            return None
        try:
            live = await self._kube.get(DRIFT_TRIGGERS, *key)
            view = decode_trigger(live)
            known = find(view.status.conditions, ConditionType.TEMPLATE_VALID)
            current = known is not None and known.observed_generation == view.generation
            self._checked[key] = (view.uid, view.generation)
            sticky = known is not None and known.message.startswith(NOT_CREATED)
            if current and known is not None and (known.status == "True" or sticky):
                return None
            if view.rules is None:
                return None  # detection says SpecInvalid; the edit brings us back
            template = (live.get("spec") or {}).get("jobTemplate")
            reason, message = await self._rehearse(view, view.rules, template)
            await self._say_template(key, view.uid, view.generation, reason, message)
        except NotFoundError:
            return None
        except DriftTriggerError as error:
            _LOG.warning(
                "a Job template can't be checked now: %s",
                error,
                extra={"namespace": key[0], "object": key[1]},
            )
            return self._clock.monotonic() + 10.0 * (0.75 + 0.5 * self._clock.jitter())
        except Exception:
            # The edge of one trigger's work: a defect met here must not stop the others.
            _LOG.exception(
                "the check of a Job template failed",
                extra={"namespace": key[0], "object": key[1]},
            )
            return self._clock.monotonic() + _RECHECK_UNKNOWN_SECONDS
        if reason is Reason.VALID:
            return None
        refused = reason is Reason.REFUSED
        seconds = _RECHECK_REFUSED_SECONDS if refused else _RECHECK_UNKNOWN_SECONDS
        return self._clock.monotonic() + seconds * (0.75 + 0.5 * self._clock.jitter())

    async def _rehearse(
        self, view: TriggerView, rules: Rules, template: object
    ) -> tuple[Reason, str]:
        name = child_name(view.name, view.uid, _REHEARSAL_SEQUENCE)
        try:
            await self._launcher.rehearse(
                _rehearsal(view, rules, template), name=name, namespace=view.namespace
            )
        except (QuotaExceeded, ConflictError, TransientError) as error:
            return Reason.UNKNOWN, str(error)
        except (PermanentError, ForbiddenError) as error:
            return Reason.REFUSED, str(error)
        return Reason.VALID, SENTENCES[Reason.VALID]

    async def _say_template(
        self, key: Key, uid: str, generation: int, reason: Reason, message: str
    ) -> None:
        """Write the condition TemplateValid on T, if it is of the generation that was judged."""
        states = {Reason.VALID: "True", Reason.UNKNOWN: "Unknown"}
        for _ in range(5):
            fresh = Freshness(self._clock)
            view = await self._intents.read(key)
            if view is None or (view.uid, view.generation) != (uid, generation):
                return
            condition = Condition(
                type=ConditionType.TEMPLATE_VALID,
                status=states.get(reason, "False"),
                reason=reason,
                message=clean(message),
                observed_generation=view.generation,
            )
            now = self._clock.now()
            changed = with_conditions(view.status.conditions, (condition,), now=now)
            if find(view.status.conditions, ConditionType.TEMPLATE_VALID) == find(
                changed, ConditionType.TEMPLATE_VALID
            ):
                return
            refused = reason is Reason.REFUSED
            await self._budget.take(Priority.SPEC_ERROR if refused else Priority.OUTCOME)
            try:
                await self._intents.commit(
                    view, replace(view.status, conditions=changed), fresh=fresh
                )
            except ConflictError:
                continue
            return
        raise TransientError(f"{key[1]} changed each time that TemplateValid was to be written")


def _rehearsal(view: TriggerView, rules: Rules, template: object) -> RetrainingSpec:
    """Make the Retraining that a decision now would make, for the dry run."""
    evidence = Evidence(
        source=rules.source_name,
        query=rules.query,
        time="1970-01-01T00:00:00Z",
        outcome=Outcome.SCORE,
        threshold=rules.threshold,
        comparison=rules.comparison,
        score=rules.threshold,
    )
    return RetrainingSpec(
        trigger_ref=TriggerRef(name=view.name, uid=view.uid, generation=view.generation),
        model=rules.model,
        cause=Cause.DRIFT,
        reason="dry run",
        evidence=evidence,
        job_template=template if isinstance(template, dict) else {},
    )
