"""The story, chapter by chapter. Every chapter waits until it has seen what it claims.

```
history -> install -> live -> NaN, nothing, two series, no Prometheus -> the crossing
        -> kill -9 between intent and creation -> restart -> one Job -> new model -> clear -> count
```
"""

from collections.abc import Sequence
from pathlib import Path

from drifttrigger.cli.demo import audit
from drifttrigger.cli.demo.errors import NotObserved
from drifttrigger.cli.demo.exporter import TARGET_LABELS
from drifttrigger.cli.demo.history import middles, write_history
from drifttrigger.cli.demo.incidents import INCIDENTS, Hold, meet
from drifttrigger.cli.demo.install import daily, install, instant
from drifttrigger.cli.demo.process import USER
from drifttrigger.cli.demo.stage import Stage
from drifttrigger.cli.demo.summary import Cleared, Crossing, History, JobRun
from drifttrigger.cli.demo.trigger import QUERY, trigger
from drifttrigger.cli.demo.watching import Retraining, Sight
from drifttrigger.clients.clock import SystemClock

CROSSING_STEP = 31
NEW_MODEL_STEP = 34
LAST_STEP = 36
_LOOK_SECONDS = 1.5


def remember(stage: Stage) -> History:
    """Give Prometheus the thirty days, and read them back from it."""
    stage.chapter("Thirty days of history go into Prometheus, a sample a minute")
    reference = list(stage.scores)
    # A whole minute, which the history's last sample lies before.
    end = SystemClock().now().replace(second=0, microsecond=0)
    path = stage.cluster.directory / "history.om"
    samples = write_history(path, reference, end=end)
    stage.cluster.backfill(path)
    path.unlink()
    noons = middles(len(reference), end=end)
    found = daily(stage.prometheus, QUERY, first=noons[0].timestamp(), last=noons[-1].timestamp())
    if found != reference:
        raise NotObserved(f"Prometheus does not hold the reference scores: {found}")
    past = f"{QUERY}[{len(reference) + 1}d]"
    counted = instant(stage.prometheus, f"count_over_time({past})")
    peaks = instant(stage.prometheus, f"max_over_time({past})")
    if counted != [str(samples)] or peaks != [repr(max(reference))]:
        raise NotObserved(f"Prometheus holds {counted} of {samples} samples, peak {peaks}")
    stage.screen.say(f"Prometheus holds {samples} samples; their maximum is {max(reference):.4f}")
    return History(samples=samples, days=len(reference), peak=max(reference))


def set_up(stage: Stage, root: Path) -> None:
    """Scrape the live series; install CRDs and rights."""
    stage.chapter("CRDs and RBAC are applied with kubectl; the model server is scraped")
    stage.exporter.show(stage.scores[-1])
    labels = {name: value for name, value in TARGET_LABELS.items() if name != "job"}
    stage.cluster.add_scrape_target(TARGET_LABELS["job"], stage.exporter.address, labels=labels)
    install(stage.kubectl, root)


def watch_and_hold(stage: Stage, scores: Sequence[float]) -> list[Hold]:
    """Apply the trigger, let the series go on, and let it meet every incident."""
    stage.chapter("A DriftTrigger is applied")
    manifest = trigger(address=stage.prometheus, threshold=stage.threshold)
    stage.kubectl("apply", "--filename=-", stdin=manifest)
    _see_score(stage)
    sight = stage.until(_is_below, "the trigger is Ready and not Drifted")
    stage.screen.say(f"its status: {sight.drifted.message}")
    stage.chapter(f"The series goes on, live and accelerated: step {len(stage.scores)}")
    stage.next_day(scores[len(stage.scores)])
    _see_score(stage)
    holds = [meet(stage, each) for each in INCIDENTS]
    stage.screen.say("none of the four fired, none reads as healthy: 0 Retrainings, 0 Jobs")
    return holds


def cross(stage: Stage, scores: Sequence[float]) -> Crossing:
    """Let the score cross θ, and kill the operator between its intent and the creation."""
    stage.chapter(f"The score crosses θ, at step {CROSSING_STEP}")
    stage.next_day(scores[CROSSING_STEP])
    operator = stage.operator
    sight = stage.until(
        lambda sight: sight.pending is not None,
        "an intent to retrain is written",
        at_operator=False,
    )
    pending = sight.pending
    if pending is None or operator is None:
        raise NotObserved("there is no intent, or no operator to kill")
    stage.screen.say(f"intent: {pending.reason}")
    operator.kill()
    stage.operator = None
    stage.chapter(f"kill -9 {operator.pid}: the operator died before it created anything")
    sight = stage.linger(_LOOK_SECONDS)
    if sight.retrainings or sight.jobs or sight.pending != pending:
        raise NotObserved("the operator was not killed between intent and creation")
    stage.screen.say(f"status.pending names {pending.name}; 0 Retrainings, 0 Jobs")
    crossing = Crossing(
        step=CROSSING_STEP,
        score=pending.evidence.score or 0.0,
        threshold=pending.evidence.threshold,
        retraining=pending.name,
        reason=pending.reason,
        killed_pid=operator.pid,
    )
    if crossing.score != scores[CROSSING_STEP]:
        raise NotObserved(f"the evidence says {crossing.score}, not {scores[CROSSING_STEP]}")
    stage.chapter("A fresh operator starts; the series has gone on meanwhile")
    stage.next_day(scores[stage.step + 1])
    return crossing


def train(stage: Stage, scores: Sequence[float], crossing: Crossing) -> JobRun:
    """See the next operator carry the intent out: one Job, run to its end."""
    sight = stage.until(
        lambda sight: bool(sight.jobs) and sight.jobs[0].state == "Running",
        f"Retraining {crossing.retraining} has a running Job",
    )
    started = stage.position
    job = sight.jobs[0]
    score = job.environment.get("DRIFT_SCORE", "")
    stage.screen.say(f"Job {job.metadata.name} runs with DRIFT_SCORE={score}")
    if score != repr(crossing.score) or job.metadata.name != crossing.retraining:
        raise NotObserved(f"Job {job.metadata.name} has DRIFT_SCORE={score}")
    _see_score(stage)
    stage.next_day(scores[stage.step + 1])
    _see_score(stage)
    sight = stage.until(_is_trained, "the Job is Complete and its Retraining Succeeded")
    stage.screen.say(f"{_only(sight).succeeded.reason}: {_only(sight).succeeded.message}")
    return JobRun(
        name=job.metadata.name,
        uid=sight.jobs[0].metadata.uid,
        state=sight.jobs[0].state,
        drift_score=score,
        started_at_step=started,
        ended_at_step=stage.position,
    )


def deploy(stage: Stage, scores: Sequence[float]) -> Cleared:
    """Bring the new model's scores, and see the episode clear."""
    stage.chapter(f"The new model is in place, from step {NEW_MODEL_STEP} on")
    for step in range(stage.step + 1, NEW_MODEL_STEP + 1):
        stage.next_day(scores[step])
    _see_score(stage)
    sight = stage.until(_is_cleared, "the episode has cleared")
    stage.screen.say(f"Drifted=False {sight.drifted.reason}: {sight.drifted.message}")
    cleared = Cleared(step=stage.step, score=sight.score or 0.0, message=sight.drifted.message)
    while stage.step < LAST_STEP:
        stage.next_day(scores[stage.step + 1])
        _see_score(stage)
        sight = stage.linger(_LOOK_SECONDS)
    if not _is_cleared(sight) or len(sight.retrainings) != 1 or len(sight.jobs) != 1:
        raise NotObserved("after all of it there is not exactly one Retraining and one Job")
    return cleared


def count(stage: Stage) -> audit.AuditCount:
    """Count what the API server wrote down."""
    counted = audit.count(stage.cluster.audit_events(), user=USER)
    if not counted.is_exactly_one:
        raise NotObserved(
            f"the audit log counts {counted.sentence}, and {counted.refused} refused requests"
            " of the operator"
        )
    return counted


def _see_score(stage: Stage) -> None:
    score = stage.scores[-1]
    stage.until(lambda sight: sight.score == score, f"the operator sees the score {score}")


def _is_below(sight: Sight) -> bool:
    return sight.is_current and (sight.ready.status, sight.drifted.status) == ("True", "False")


def _only(sight: Sight) -> Retraining:
    (found,) = sight.retrainings
    return found


def _is_trained(sight: Sight) -> bool:
    complete = [job.state for job in sight.jobs] == ["Complete"]
    return complete and [r.succeeded.status for r in sight.retrainings] == ["True"]


def _is_cleared(sight: Sight) -> bool:
    status = sight.status
    over = status.episode is None and not status.active and status.pending is None
    return over and _is_below(sight)
