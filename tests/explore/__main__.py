"""`make explore`: every scenario, or with MUTANT=… one broken rule that must be found.

Exit status 0 when no law breaks, 1 when one does (a mutant is expected to).
"""

import os
import sys
import time

from explore.mutants import MUTANTS
from explore.scenarios import SCENARIOS
from explore.search import Search


def main() -> int:
    """Explore, print, say whether a law broke."""
    mutant = os.environ.get("MUTANT", "")
    if mutant and mutant not in MUTANTS:
        print(f"MUTANT={mutant} is not one of {', '.join(MUTANTS)}", file=sys.stderr)
        return 2
    scenarios = MUTANTS[mutant]() if mutant else SCENARIOS
    states, longest = 0, float(os.environ.get("EXPLORE_LIMIT", "3e6"))
    for scenario in scenarios:
        started = time.monotonic()
        result = Search(scenario, limit=int(longest)).run()
        states += result.states
        seconds = time.monotonic() - started
        print(
            f"{scenario.name:32} {result.states:>8} states {result.transitions:>9} steps "
            f"{result.settled:>7} ends {seconds:6.1f} s"
            + ("" if result.is_complete else "  NOT COMPLETE"),
            flush=True,
        )
        if result.violation:
            print(f"\nBROKEN: {result.violation}")
            for number, step in enumerate(result.trace, 1):
                print(f"{number:>4}. {step}")
            return 1
        if not result.is_complete:
            return 1
    print(f"no law broken in {states} states")
    return 0


if __name__ == "__main__":
    sys.exit(main())
