"""One broken rule each: a search that can't find them proves nothing."""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import replace
from unittest import mock

from explore.scenarios import CALM, DRIFT, SCENARIOS
from explore.search import Faults, Scenario

from drifttrigger.runtime.realisation import Right


def _no_cas() -> Iterable[Scenario]:
    """The API server accepts a write that was decided on an older version."""
    return [replace(scenario, checks_version=False) for scenario in SCENARIOS]


def _random_name() -> Iterable[Scenario]:
    """Each attempt to create a Retraining invents another name."""
    numbers = itertools.count()
    create = "drifttrigger.runtime.intents.retraining_body"
    from drifttrigger.runtime import intents

    real = intents.retraining_body

    def renamed(view: object, pending: object, template: object) -> dict[str, object]:
        body = real(view, pending, template)  # type: ignore[arg-type]
        body["metadata"]["name"] += f"-{next(numbers) % 50}"
        return body

    mock.patch(create, renamed).start()
    return SCENARIOS


def _no_last_tick() -> Iterable[Scenario]:
    """A tick that was decided is decided again."""
    mock.patch("drifttrigger.core.decide.is_old", lambda *_: False).start()
    mock.patch(
        "drifttrigger.runtime.records.Record.due_tick",
        lambda self, rules, now: rules.schedule.latest(now),
    ).start()
    return [
        Scenario("drift comes back", (DRIFT, CALM), Faults(), spec=(("cooldown", "0s"),)),
    ]


def _no_binding() -> Iterable[Scenario]:
    """Any Retraining of the trigger may run, bound or not."""
    mock.patch("drifttrigger.runtime.realisation.right_of", lambda *_: Right.RUN).start()
    mock.patch("drifttrigger.runtime.realisation.is_over", lambda *_: False).start()
    return [
        Scenario(
            "a create lands late",
            (DRIFT, DRIFT),
            Faults(late_creates=1, recreations=1),
            spec=(("cooldown", "0s"),),
        ),
        *SCENARIOS,
    ]


def _no_list() -> Iterable[Scenario]:
    """A trigger without history does not look for Retrainings under its name."""

    async def adopt(self: object, view: object) -> object:
        del self
        return view.status  # type: ignore[attr-defined]

    mock.patch("drifttrigger.runtime.intents.Intents.adopt", adopt).start()
    return SCENARIOS


MUTANTS: dict[str, Callable[[], Iterable[Scenario]]] = {
    "no-cas": _no_cas,
    "random-name": _random_name,
    "no-last-tick": _no_last_tick,
    "no-binding": _no_binding,
    "no-list": _no_list,
}
