"""The bounded worlds that are explored: in CI the quick ones, by `make explore` all of them."""

from explore.search import Faults, Scenario

DRIFT = 0.5
CALM = 0.1
NO_COOLDOWN = (("cooldown", "0s"),)

QUICK = (
    Scenario("a crash at any write", (DRIFT,), Faults(crashes=1)),
    Scenario("a reply lost at any write", (DRIFT,), Faults(lost_replies=1)),
    Scenario("a create lands late", (DRIFT,), Faults(late_creates=1)),
    Scenario("a Job is deleted by hand", (DRIFT,), Faults(job_deletions=1)),
)
THOROUGH = (
    Scenario("two crashes at any write", (DRIFT,), Faults(crashes=2)),
    Scenario("a refusal at any write", (DRIFT,), Faults(refusals=1)),
    Scenario("deleted and applied again", (DRIFT,), Faults(recreations=1)),
    Scenario("suspended and resumed", (DRIFT,), Faults(suspensions=2)),
    Scenario("a create lands late, a crash", (DRIFT,), Faults(late_creates=1, crashes=1)),
    Scenario("drift goes on", (DRIFT, DRIFT), Faults()),
    Scenario("drift goes on, no cooldown", (DRIFT, DRIFT), Faults(), spec=NO_COOLDOWN),
    Scenario("drift comes back", (DRIFT, CALM, DRIFT), Faults(), spec=NO_COOLDOWN, replicas=1),
    Scenario("the episode ends", (DRIFT, CALM), Faults(), spec=NO_COOLDOWN),
)
SCENARIOS = QUICK + THOROUGH
