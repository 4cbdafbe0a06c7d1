"""The quick scenarios hold, and a search that should find something does.

The search takes over the log and patches the code that it runs: each has a process of its own.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from explore.mutants import MUTANTS
from explore.scenarios import QUICK, SCENARIOS
from explore.world import Scenario

ROOT = Path(__file__).parents[2]
SLOW = {"stale-clean"}
BOTH_WAYS = """
from explore.scenarios import QUICK
from explore.search import Search

for scenario in QUICK[0], QUICK[2]:
    reduced, full = Search(scenario), Search(scenario)
    full._is_alone = lambda *_: False
    few, many = reduced.run().states, full.run().states
    assert few < many, (few, many)
    assert set(reduced._worlds.values) == set(full._worlds.values)
"""


def run(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run Python with the search on its path."""
    paths = f"{ROOT / 'tests'}{os.pathsep}{ROOT / 'operator'}"
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": paths, "MUTANT": "", **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize("scenario", QUICK, ids=lambda scenario: scenario.name)
def test_no_law_breaks_in_any_interleaving(scenario: Scenario) -> None:
    done = run("-m", "explore", EXPLORE=scenario.name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no law broken" in done.stdout


@pytest.mark.parametrize("mutant", sorted(set(MUTANTS) - SLOW))
def test_a_broken_rule_is_found_with_a_trace(mutant: str) -> None:
    done = run("-m", "explore", MUTANT=mutant)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "BROKEN: " in done.stdout
    assert "   1. " in done.stdout


def test_an_unknown_mutant_is_wrong_usage() -> None:
    done = run("-m", "explore", MUTANT="nope")
    assert done.returncode == 2
    assert all(name in done.stderr for name in MUTANTS)


def test_a_search_that_is_cut_short_is_no_success() -> None:
    done = run("-m", "explore", EXPLORE=QUICK[0].name, EXPLORE_LIMIT="100")
    assert done.returncode == 1


def test_letting_others_wait_for_a_refused_write_reaches_the_same_worlds() -> None:
    done = run("-c", BOTH_WAYS)
    assert done.returncode == 0, done.stderr


def test_every_scenario_has_a_name_of_its_own() -> None:
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)
