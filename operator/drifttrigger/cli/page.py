"""The story of a trigger as one HTML page: no outside assets, no script, everything escaped.

Labels and messages come from metrics and clusters and are hostile until escaped; the page's own
policy forbids scripts and outside requests, should an escape ever be missed. The plot answers to
mouse, keyboard and screen readers by CSS and SVG titles alone.
"""

from collections.abc import Sequence
from datetime import datetime
from html import escape

from drifttrigger.cli.standing import Standing, facts_of
from drifttrigger.cli.story import Chapter, Moment, Point, shown_time
from drifttrigger.core.times import format_instant

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 260, 56, 16, 16, 32
_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --dim: #57606a; --line: #d0d7de;
  --good: #116329; --bad: #a40e26; --warn: #7d4e00; --mark: #0550ae; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --paper: #0d1117; --dim: #9ba5b0;
  --line: #3d444d; --good: #56d364; --bad: #ff8f87; --warn: #e3b341; --mark: #79c0ff; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  margin: 0 auto; padding: 1rem; max-width: 60rem; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
.dim, time { color: var(--dim); } .good { color: var(--good); } .bad { color: var(--bad); }
.warn { color: var(--warn); }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0;
  border-top: 1px solid var(--line); }
th { font-weight: 600; } th[scope="row"] { width: 9rem; } .when, .what { width: 11rem; }
td.what { font-weight: 600; }
figure { margin: 0; } svg { width: 100%; height: auto; } svg text { fill: var(--ink);
  font-size: 13px; }
.axis { stroke: var(--line); } .theta { stroke: var(--bad); stroke-dasharray: 6 4; }
.score { fill: none; stroke: var(--dim); } .point circle { fill: var(--mark); }
.point.bad circle { fill: var(--bad); } .point text { opacity: 0; pointer-events: none; }
.point:hover text, .point:focus text { opacity: 1; } .point:focus { outline: none; }
.point:focus circle { stroke: var(--ink); stroke-width: 2; }
@media (max-width: 40rem) { tr { display: block; border-top: 1px solid var(--line);
  padding: .25rem 0; } th, th[scope="row"], td, .when, .what { display: block;
  width: auto; border: 0; padding: 0; } thead { display: none; }
  svg text { font-size: 22px; } }
"""


def page_of(
    standing: Standing,
    chapters: Sequence[Chapter],
    points: Sequence[Point],
    *,
    notes: Sequence[str] = (),
) -> str:
    """Write the page.

    Args:
        standing: How the trigger stands.
        chapters: Its story.
        points: The scores that are known.
        notes: What could not be read.
    """
    title = escape(f"{standing.name} in {standing.namespace}")
    facts = "".join(
        f'<tr><th scope="row">{escape(f.label)}</th>'
        f'<td class="{f.tone}">{escape(f.text)}</td></tr>\n'
        for f in facts_of(standing)
    )
    story = "".join(_chapter(chapter) for chapter in chapters) or "<p>No Retraining yet.</p>"
    remarks = "".join(f'<p class="warn">{escape(note)}</p>' for note in notes)
    made = format_instant(standing.now)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Drift of {title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f'<header><h1>{title}</h1>\n<p class="dim">As it was at {made}. Times are UTC.</p>'
        "</header>\n"
        f"<main>\n<table>\n{facts}</table>\n{_plot(standing, points)}{story}{remarks}\n</main>\n"
        "</body>\n</html>\n"
    )


def _chapter(chapter: Chapter) -> str:
    rows = "".join(_moment(moment) for moment in chapter.moments)
    head = (
        '<thead><tr><th scope="col">Time</th><th scope="col">What</th><th scope="col">Detail</th>'
    )
    return (
        f"<section>\n<h2>{escape(chapter.title)}</h2>\n<table>\n{head}</tr></thead>\n"
        f"<tbody>\n{rows}</tbody>\n</table>\n</section>\n"
    )


def _moment(moment: Moment) -> str:
    when = ""
    if moment.is_timed:
        when = f'<time datetime="{format_instant(moment.at)}">{shown_time(moment.at)}</time>'
    return (
        f'<tr><td class="when">{when}</td><td class="what {moment.tone}">{escape(moment.what)}</td>'
        f"<td>{escape(moment.text)}</td></tr>\n"
    )


def _plot(standing: Standing, points: Sequence[Point]) -> str:
    """Draw the known scores against θ; nothing with fewer than one."""
    if not points:
        return ""
    theta = standing.spec.threshold
    scores = [*(point.score for point in points), theta]
    low, high = min(scores), max(scores)
    margin = (high - low) * 0.1 or abs(high) * 0.1 or 1.0
    low, high = low - margin, high + margin
    first, last = points[0].at, points[-1].at

    def place(at: datetime, score: float) -> tuple[float, float]:
        span = (last - first).total_seconds()
        share = (at - first).total_seconds() / span if span else 0.5
        x = _LEFT + share * (_WIDTH - _LEFT - _RIGHT)
        y = _TOP + (high - score) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)
        return round(x, 1), round(y, 1)

    placed = [(point, *place(point.at, point.score)) for point in points]
    line = " ".join(f"{x},{y}" for _, x, y in placed)
    level = place(first, theta)[1]
    floor, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    ends = shown_time(first), shown_time(last)
    return (
        "<section>\n<h2>Scores that decided, and after</h2>\n<figure>\n"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="group"'
        f' aria-label="Score against the threshold {theta:g}">\n'
        f'<line class="axis" x1="{_LEFT}" y1="{floor}" x2="{right}" y2="{floor}"/>\n'
        f'<line class="theta" x1="{_LEFT}" y1="{level}" x2="{right}" y2="{level}"/>\n'
        f'<text x="{_LEFT - 6}" y="{level + 4}" text-anchor="end">{theta:g}</text>\n'
        f'<text x="{_LEFT}" y="{_HEIGHT - 8}">{ends[0]}</text>\n'
        f'<text x="{right}" y="{_HEIGHT - 8}" text-anchor="end">{ends[1]}</text>\n'
        f'<polyline class="score" points="{line}"/>\n{"".join(_mark(*p) for p in placed)}</svg>\n'
        f"<figcaption>Dashed: the threshold, {theta:g}. A point tells its score when it is pointed"
        " at or focused.</figcaption>\n</figure>\n</section>\n"
    )


def _mark(point: Point, x: float, y: float) -> str:
    words = escape(f"{point.score:g}, {shown_time(point.at)}, {point.label}")
    kind = "point bad" if point.is_breach else "point"
    anchor = "end" if x > _WIDTH / 2 else "start"
    return (
        f'<g class="{kind}" tabindex="0" role="img" aria-label="{words}"><title>{words}</title>'
        f'<circle cx="{x}" cy="{y}" r="5"/>'
        f'<text x="{x}" y="{max(y - 10, 12)}" text-anchor="{anchor}">{words}</text></g>\n'
    )
