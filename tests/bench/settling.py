"""Waiting until there is nothing left to write but heartbeats.

New triggers cost a rehearsal of their template and some status writes each; under the write budget
of one process ten thousand of them take most of an hour. An operator with a large budget does that
before anything is measured.
"""

import time

from bench.errors import BenchError
from bench.ground import TRIGGERS, Body, Ground
from bench.operators import BenchOperator
from bench.sending import Request

_BUDGET = 2000
_POLL_SECONDS = 1.0
_NEEDED = {"TemplateValid", "Ready"}


def settle(ground: Ground, number: int, *, name: str) -> float:
    """Run an operator until every trigger's status says all that it will say.

    Args:
        ground: Where.
        number: How many triggers there are.
        name: Of the operator.

    Returns:
        Age of that operator, seconds, when it had evaluated every trigger once.

    Raises:
        BenchError: It takes longer than a tenth of a second a trigger and some minutes.
    """
    operator = BenchOperator(ground, name, f"--api-write-budget={_BUDGET}")
    within = 180 + number / 10
    try:
        evaluated = operator.wait(
            lambda page: len(page.scores) >= number,
            within_seconds=within,
            what=f"{number} triggers evaluated",
            every_seconds=polling_seconds(number),
        )
        for namespace in ground.namespaces:
            _wait_settled(ground, namespace, operator, within_seconds=within)
        ground.say(f"  settled after {operator.age_seconds:.0f} s")
    finally:
        operator.stop()
    return evaluated


def polling_seconds(number: int) -> float:
    """Tell how often a page of so many triggers may be asked for without it being felt."""
    return 0.25 + number / 5000


def _wait_settled(
    ground: Ground, namespace: str, operator: BenchOperator, *, within_seconds: float
) -> None:
    deadline = time.monotonic() + within_seconds
    while True:
        operator.check()
        (page,) = ground.send([Request("GET", TRIGGERS.format(namespace))])
        open_ones = sum(not _is_settled(item) for item in page["items"])
        if not open_ones:
            return
        if time.monotonic() > deadline:
            raise BenchError(f"{open_ones} triggers of {namespace} have not settled")
        time.sleep(_POLL_SECONDS)


def _is_settled(item: Body) -> bool:
    conditions = item.get("status", {}).get("conditions", [])
    generation = item.get("metadata", {}).get("generation")
    good = {
        condition["type"]
        for condition in conditions
        if condition["status"] == "True" and condition.get("observedGeneration") == generation
    }
    return good >= _NEEDED
