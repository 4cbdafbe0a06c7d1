"""How fast the operator wrote and started Jobs, from the audit log."""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from chaos.ledger import Event, is_confirmation, is_urgent, operator_writes, sent_at, what_of

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
_LONG = timedelta(seconds=10)


@dataclass(frozen=True)
class Rates:
    """What the operator sent in some span of time.

    Attributes:
        writes: All writes, by what they were.
        highest: Most writes in any second.
        highest_budgeted: The same without what is exempt from the budget.
        highest_lasting: Writes a second without those, in the busiest ten seconds.
        highest_starts: Most Jobs created in any minute.
        last_intent: When the last decision was confirmed; None when there was none.
    """

    writes: Counter[str] = field(default_factory=Counter)
    highest: int = 0
    highest_budgeted: int = 0
    highest_lasting: float = 0.0
    highest_starts: int = 0
    last_intent: datetime | None = None

    def __str__(self) -> str:
        kinds = ", ".join(f"{what} {number}" for what, number in self.writes.most_common())
        return (
            f"highest write rate {self.highest}/s, budgeted {self.highest_budgeted}/s "
            f"({self.highest_lasting:.1f}/s over 10 s), highest Job starts "
            f"{self.highest_starts}/min; {kinds}"
        )


def rates(events: Iterable[Event], *, since: datetime) -> Rates:
    """Measure the operator's writes from an instant on."""
    found = [event for event in operator_writes(events) if sent_at(event) >= since]
    times = sorted(sent_at(event) for event in found)
    budgeted = sorted(sent_at(event) for event in found if not is_urgent(event))
    starts = sorted(sent_at(event) for event in found if what_of(event) == "create jobs")
    intents = [sent_at(event) for event in found if is_confirmation(event)]
    return Rates(
        writes=Counter(what_of(event) for event in found),
        highest=busiest(times, SECOND),
        highest_budgeted=busiest(budgeted, SECOND),
        highest_lasting=busiest(budgeted, _LONG) / _LONG.total_seconds(),
        highest_starts=busiest(starts, MINUTE),
        last_intent=max(intents, default=None),
    )


def busiest(times: Iterable[datetime], window: timedelta) -> int:
    """Count what falls into the fullest window of this length; times come in order."""
    inside: deque[datetime] = deque()
    most = 0
    for time in times:
        inside.append(time)
        while time - inside[0] >= window:
            inside.popleft()
        most = max(most, len(inside))
    return most
