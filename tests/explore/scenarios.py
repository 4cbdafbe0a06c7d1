"""The bounded worlds that are explored: in CI the quick ones, by `make explore` all of them.

Two processes unless the name says otherwise. One process that may crash and whose writes may land
late stands for many, one after the other, and reaches further than two at once.
"""

from dataclasses import replace

from explore.world import Faults, Scenario

DRIFT = 0.5
CALM = 0.1
NO_COOLDOWN = (("cooldown", "0s"),)
ALLOW = (*NO_COOLDOWN, ("concurrencyPolicy", "Allow"), ("maxAttempts", 0))
DELETE = (("deletionPolicy", "Delete"),)
NO_HISTORY = (("successfulHistoryLimit", 0), ("failedHistoryLimit", 0))
AGAIN = Faults(deletions=1, applications=1)

QUICK = (
    Scenario("a crash at any moment", (DRIFT,), Faults(crashes=1)),
    Scenario("a reply is lost", (DRIFT,), Faults(lost_replies=1)),
    Scenario("a Job is deleted by hand", (DRIFT,), Faults(job_deletions=1)),
    Scenario("a Retraining is deleted by hand", (DRIFT,), Faults(retraining_deletions=1)),
    Scenario("the status is emptied", (DRIFT,), Faults(resets=1)),
    Scenario("finished Jobs have a TTL", (DRIFT,), ttl=0),
    Scenario("the trigger is deleted", (DRIFT,), Faults(deletions=1)),
    Scenario("the episode ends", (DRIFT, CALM), spec=NO_COOLDOWN),
)
TWO = (
    Scenario("two crashes", (DRIFT,), Faults(crashes=2)),
    Scenario("a crash and a lost reply", (DRIFT,), Faults(crashes=1, lost_replies=1)),
    Scenario("a write lands late", (DRIFT,), Faults(late_writes=1)),
    Scenario("a write is answered 503", (DRIFT,), Faults(refusals=1)),
    Scenario("a create is answered 422", (DRIFT,), Faults(rejections=1)),
    Scenario("quota exceeded, drift is over", (DRIFT, CALM), Faults(quotas=1), spec=NO_COOLDOWN),
    Scenario("deleted with what it owns", (DRIFT,), Faults(deletions=1), spec=DELETE),
    Scenario("deleted and applied again", (DRIFT,), AGAIN),
    Scenario("the same, in the foreground", (DRIFT,), AGAIN, foreground=True),
    Scenario("a Job is deleted slowly", (DRIFT,), Faults(job_deletions=1), foreground=True, ttl=0),
    Scenario(
        "a Retraining is deleted slowly", (DRIFT,), Faults(retraining_deletions=1), foreground=True
    ),
    Scenario("somebody sets suspend", (DRIFT,), Faults(suspensions=1)),
    Scenario("the condition is edited", (DRIFT,), Faults(edits=1)),
    Scenario("held for a while", (DRIFT,), Faults(holds=2)),
    Scenario("a trigger-now", (DRIFT,), Faults(requests=1)),
    Scenario("drift goes on", (DRIFT, DRIFT)),
    Scenario("drift goes on, no cooldown", (DRIFT, DRIFT), spec=NO_COOLDOWN),
    Scenario("drift goes on, one attempt", (DRIFT, DRIFT), spec=(*NO_COOLDOWN, ("maxAttempts", 1))),
    Scenario("Allow while Jobs run", (DRIFT, DRIFT), spec=ALLOW, jobs_end=False),
    Scenario("no history is kept", (DRIFT,), spec=(*NO_COOLDOWN, *NO_HISTORY), cleans=True),
)
ONE = (
    Scenario("one: drift comes back", (DRIFT, CALM, DRIFT), spec=NO_COOLDOWN, processes=1),
    Scenario("one: Allow", (DRIFT, DRIFT), Faults(crashes=1), spec=ALLOW, processes=1),
    Scenario(
        "one: deletionPolicy Delete",
        (DRIFT,),
        replace(AGAIN, crashes=1, late_writes=1),
        spec=DELETE,
        processes=1,
    ),
    Scenario(
        "one: late, all deleted",
        (DRIFT,),
        replace(AGAIN, crashes=1, late_writes=1, retraining_deletions=1),
        processes=1,
    ),
    Scenario(
        "one: late, emptied, deleted",
        (DRIFT,),
        Faults(crashes=1, late_writes=1, retraining_deletions=1, resets=1),
        processes=1,
    ),
    Scenario(
        "one: asked, held, suspended",
        (DRIFT,),
        Faults(crashes=1, requests=1, holds=1, suspensions=1),
        processes=1,
    ),
)
THREE = (Scenario("three processes", (DRIFT,), processes=3),)
SCENARIOS = (*QUICK, *TWO, *ONE, *THREE)
