"""How the demo looks: a live view on a terminal, plain lines everywhere else.

The story says sentences (`chapter`, `say`) and shows frames (`show`). On a terminal the newest
frame stays at the bottom; elsewhere a frame is one line, told when something in it changed.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from drifttrigger.cli.demo.chart import chart
from drifttrigger.cli.demo.watching import Sight

_WIDEST = 100


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture.

    Args:
        title: Where the story is.
        step: Present step of the series.
        scores: Score by step, up to the present one.
        threshold: θ.
        sight: What was seen.
    """

    title: str
    step: int
    scores: Sequence[float]
    threshold: float
    sight: Sight


class Screen(Protocol):
    """Where the story is told."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End; the terminal is as it was."""

    def chapter(self, text: str) -> None:
        """Tell that something new begins."""

    def say(self, text: str) -> None:
        """Tell a sentence."""

    def paste(self, text: str) -> None:
        """Tell a line that people copy: nothing before it, nothing broken."""

    def show(self, frame: Frame) -> None:
        """Show the newest frame."""

    def rest(self) -> None:
        """Leave the newest frame where it is; what is told next comes below it."""


def screen_for(*, to_stderr: bool) -> Screen:
    """Choose by where the output goes."""
    console = Console(stderr=to_stderr, highlight=False)
    if console.is_terminal:
        return LiveScreen(console)
    return PlainScreen(Console(stderr=to_stderr, highlight=False, soft_wrap=True))


class PlainScreen:
    """Lines, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()
        self._told = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to restore."""

    def chapter(self, text: str) -> None:
        """Tell that something new begins."""
        self._print(f"== {text}")

    def say(self, text: str) -> None:
        """Tell a sentence."""
        self._print(f"   {text}")

    def paste(self, text: str) -> None:
        """Tell a line that people copy."""
        self._console.print(text, markup=False)
        self._console.file.flush()

    def rest(self) -> None:
        """Nothing moves."""

    def show(self, frame: Frame) -> None:
        """Tell the frame, unless it says what the last one said."""
        line = summary_line(frame)
        if line != self._told:
            self._told = line
            self._print(f"   · {line}")

    def _print(self, text: str) -> None:
        passed = time.monotonic() - self._started
        self._console.print(f"{passed:6.1f} s {text}", markup=False)
        self._console.file.flush()


class LiveScreen:
    """Sentences that scroll by above a picture that stays."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=8, transient=False)
        self._is_live = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.rest()

    def chapter(self, text: str) -> None:
        """Tell that something new begins."""
        self._console.print(Text(text, style="bold"))

    def say(self, text: str) -> None:
        """Tell a sentence."""
        self._console.print(Padding(Text(text), (0, 0, 0, 2)))

    def paste(self, text: str) -> None:
        """Tell a line that people copy."""
        self._console.print(text, markup=False, soft_wrap=True)

    def rest(self) -> None:
        """Leave the picture."""
        if self._is_live:
            self._is_live = False
            self._live.stop()

    def show(self, frame: Frame) -> None:
        """Replace the picture."""
        if not self._is_live:
            self._live.start()
            self._is_live = True
        self._live.update(picture(frame, width=min(self._console.width, _WIDEST)))


def summary_line(frame: Frame) -> str:
    """Tell a frame in one line."""
    sight = frame.sight
    parts = [
        f"step {frame.step}",
        f"score {_number(sight.score)}",
        f"θ {frame.threshold}",
        f"Ready={_condition(sight, of_ready=True)}",
        f"Drifted={_condition(sight, of_ready=False)}",
        *(f"Retraining {r.metadata.name}: {_state(r.succeeded.reason)}" for r in sight.retrainings),
        *(f"Job: {job.state}" for job in sight.jobs),
    ]
    return "  ".join(parts)


def picture(frame: Frame, *, width: int) -> RenderableType:
    """Draw a frame."""
    sight = frame.sight
    is_breach = sight.score is not None and sight.score > frame.threshold
    state = Table.grid(padding=(0, 2))
    state.add_column(style="dim", justify="right")
    state.add_column()
    score = Text(_number(sight.score), style="bold red" if is_breach else "bold")
    state.add_row(
        "score",
        score
        + Text(
            f" {'>' if is_breach else '≤'} θ {frame.threshold}" if sight.score is not None else "",
            style="dim",
        ),
    )
    state.add_row("Ready", _condition(sight, of_ready=True))
    state.add_row("Drifted", _condition(sight, of_ready=False))
    for retraining in sight.retrainings:
        what = f"{retraining.metadata.name}  {_state(retraining.succeeded.reason)}"
        state.add_row("Retraining", what)
    for job in sight.jobs:
        state.add_row("Job", f"{job.metadata.name}  {job.state}")
    drawing = chart(frame.scores, threshold=frame.threshold, width=width - 4)
    title = f"step {frame.step}: {frame.title}"
    return Panel(Group(drawing, state), title=title, title_align="left", width=width)


def _number(score: float | None) -> str:
    return "–" if score is None else f"{score:.4f}"


def _condition(sight: Sight, *, of_ready: bool) -> str:
    found = sight.ready if of_ready else sight.drifted
    return f"{found.status} {found.reason}".rstrip()


def _state(reason: str) -> str:
    return reason or "just created"
