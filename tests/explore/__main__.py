"""`make explore`: every scenario, or with MUTANT=… one broken rule that must be found.

`EXPLORE=quick` explores the quick ones alone, `EXPLORE=<part of a name>` those that have it in
their name. Exit status 0 when no law breaks, 1 when one does (a mutant is expected to) or a search
does not complete, 2 for an unknown name.
"""

import os
import sys
import time

from explore.mutants import MUTANTS
from explore.scenarios import QUICK, SCENARIOS
from explore.search import Result, Search
from explore.world import Scenario


def main() -> int:
    """Explore, print, say whether a law broke."""
    mutant, chosen = os.environ.get("MUTANT", ""), os.environ.get("EXPLORE", "")
    if mutant and mutant not in MUTANTS:
        print(f"MUTANT={mutant} is not one of {', '.join(MUTANTS)}", file=sys.stderr)
        return 2
    scenarios = QUICK if chosen == "quick" else [s for s in SCENARIOS if chosen in s.name]
    if mutant:
        print(f"{mutant}: {MUTANTS[mutant].__doc__}")
        scenarios = list(MUTANTS[mutant]())
    if not scenarios:
        print(f"EXPLORE={chosen} is in the name of no scenario", file=sys.stderr)
        return 2
    states = 0
    for scenario in scenarios:
        result = _explore(scenario)
        states += result.states
        if result.violation:
            print(f"\nBROKEN: {result.violation}")
            for number, step in enumerate(result.trace, 1):
                print(f"{number:>4}. {step}")
        if result.violation or not result.is_complete:
            return 1
    print(f"no law broken in {states} states")
    return 0


def _explore(scenario: Scenario) -> Result:
    started = time.monotonic()
    result = Search(scenario, limit=int(os.environ.get("EXPLORE_LIMIT", "20000000"))).run()
    seconds = time.monotonic() - started
    print(
        f"{scenario.name:32} {result.states:>8} states {result.transitions:>9} steps "
        f"{result.settled:>7} ends {seconds:6.1f} s"
        + ("" if result.is_complete else "  UNFINISHED"),
        flush=True,
    )
    return result


if __name__ == "__main__":
    sys.exit(main())
