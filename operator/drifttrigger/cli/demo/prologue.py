"""What is known before anything runs: the exercise's thirty scores, and where they lead."""

from collections.abc import Sequence

from drifttrigger.cli.demo.errors import NotObserved
from drifttrigger.cli.demo.screen import Screen
from drifttrigger.cli.demo.story import LAST_STEP, NEW_MODEL_STEP
from drifttrigger.cli.demo.summary import Reference

_A_ROW = 10


def tell(screen: Screen) -> tuple[Reference, list[float]]:
    """Show the reference scores; nothing needs to be built for that.

    Returns:
        What they are, and the scores by step to the story's end: the old model's, then the new
        one's.
    """
    from drifttrigger.cli.analysis.reference import (
        STEPS,
        THRESHOLD,
        first_crossing,
        reference_scores,
    )

    screen.chapter(
        f"{STEPS} daily drift scores (NumPy seed 42; base 0.05, +0.015 a day after day 20, σ 0.02)"
    )
    old = reference_scores(LAST_STEP + 1)
    for row in range(0, STEPS, _A_ROW):
        screen.say(_row(old, row, min(row + _A_ROW, STEPS)))
    thirty = old[:STEPS]
    crossing = first_crossing(old)
    if crossing is None or first_crossing(thirty) is not None:
        raise NotObserved("the generator does not give the exercise's series")
    reference = Reference(
        steps=STEPS,
        peak=max(thirty),
        peak_step=thirty.index(max(thirty)),
        threshold=THRESHOLD,
        first_crossing=crossing,
        first_crossing_score=old[crossing],
    )
    screen.say(
        f"peak {reference.peak:.4f} at step {reference.peak_step}: θ = {THRESHOLD} is never crossed"
        f" in these {STEPS}, so no trigger fires"
    )
    screen.say(
        f"the series goes on: step {crossing} is the first above θ, with {old[crossing]:.4f}"
    )
    return reference, reference_scores(LAST_STEP + 1, retrained_at=NEW_MODEL_STEP)


def _row(scores: Sequence[float], first: int, end: int) -> str:
    values = " ".join(f"{score:.4f}" for score in scores[first:end])
    return f"step {first:2}–{end - 1:2}  {values}"
