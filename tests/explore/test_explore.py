"""The quick scenarios hold, and a search that should find something does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from explore.scenarios import QUICK
from explore.search import Search
from explore.world import Scenario

ROOT = Path(__file__).parents[2]


def explore(mutant: str) -> "subprocess.CompletedProcess[str]":
    """Run the program: mutants break modules for the whole process."""
    paths = f"{ROOT / 'tests'}{os.pathsep}{ROOT / 'operator'}"
    return subprocess.run(
        [sys.executable, "-m", "explore"],
        env={**os.environ, "PYTHONPATH": paths, "MUTANT": mutant},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize("scenario", QUICK, ids=lambda scenario: scenario.name)
def test_no_law_breaks_in_any_interleaving(scenario: Scenario) -> None:
    result = Search(scenario).run()
    assert result.violation == "", "\n".join(result.trace)
    assert result.is_complete
    assert result.settled > 0


@pytest.mark.parametrize("mutant", ["no-cas", "random-name"])
def test_a_broken_rule_is_found_with_a_trace(mutant: str) -> None:
    done = explore(mutant)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "BROKEN: " in done.stdout
    assert "   1. " in done.stdout


def test_an_unknown_mutant_is_wrong_usage() -> None:
    done = explore("nope")
    assert done.returncode == 2
    assert "no-cas" in done.stderr
