"""One broken rule each: a search that can't find them proves nothing.

A mutant patches the code for the rest of the process, so each needs a process of its own.
"""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any
from unittest import mock

import msgspec

from drifttrigger.api.reasons import Reason
from drifttrigger.api.v1alpha1 import LABEL_TRIGGER, Cause
from drifttrigger.clients.kube import RETRAININGS
from drifttrigger.core import jobs
from drifttrigger.runtime import history, intents, realisation
from drifttrigger.runtime.detection import Detection
from drifttrigger.runtime.realisation import Realisation, Right
from drifttrigger.runtime.views import RetrainingView, TriggerView, decode_retraining
from explore.actors import StepKube
from explore.scenarios import AGAIN, CALM, DRIFT, NO_COOLDOWN, NO_HISTORY, QUICK
from explore.world import Faults, Scenario

Mutant = Callable[[], Iterable[Scenario]]
ONCE = Scenario("drift once", (DRIFT,))
TWICE = Scenario("drift goes on", (DRIFT, DRIFT), spec=NO_COOLDOWN)
CLEARED = Scenario("the episode ends", (DRIFT, CALM), spec=NO_COOLDOWN)
REAPPLIED = Scenario("deleted and applied again", (DRIFT,), AGAIN)
RETRAINING_DELETED = Scenario(
    "a Retraining is deleted by hand", (DRIFT,), Faults(retraining_deletions=1)
)


def _patch(target: str, new: object) -> None:
    mock.patch(f"drifttrigger.{target}", new).start()


def _no_cas() -> Iterable[Scenario]:
    """The API server accepts a write that was decided on an older version."""
    return [replace(scenario, checks_version=False) for scenario in QUICK]


def _random_name() -> Iterable[Scenario]:
    """Each attempt to create a Retraining invents another name."""
    numbers, real = itertools.count(), intents.retraining_body

    def renamed(view: Any, pending: Any, template: Any) -> dict[str, Any]:
        body = real(view, pending, template)
        body["metadata"]["name"] += f"-{next(numbers) % 50}"
        return body

    _patch("runtime.intents.retraining_body", renamed)
    return [Scenario("a crash at any moment", (DRIFT,), Faults(crashes=1))]


def _no_last_tick() -> Iterable[Scenario]:
    """A tick that was decided is decided again."""
    _patch("core.decide.is_old", lambda *_: False)
    _patch("runtime.records.Record.due_tick", lambda _, rules, now: rules.schedule.latest(now))
    return [CLEARED]


def _no_binding() -> Iterable[Scenario]:
    """Any Retraining may run, bound or not."""
    _patch("runtime.realisation.right_of", lambda *_: Right.RUN)
    _patch("runtime.realisation.is_over", lambda *_: False)
    return [ONCE]


def _bind_by_name() -> Iterable[Scenario]:
    """A Retraining is bound by its name, whatever its UID."""

    def right(view: RetrainingView, trigger: TriggerView | None) -> Right:
        named = trigger and any(a.name == view.name for a in trigger.status.active)
        return Right.RUN if named else real(view, trigger)

    real = realisation.right_of
    _patch("runtime.realisation.right_of", right)
    return [RETRAINING_DELETED]


def _no_wait() -> Iterable[Scenario]:
    """A Retraining that `pending` names does not wait to be bound."""
    real = realisation.right_of

    def right(view: RetrainingView, trigger: TriggerView | None) -> Right:
        return Right.END if real(view, trigger) is Right.WAIT else real(view, trigger)

    _patch("runtime.realisation.right_of", right)
    return [ONCE]


def _lost_claim() -> Iterable[Scenario]:
    """A claim is forgotten when the trigger goes or its status is emptied."""
    real = realisation.right_of

    def right(view: RetrainingView, trigger: TriggerView | None) -> Right:
        if view.status.target is None and view.reason is Reason.STARTING:
            view = msgspec.structs.replace(
                view, status=msgspec.structs.replace(view.status, conditions=())
            )
        return real(view, trigger)

    _patch("runtime.realisation.right_of", right)
    return [Scenario("the status is emptied", (DRIFT,), Faults(resets=1))]


def _no_claim() -> Iterable[Scenario]:
    """The Job is created without a claim before."""
    real = Realisation._patch

    async def patch(self: Any, view: Any, status: Any, *, fresh: Any) -> Any:
        claimed = msgspec.structs.replace(view, status=status)
        if claimed.reason is Reason.STARTING:
            return claimed
        return await real(self, view, status, fresh=fresh)

    _patch("runtime.realisation.Realisation._patch", patch)
    return [Scenario("the status is emptied", (DRIFT,), Faults(resets=1))]


def _foreign_episode() -> Iterable[Scenario]:
    """Episodes are compared by number, across a trigger that was made again."""

    def is_over(view: RetrainingView, trigger: TriggerView | None) -> bool:
        if view.spec.cause is Cause.MANUAL:
            return False
        episode = trigger.status.episode if trigger is not None else None
        return episode is None or episode.number != view.spec.episode

    _patch("runtime.realisation.is_over", is_over)
    return [replace(REAPPLIED, faults=replace(AGAIN, retraining_deletions=1))]


def _no_list() -> Iterable[Scenario]:
    """A trigger without history does not look for Retrainings under its name."""

    async def adopt(_: object, view: TriggerView) -> object:
        return view.status

    _patch("runtime.intents.Intents.adopt", adopt)
    return [Scenario("the status is emptied", (DRIFT,), Faults(resets=1)), REAPPLIED]


def _list_first() -> Iterable[Scenario]:
    """The LIST comes before the reading of T, and T has history by then."""

    async def adopt(self: Any, record: Any) -> None:
        if not record.view.status.retrainings:
            fresh = await record.reload(self._intents, self._clock)
            view = record.view
            status = await self._intents.adopt(view)
            if status != view.status:
                record.view = await self._intents.commit(view, status, fresh=fresh)
                record.must_release = True
        record.is_adopted = True

    _patch("runtime.detection.Detection._adopt", adopt)
    return [RETRAINING_DELETED]


def _job_first() -> Iterable[Scenario]:
    """Execution reads the Job before the Retraining and the trigger."""
    real = Realisation.run

    async def run(self: Any, key: tuple[str, str]) -> Any:
        find = self._launcher.find
        early = [await find(*key, now=self._clock.now())]

        async def found(namespace: str, name: str, *, now: datetime) -> Any:
            return early.pop() if early else await find(namespace, name, now=now)

        self._launcher.find = found
        return await real(self, key)

    _patch("runtime.realisation.Realisation.run", run)
    return [ONCE]


def _ttl() -> Iterable[Scenario]:
    """The Job is created with the template's ttlSecondsAfterFinished."""

    def body(spec: Any, **names: Any) -> dict[str, Any]:
        result = jobs.job_body(spec, **names)
        result["spec"]["ttlSecondsAfterFinished"] = 0
        return result

    _patch("targets.job.job_body", body)
    return [replace(ONCE, ttl=0)]


def _cached_release() -> Iterable[Scenario]:
    """Release looks at Retrainings as they were when its pass began."""
    real = Detection._look

    async def look(self: Any, record: Any) -> None:
        labels = f"{LABEL_TRIGGER}={record.view.name}"
        bodies = await self._kube.list_all(RETRAININGS, record.view.namespace, labels=labels)
        self._intents.cached = {b["metadata"]["name"]: decode_retraining(b) for b in bodies}
        await real(self, record)

    async def retraining(self: Any, _: str, name: str) -> Any:
        return self.cached.get(name)

    _patch("runtime.detection.Detection._look", look)
    _patch("runtime.intents.Intents._retraining", retraining)
    return [ONCE]


def _no_job_look() -> Iterable[Scenario]:
    """A Retraining that vanished is released though its Job runs."""

    async def job_lives(*_: object) -> bool:
        return False

    _patch("runtime.intents.Intents._job_lives", job_lives)
    return [RETRAINING_DELETED]


def _no_stray() -> Iterable[Scenario]:
    """Strays are left alone."""

    async def discard(*_: object) -> None:
        return

    _patch("targets.job.JobLauncher.discard", discard)
    return [
        Scenario("a Job is deleted by hand", (DRIFT,), Faults(job_deletions=1)),
        Scenario("a write lands late", (DRIFT,), Faults(late_writes=1, job_deletions=1)),
    ]


def _label_by_name() -> Iterable[Scenario]:
    """The label of the unfinished is taken from whatever has the name."""
    real = StepKube.patch

    async def patch(
        self: Any, resource: Any, namespace: str, name: str, patch: Any, *, subresource: str = ""
    ) -> Any:
        if not subresource:
            patch["metadata"].pop("resourceVersion", None)
        return await real(self, resource, namespace, name, patch, subresource=subresource)

    mock.patch.object(StepKube, "patch", patch).start()
    return [RETRAINING_DELETED]


def _stale_clean() -> Iterable[Scenario]:
    """History limits are applied to what is bound in an old snapshot."""

    async def clean(kube: Any, view: TriggerView) -> bool:
        labels = f"{LABEL_TRIGGER}={view.name}"
        bodies = await kube.list_all(RETRAININGS, view.namespace, labels=labels)
        for found in history.surplus(view, map(decode_retraining, bodies)):
            await kube.delete(
                RETRAININGS, view.namespace, found.name, preconditions={"uid": found.uid}
            )
        return False

    _patch("runtime.detection.clean_history", clean)
    return [replace(TWICE, spec=(*NO_COOLDOWN, *NO_HISTORY), cleans=True)]


MUTANTS: dict[str, Mutant] = {
    "no-cas": _no_cas,
    "random-name": _random_name,
    "no-last-tick": _no_last_tick,
    "no-binding": _no_binding,
    "bind-by-name": _bind_by_name,
    "no-wait": _no_wait,
    "no-claim": _no_claim,
    "lost-claim": _lost_claim,
    "foreign-episode": _foreign_episode,
    "no-list": _no_list,
    "list-first": _list_first,
    "job-first": _job_first,
    "ttl": _ttl,
    "cached-release": _cached_release,
    "no-job-look": _no_job_look,
    "no-stray": _no_stray,
    "label-by-name": _label_by_name,
    "stale-clean": _stale_clean,
}
