"""What the story acts on and sees with: the cluster, the model server, the operator, the screen."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from drifttrigger.cli.demo.errors import NotObserved
from drifttrigger.cli.demo.exporter import Exporter
from drifttrigger.cli.demo.install import Kubectl
from drifttrigger.cli.demo.process import OperatorProcess
from drifttrigger.cli.demo.screen import Frame, Screen
from drifttrigger.cli.demo.watching import Sight, look
from drifttrigger.local.cluster import Cluster

WAIT_SECONDS = 45.0
# How long a day of the live series is meant to take; only the picture's time axis rests on it.
STEP_SECONDS = 8.0
_POLL_SECONDS = 0.15
_LAST_MOMENT = 0.9
_ANSWER_SECONDS = 20.0


@dataclass(slots=True)
class Stage:
    """All that is there while the story is told.

    Args:
        cluster: The control plane and Prometheus.
        exporter: The model server.
        screen: Where the story is told.
        threshold: θ.
        scores: What the series was so far, by step.
    """

    cluster: Cluster
    exporter: Exporter
    screen: Screen
    threshold: float
    scores: list[float]
    title: str = ""
    operator: OperatorProcess | None = None
    _step_began: float = field(default_factory=time.monotonic)

    @property
    def kubectl(self) -> Kubectl:
        """The administrator's kubectl."""
        return Kubectl(self.cluster)

    @property
    def prometheus(self) -> str:
        """URL of Prometheus."""
        return self.cluster.prometheus_url or ""

    @property
    def step(self) -> int:
        """Present step of the series."""
        return len(self.scores) - 1

    @property
    def position(self) -> float:
        """Present place on the axis of steps, the part of the day that has passed included."""
        passed = (time.monotonic() - self._step_began) / STEP_SECONDS
        return self.step + min(_LAST_MOMENT, passed)

    def chapter(self, title: str) -> None:
        """Begin a chapter."""
        self.title = title
        self.screen.chapter(title)

    def next_day(self, score: float) -> None:
        """Let the next step of the series begin."""
        self.exporter.show(score)
        self.scores.append(score)
        self._step_began = time.monotonic()

    @contextmanager
    def running_operator(self, *, number: int, fault: str = "") -> Iterator[OperatorProcess]:
        """Run an operator for the length of a block, and wait until it is ready."""
        operator = OperatorProcess(self.cluster, number=number, fault=fault)
        try:
            self.operator = operator
            self.until(lambda _: operator.is_ready(), "the operator is ready")
            yield operator
        finally:
            self.operator = None
            operator.stop()

    def look(self, *, at_operator: bool = True) -> Sight:
        """See everything now, and show it.

        Args:
            at_operator: False leaves the operator alone, for one that is suspended answers nobody.
        """
        self.cluster.check()
        score = None
        if self.operator is not None and at_operator:
            self.operator.check()
            score = self.operator.score()
        sight = self._look_at_api(score)
        self.screen.show(
            Frame(
                title=self.title,
                step=self.step,
                scores=self.scores,
                threshold=self.threshold,
                sight=sight,
            )
        )
        return sight

    def _look_at_api(self, score: float | None) -> Sight:
        """Look again where the API server is too busy to answer in time."""
        deadline = time.monotonic() + _ANSWER_SECONDS
        while True:
            try:
                return look(self.cluster.handle.api(), score=score)
            except OSError as error:
                if time.monotonic() > deadline:
                    raise NotObserved(f"the API server does not answer: {error}") from error

    def until(
        self,
        question: Callable[[Sight], bool],
        what: str,
        *,
        within_seconds: float = WAIT_SECONDS,
        at_operator: bool = True,
    ) -> Sight:
        """Look until something is true.

        Args:
            question: Asked of each sight.
            what: The claim, as a sentence.
            within_seconds: How long to look.
            at_operator: Whether to ask the operator for its score, too.

        Returns:
            The sight that it was true of.

        Raises:
            NotObserved: It did not become true; names the claim and what was seen last.
        """
        deadline = time.monotonic() + within_seconds
        while True:
            sight = self.look(at_operator=at_operator)
            if question(sight):
                return sight
            if time.monotonic() > deadline:
                raise NotObserved(
                    f"not observed within {within_seconds:.0f} s: {what}; last seen: {told(sight)}"
                    + (f"\n{self.operator.tail()}" if self.operator is not None else "")
                )
            time.sleep(_POLL_SECONDS)

    def linger(self, seconds: float) -> Sight:
        """Give people time to look."""
        until = time.monotonic() + seconds
        while True:
            sight = self.look()
            if time.monotonic() > until:
                return sight
            time.sleep(_POLL_SECONDS)


def told(sight: Sight) -> str:
    """Tell a sight in one line, with the sentences."""
    return (
        f"score {sight.score}, Ready {sight.ready.status} {sight.ready.reason}"
        f" ({sight.ready.message}), Drifted {sight.drifted.status} {sight.drifted.reason},"
        f" {len(sight.retrainings)} Retrainings, {len(sight.jobs)} Jobs"
    )
