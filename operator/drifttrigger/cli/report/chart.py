"""A chart of scores that reads at any width: an SVG that stretches, with text beside it in HTML.

The SVG alone shows everything; the script of the page adds a cursor and zooming. A long history is
thinned to the lowest and the highest score of each of some stretches, so that no peak is lost.
"""

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec

from drifttrigger.cli.report import escape
from drifttrigger.core.observation import format_value
from drifttrigger.core.times import format_instant

WIDTH, HEIGHT = 10_000, 1_000
_MOST_POINTS = 4_000
_STRETCHES = 1_500
_FEW = 200
_LABELS_X, _LABELS_Y = 5, 4
_ROOM = 0.08

Point = tuple[datetime, float | None]


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """What to draw.

    Attributes:
        points: By time; None is no data, and a gap.
        threshold: θ.
        clear_threshold: None where it is θ itself.
        spans: From and to of each drifted time.
        markers: Time and height of each retraining.
        label: What it shows, for those who don't see it.
    """

    points: Sequence[Point]
    threshold: float
    clear_threshold: float | None
    spans: Sequence[tuple[datetime, datetime]]
    markers: Sequence[tuple[datetime, float]]
    label: str


class _Frame(msgspec.Struct, frozen=True):
    """From times and scores to the SVG's own units."""

    first: float
    length: float
    low: float
    high: float

    def x(self, time: datetime) -> float:
        return round((time.timestamp() - self.first) / self.length * WIDTH, 1)

    def y(self, score: float) -> float:
        return round((self.high - score) / (self.high - self.low) * HEIGHT, 1)


def chart_data(chart: Chart) -> dict[str, object]:
    """Give the script what it reads."""
    points = thinned(chart.points)
    frame = _frame(chart)
    return {
        "times": [round(time.timestamp()) for time, _ in points],
        "scores": [score for _, score in points],
        "first": frame.first,
        "length": frame.length,
        "low": frame.low,
        "high": frame.high,
        "width": WIDTH,
        "height": HEIGHT,
    }


def chart_html(chart: Chart) -> str:
    """Draw a chart."""
    points, frame = thinned(chart.points), _frame(chart)
    shapes = [
        *(_span(frame, *span) for span in chart.spans),
        f'<path class="score" d="{_path(frame, points)}"/>',
        f'<path class="dots" d="{_dots(frame, points)}"/>' if len(points) <= _FEW else "",
        _bound(frame, chart.threshold, "theta"),
        _bound(frame, chart.clear_threshold, "clear") if chart.clear_threshold is not None else "",
        f'<path id="cursor" class="cursor" d="M0 0V{HEIGHT}" visibility="hidden"/>',
    ]
    markers = "".join(
        f'<span class="marker" data-x="{frame.x(time)}" style="left:{frame.x(time) / WIDTH:.3%};'
        f'top:{frame.y(score) / HEIGHT:.2%}" aria-hidden="true"></span>'
        for time, score in chart.markers
    )
    drawing = (
        f'<svg id="svg" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(chart.label)}">{"".join(shapes)}</svg>'
    )
    return (
        f'<figure class="chart">\n<div class="plot">{_labels_y(frame)}\n'
        f'<div class="area" id="area">{drawing}{markers}</div></div>\n'
        f"{_labels_x(frame)}\n{_legend(chart)}\n{_CONTROLS}\n</figure>"
    )


_CONTROLS = """<div class="controls" id="controls" hidden>
<label>Look at <input type="range" id="at" min="0" max="0" value="0"></label>
<output id="readout" for="at"></output>
<div class="buttons"><button type="button" data-zoom="in">Zoom in</button>
<button type="button" data-zoom="out">Zoom out</button>
<button type="button" data-zoom="earlier">Earlier</button>
<button type="button" data-zoom="later">Later</button>
<button type="button" data-zoom="all">All</button></div>
</div>"""


def thinned(points: Sequence[Point]) -> list[Point]:
    """Keep the lowest and the highest score, and a gap, of each of some stretches."""
    if len(points) <= _MOST_POINTS:
        return list(points)
    kept: list[Point] = []
    size = math.ceil(len(points) / _STRETCHES)
    for start in range(0, len(points), size):
        kept += _extremes(points[start : start + size])
    return kept


def _extremes(points: Sequence[Point]) -> Iterable[Point]:
    known = [(score, time) for time, score in points if score is not None]
    gap = next(((time, None) for time, score in points if score is None), None)
    ends = {min(known), max(known)} if known else set()
    found: list[Point] = [(time, score) for score, time in ends]
    return sorted([*found, gap] if gap is not None else found, key=lambda point: point[0])


def _frame(chart: Chart) -> _Frame:
    times = [time.timestamp() for time, _ in chart.points]
    scores = [score for _, score in chart.points if score is not None]
    bounds = [chart.threshold]
    bounds += [chart.clear_threshold] if chart.clear_threshold is not None else []
    low, high = min([*scores, *bounds]), max([*scores, *bounds])
    room = (high - low) * _ROOM or abs(high) * _ROOM or 1.0
    first = times[0] if times else 0.0
    return _Frame(first, (times[-1] - first if times else 0.0) or 1.0, low - room, high + room)


def _path(frame: _Frame, points: Sequence[Point]) -> str:
    parts, pen_is_down = [], False
    for time, score in points:
        if score is not None:
            parts.append(f"{'L' if pen_is_down else 'M'}{frame.x(time):g} {frame.y(score):g}")
        pen_is_down = score is not None
    return "".join(parts)


def _dots(frame: _Frame, points: Sequence[Point]) -> str:
    return "".join(f"M{frame.x(t):g} {frame.y(s):g}h0" for t, s in points if s is not None)


def _span(frame: _Frame, start: datetime, end: datetime) -> str:
    left, right = frame.x(start), frame.x(end)
    return (
        f'<rect class="span" x="{left:g}" y="0" width="{max(right - left, 1):g}" '
        f'height="{HEIGHT}"/>'
    )


def _bound(frame: _Frame, score: float, kind: str) -> str:
    return f'<path class="{kind}" d="M0 {frame.y(score):g}H{WIDTH}"/>'


def _labels_y(frame: _Frame) -> str:
    labels, distance = [], (frame.high - frame.low) / _LABELS_Y
    decimals = max(0, 1 - math.floor(math.log10(distance)))
    for step in range(_LABELS_Y + 1):
        score = frame.high - distance * step
        labels.append(f'<span style="top:{step / _LABELS_Y:.0%}">{score:.{decimals}f}</span>')
    return f'<div class="y" aria-hidden="true">{"".join(labels)}</div>'


def _labels_x(frame: _Frame) -> str:
    labels = []
    for step in range(_LABELS_X):
        seconds = frame.first + frame.length * step / (_LABELS_X - 1)
        time = datetime.fromtimestamp(seconds, UTC)
        kind = ' class="extra"' if step % 2 else ""
        text = format_instant(time).replace("T", " ")[:16]
        labels.append(f"<span{kind}>{text}</span>")
    return f'<div class="x" id="x" aria-hidden="true">{"".join(labels)}</div>'


def _legend(chart: Chart) -> str:
    entries = [("score", "score"), ("theta", f"θ = {format_value(chart.threshold)}")]
    if chart.clear_threshold is not None:
        entries.append(("clear", f"clear = {format_value(chart.clear_threshold)}"))
    entries += [("span", "drifted"), ("fired", "retraining")]
    items = "".join(
        f'<li><span class="key {kind}" aria-hidden="true"></span>{escape(text)}</li>'
        for kind, text in entries
    )
    return f'<figcaption><ul class="legend">{items}</ul></figcaption>'
