"""How many evaluations a second one core gives when there are always more to do.

Every trigger is asked for once a second, which is more than one process can do at ten thousand. The
servers run on other cores. Others may use the operator's core too, so the rate that counts is
evaluations per second of its CPU time: what it would do with a core to itself.
"""

from dataclasses import dataclass
from statistics import median

from bench.ground import Ground
from bench.operators import BenchOperator
from bench.settling import polling_seconds, settle
from bench.steady import Window, measure

INTERVAL_SECONDS = 1
_WARM_WINDOW_SECONDS = 10.0
_WINDOW_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Saturated:
    """What one core gave.

    Attributes:
        windows: Measurements.
        demanded: Evaluations a second that were due.
    """

    windows: tuple[Window, ...]
    demanded: float

    @property
    def per_cpu_second(self) -> float:
        """Evaluations per second of CPU time."""
        return median(w.evaluations / max(w.operator_seconds, 1e-9) for w in self.windows)

    @property
    def per_second(self) -> float:
        """Evaluations per second of time."""
        return median(w.evaluations / w.seconds for w in self.windows)

    @property
    def core_share(self) -> float:
        """How much of its core the operator used, 0 to 1."""
        return median(w.operator_seconds / w.seconds for w in self.windows)


def saturate(ground: Ground, number: int, *, windows: int) -> Saturated:
    """Ask for more than one operator can do.

    Args:
        ground: Where; nobody else runs there.
        number: Of triggers, all of which get an interval of a second.
        windows: How often it is measured.
    """
    ground.set_interval(range(number), INTERVAL_SECONDS)
    settle(ground, number, name="settler-saturated")
    operator = BenchOperator(ground, "saturated")
    try:
        operator.wait(
            lambda page: len(page.scores) >= number,
            within_seconds=120 + number / 50,
            what=f"{number} triggers evaluated",
            every_seconds=polling_seconds(number),
        )
        measure(ground, [operator], seconds=_WARM_WINDOW_SECONDS)
        measured = [measure(ground, [operator], seconds=_WINDOW_SECONDS) for _ in range(windows)]
    finally:
        operator.stop()
    return Saturated(tuple(measured), number / INTERVAL_SECONDS)
