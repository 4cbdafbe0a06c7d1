"""What people and data do to triggers meanwhile: edits, deletions, re-creations, crossings."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence

from bench.errors import BenchError
from bench.exporter import CALM, HIGH
from bench.ground import Ground, model, trigger_path
from bench.sending import Request

_PAUSE_SECONDS = 0.5
_MOST_RAISED = 20
_EDITS = ({"threshold": 0.3}, {"threshold": 0.2}, {"suspend": True}, {"suspend": False})


class Churn(threading.Thread):
    """Does something to a trigger twice a second.

    Args:
        ground: Where.
        numbers: Of the triggers.
        interval_seconds: Of those that are created again.
        stream: Randomness.

    Attributes:
        done: How often what was done.
    """

    def __init__(
        self, ground: Ground, numbers: Sequence[int], interval_seconds: int, stream: random.Random
    ) -> None:
        super().__init__(daemon=True, name="churn")
        self._ground = ground
        self._numbers = numbers
        self._interval = interval_seconds
        self._random = stream
        self._over = threading.Event()
        self._failed: BaseException | None = None
        self._deleted: list[int] = []
        self._raised: list[int] = []
        self.done: Counter[str] = Counter()

    def run(self) -> None:
        """Go on until told to stop, or until something is refused."""
        while not self._over.wait(_PAUSE_SECONDS):
            name, step = self._random.choice(self._possible())
            try:
                step()
            except (BenchError, OSError) as error:
                self._failed = error
                return
            self.done[name] += 1

    def _possible(self) -> list[tuple[str, Callable[[], None]]]:
        """List what can be done now."""
        steps: list[tuple[str, Callable[[], None]]] = [("edited", self._edit)]
        if len(self._deleted) < len(self._numbers) // 20 + 1:
            steps.append(("deleted", self._delete))
        if len(self._raised) < _MOST_RAISED:
            steps.append(("raised", self._raise))
        if self._deleted:
            steps.append(("created again", self._create))
        if self._raised:
            steps.append(("calmed", self._calm))
        return steps

    def check(self) -> None:
        """Make sure that it goes on.

        Raises:
            BenchError: The API server refused something.
        """
        if self._failed is not None:
            raise BenchError(f"the load broke off: {self._failed}") from self._failed

    def stop(self) -> None:
        """End it."""
        self._over.set()
        if self.is_alive():
            self.join()

    def _any(self) -> int:
        """Choose a trigger that exists."""
        while (number := self._random.choice(self._numbers)) in self._deleted:
            pass
        return number

    def _edit(self) -> None:
        path = trigger_path(*self._ground.trigger(self._any()))
        self._ground.send([Request("PATCH", path, {"spec": self._random.choice(_EDITS)})])

    def _delete(self) -> None:
        number = self._any()
        self._ground.send([Request("DELETE", trigger_path(*self._ground.trigger(number)))])
        self._ground.exporter.drop([model(number)])
        self._deleted.append(number)

    def _create(self) -> None:
        number = self._deleted.pop(0)
        self._ground.create_triggers([number], interval_seconds=self._interval)

    def _raise(self) -> None:
        number = self._any()
        self._ground.exporter.set_all([model(number)], HIGH)
        self._raised.append(number)

    def _calm(self) -> None:
        number = self._raised.pop(0)
        if number not in self._deleted:
            self._ground.exporter.set_all([model(number)], CALM)
