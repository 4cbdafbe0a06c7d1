"""The law, held against the ledger: one decision, one Retraining that runs, one Job that survives.

A decision may be dropped only with its trigger; a Retraining may be without a Job only when it was
Superseded, or went with its trigger.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise

from chaos.ledger import OPERATOR, Decision, Job, Ledger, Made

SUPERSEDED = "Superseded"


@dataclass(slots=True)
class Verdict:
    """What the count says.

    Attributes:
        numbers: What was counted, by name.
        breaks: How the law was broken; empty when it was not.
    """

    numbers: Counter[str] = field(default_factory=Counter)
    breaks: list[str] = field(default_factory=list)


def judge(ledger: Ledger, *, allow: frozenset[str] = frozenset()) -> Verdict:
    """Count and judge.

    Args:
        ledger: What happened.
        allow: Names of triggers under concurrencyPolicy Allow.
    """
    verdict = Verdict(breaks=list(ledger.contradictions))
    by_name: dict[tuple[str, str], list[Made]] = defaultdict(list)
    for made in ledger.made.values():
        by_name[made.namespace, made.name].append(made)
    for decision in ledger.decisions.values():
        _judge_decision(decision, by_name, ledger, verdict)
    known = {(d.namespace, d.name) for d in ledger.decisions.values()}
    for name in by_name.keys() - known:
        verdict.breaks.append(f"Retraining {name[1]} was created without a decision")
    _judge_ticks(ledger, verdict)
    _judge_jobs(ledger, verdict)
    _judge_overlaps(ledger, verdict, allow)
    return verdict


def _judge_decision(
    decision: Decision,
    by_name: dict[tuple[str, str], list[Made]],
    ledger: Ledger,
    verdict: Verdict,
) -> None:
    """One decision: one Retraining that was bound, none beside it that ran."""
    verdict.numbers["decisions"] += 1
    all_made = by_name.get((decision.namespace, decision.name), [])
    verdict.numbers["Retrainings created"] += len(all_made)
    bound = [made for made in all_made if made.is_bound]
    for made in all_made:
        if not made.is_bound and made.targets:
            verdict.breaks.append(f"{made.name} was never bound, yet its Job ran")
    if not bound:
        if decision.trigger_uid in ledger.deleted_triggers:
            verdict.numbers["dropped with their trigger"] += 1
        else:
            verdict.breaks.append(f"decision {decision.name} has no Retraining")
        return
    if len(bound) > 1:
        verdict.breaks.append(f"decision {decision.name} bound {len(bound)} Retrainings")
    verdict.numbers["inert Retrainings"] += len(all_made) - len(bound)
    verdict.numbers["Retrainings"] += 1
    _judge_retraining(bound[0], ledger, verdict)


def _judge_retraining(made: Made, ledger: Ledger, verdict: Verdict) -> None:
    """One Retraining that was bound: one target, or a reason for none."""
    if len(made.targets) > 1:
        verdict.breaks.append(f"{made.name} had {len(made.targets)} targets")
    if made.targets:
        verdict.numbers["Jobs"] += 1
        if made.targets[0] not in ledger.jobs:
            verdict.breaks.append(f"the target of {made.name} was never created")
    elif made.outcome == SUPERSEDED:
        verdict.numbers["superseded"] += 1
    elif made.deleted_by and made.deleted_by != OPERATOR:
        verdict.numbers["gone with their trigger"] += 1
    else:
        verdict.breaks.append(f"{made.name} ({made.outcome or 'unfinished'}) has no Job")


def _judge_ticks(ledger: Ledger, verdict: Verdict) -> None:
    ticks = Counter(
        (d.trigger_uid, d.trigger, d.tick) for d in ledger.decisions.values() if d.cause == "Drift"
    )
    for (_, trigger, tick), number in ticks.items():
        if number > 1:
            verdict.breaks.append(f"tick {tick} of {trigger} fired {number} times")


def _judge_jobs(ledger: Ledger, verdict: Verdict) -> None:
    """Targets are never deleted by the operator, others always are."""
    targets = ledger.targets
    verdict.numbers["Jobs created"] = len(ledger.jobs)
    for job in ledger.jobs.values():
        if job.uid not in targets:
            verdict.numbers["strays"] += 1
            if not job.deleted_by:
                verdict.breaks.append(f"Job {job.name} is no target and was left there")
        elif job.deleted_by == OPERATOR:
            verdict.breaks.append(f"the operator deleted Job {job.name}, which was a target")
        elif job.over_at is None:
            verdict.breaks.append(f"Job {job.name} has not ended")


def _judge_overlaps(ledger: Ledger, verdict: Verdict, allow: frozenset[str]) -> None:
    """Under Forbid, the target Jobs of a trigger's name come one after the other."""
    targets = ledger.targets
    lives: dict[tuple[str, str], list[Job]] = defaultdict(list)
    for job in ledger.jobs.values():
        if job.uid in targets and job.trigger not in allow:
            lives[job.namespace, job.trigger].append(job)
    for jobs in lives.values():
        for before, after in pairwise(sorted(jobs, key=lambda job: job.at)):
            if before.over_at is None or after.at < before.over_at:
                verdict.breaks.append(
                    f"{after.name} began at {after.at:%H:%M:%S.%f}, {before.name} ended at "
                    f"{before.over_at}"
                )
