"""A backtest as one page: the plot, the decisions, the story of each episode."""

from collections.abc import Iterator, Sequence

from drifttrigger import __version__
from drifttrigger.api.reasons import SENTENCES, Outcome, Reason
from drifttrigger.cli.backtest.replay import Fired, Replay, Span, Stretch
from drifttrigger.cli.backtest.result import UPPER_BOUND, Result, reasons_of
from drifttrigger.cli.backtest.sweep import Row
from drifttrigger.cli.backtest.words import headline, suggestion_text, sweep_columns, sweep_row
from drifttrigger.cli.report import document, escape, table
from drifttrigger.cli.report.chart import Chart, chart_data, chart_html
from drifttrigger.core.observation import format_value
from drifttrigger.core.times import format_duration, format_instant

_MOST_EPISODES = 100
_MOST_LINES = 40


def page_of(result: Result) -> str:
    """Make the page."""
    title, chart = f"Backtest of {result.replay.rules.name}", _chart(result)
    return document(title, _parts(result, chart), data={"chart": chart_data(chart)})


def _parts(result: Result, chart: Chart) -> Iterator[str]:
    replay = result.replay
    yield f"<h1>Backtest of {escape(replay.rules.name)}</h1>"
    yield f"<p><code>{escape(result.origin)}</code></p>"
    yield from (f"<p>{escape(line)}</p>" for line in headline(result)[1:])
    yield from (f'<p class="warning">{escape(text)}</p>' for text in result.warnings)
    if chart.points:
        yield "<h2>Scores</h2>"
        yield chart_html(chart)
    yield "<h2>Decisions</h2>"
    yield from _decisions(replay)
    if result.suggestion is not None or result.rows is not None:
        yield "<h2>Thresholds</h2>"
    if result.suggestion is not None:
        yield f"<p>{escape(suggestion_text(result.suggestion))}</p>"
    if result.rows is not None:
        yield _sweep(result.rows)
    if replay.episodes:
        yield "<h2>Episodes</h2>"
        yield from _stories(replay)
    yield f"<footer><p>drifttrigger {escape(__version__)}</p></footer>"


def _chart(result: Result) -> Chart:
    replay = result.replay
    rules = replay.rules
    points = [
        (o.tick, o.score if o.outcome is Outcome.SCORE else None) for o in result.observations
    ]
    fired = [(f.time, rules.threshold if f.score is None else f.score) for f in replay.fired]
    return Chart(
        points=points,
        threshold=rules.threshold,
        clear_threshold=rules.clear_threshold if rules.clear_threshold != rules.threshold else None,
        spans=[(e.opened_at, e.cleared_at or replay.last or e.opened_at) for e in replay.episodes],
        markers=fired,
        label=f"Drift score over time, with {len(replay.episodes)} drift episodes and "
        f"{len(fired)} retrainings; the tables below have the same in numbers",
    )


def _decisions(replay: Replay) -> Iterator[str]:
    if replay.fired:
        rows = (
            (_when(f), _score(f.score), str(f.episode), str(f.attempt), f.message)
            for f in replay.fired
        )
        columns = ("Time (UTC)", "Score", "Episode", "Attempt", "Why")
        yield table("Retrainings that would have been made", columns, rows, numbers="123")
        yield f'<p class="soft">{escape(UPPER_BOUND)}</p>'
    else:
        yield "<p>No retraining would have been made.</p>"
    reasons = (
        (reason.value, str(ticks), str(breaches), SENTENCES[reason])
        for reason, ticks, breaches in reasons_of(replay)
    )
    names = ("Reason", "Ticks", "Breaches", "Meaning")
    yield table("Why the other ticks started nothing", names, reasons, numbers="12")


def _when(fired: Fired) -> str:
    return format_instant(fired.time)


def _score(score: float | None) -> str:
    return "–" if score is None else format_value(score)


def _sweep(rows: Sequence[Row]) -> str:
    title = "Other thresholds over the same history"
    return table(title, sweep_columns(rows), map(sweep_row, rows), numbers="0123456789")


def _stories(replay: Replay) -> Iterator[str]:
    stretches: dict[int, list[Stretch]] = {}
    for stretch in replay.stretches:
        stretches.setdefault(stretch.episode, []).append(stretch)
    for span in replay.episodes[:_MOST_EPISODES]:
        yield _story(replay, span, stretches.get(span.number, []))
    left = len(replay.episodes) - _MOST_EPISODES
    if left > 0:
        yield f'<p class="soft">{left} more episodes are not told here.</p>'


def _story(replay: Replay, span: Span, stretches: Sequence[Stretch]) -> str:
    end = span.cleared_at or replay.last or span.opened_at
    worst = f", worst score {format_value(span.worst)}" if span.worst is not None else ""
    lasted = f"{format_duration(end - span.opened_at)}{'' if span.cleared_at else ', still open'}"
    lines = [_line(stretch) for stretch in stretches[:_MOST_LINES]]
    if len(stretches) > _MOST_LINES:
        lines.append(f"<li>{len(stretches) - _MOST_LINES} more changes</li>")
    if span.cleared_at is not None:
        lines.append(f"<li>{_time(format_instant(span.cleared_at))}: the episode cleared</li>")
    bounds = f'data-from="{span.opened_at.timestamp():.0f}" data-to="{end.timestamp():.0f}"'
    return (
        f'<section class="episode"><h3>Episode {span.number}</h3>\n'
        f'<p>{escape(lasted + worst)} <button type="button" {bounds} hidden>'
        f'Show in the plot<span class="hide"> (episode {span.number})</span></button></p>\n'
        f'<ol class="story">{"".join(lines)}</ol></section>'
    )


def _line(stretch: Stretch) -> str:
    what = f"{stretch.reason.value}: {stretch.message}"
    if stretch.ticks > 1:
        what += f" ({stretch.ticks} ticks, to {format_instant(stretch.last)})"
    kind = ' class="fired"' if stretch.reason is Reason.RETRAINING_REQUESTED else ""
    return f"<li{kind}>{_time(format_instant(stretch.first))}: {escape(what)}</li>"


def _time(text: str) -> str:
    return f'<time datetime="{text}">{text}</time>'
