"""A backtest for people: tables on a terminal, plain text when piped."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta

import click

from drifttrigger.api.reasons import SENTENCES
from drifttrigger.cli.backtest.replay import Replay
from drifttrigger.cli.backtest.result import UPPER_BOUND, Result, outcomes_of, reasons_of
from drifttrigger.cli.backtest.sweep import Row, Suggestion
from drifttrigger.cli.printing import Rows, print_table, printable
from drifttrigger.core.decide import SYMBOLS
from drifttrigger.core.observation import format_value
from drifttrigger.core.times import format_duration, format_instant

_MOST_ROWS = 50


def show(result: Result) -> None:
    """Print a result."""
    for line in headline(result):
        click.echo(printable(line))
    for title, rows, total in _tables(result):
        click.echo(f"\n{title}:")
        print_table(rows)
        if total > len(rows.rows):
            click.echo(f"the first {len(rows.rows)} of {total}; -o json has all")
    click.echo()
    for line in _afterwards(result):
        click.echo(printable(line))


def _tables(result: Result) -> Iterator[tuple[str, Rows, int]]:
    """Yield titles, what is shown, and how many rows there are."""
    replay = result.replay
    if replay.fired:
        title = "Retrainings that would have been made"
        yield title, _retrainings(replay), len(replay.fired)
    if replay.episodes:
        yield "Drift episodes", _episodes(replay), len(replay.episodes)
    if replay.ticks:
        yield "Why the other ticks started nothing", _reasons(replay), 0
    if result.rows:
        yield "Other thresholds over the same history", _sweep(result.rows), 0


def _afterwards(result: Result) -> Iterator[str]:
    if result.suggestion is not None:
        yield suggestion_text(result.suggestion)
    yield from (f"Warning: {warning}" for warning in result.warnings)
    if result.replay.fired:
        yield f"Note: {UPPER_BOUND}"


def headline(result: Result) -> list[str]:
    """Say in a few lines what was replayed and what came of it."""
    replay, rules = result.replay, result.replay.rules
    sign = SYMBOLS[rules.comparison]
    lines = [f"Backtest of {rules.name}: {result.origin}"]
    if replay.first is None or replay.last is None:
        return [*lines, "Warning: there is no tick in this time; nothing was decided."]
    bounds = f"breach: score {sign} {format_value(rules.threshold)}"
    if rules.clear_threshold != rules.threshold:
        bounds += f", clear threshold {format_value(rules.clear_threshold)}"
    lines.append(
        f"{replay.ticks} ticks from {format_instant(replay.first)} to "
        f"{format_instant(replay.last)}; {bounds}"
    )
    if result.refresh is not None:
        lines.append(f"The score changes every {format_duration(result.refresh)} (median).")
    for outcome, count in outcomes_of(result.observations):
        lines.append(f"{count} of {replay.ticks} ticks have no score: {outcome.value}")
    share = f"{replay.drifted_share:.1%} of the time drifted"
    lines.append(
        f"{_count(len(replay.fired), 'retraining')} in {_count(len(replay.episodes), 'episode')}, "
        f"{share}; a retraining is taken to run {format_duration(result.training)}"
    )
    return lines


def suggestion_text(suggestion: Suggestion) -> str:
    """Say which θ fits a budget, and why the next one does not."""
    budget, chosen, beyond = suggestion.budget, suggestion.chosen, suggestion.beyond
    wanted = f"Budget of {_count(budget.episodes, 'episode')} in any {budget.text}"
    if chosen is None:
        return f"{wanted}: no θ among the scores fits."
    text = (
        f"{wanted}: θ = {format_value(chosen.threshold)} fits (at most {chosen.most}, drifted "
        f"{chosen.drifted_share:.0%} of the time)"
    )
    if beyond is None:
        return f"{text}; there is no score that would see more."
    why = f"opens {beyond.most}"
    if beyond.most <= budget.episodes:
        why = "would be drifted for more than half of the time"
    return f"{text}; the next score, {format_value(beyond.threshold)}, {why}."


def lead_text(lead: timedelta | None) -> str:
    """Write a lead time with its sign; a dash for none."""
    if lead is None:
        return "–"
    return f"-{format_duration(-lead)}" if lead < timedelta(0) else format_duration(lead)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _retrainings(replay: Replay) -> Rows:
    rows = tuple(
        (
            format_instant(fired.time),
            "–" if fired.score is None else f"{fired.score:.6g}",
            str(fired.episode),
            str(fired.attempt),
            printable(fired.message),
        )
        for fired in replay.fired[:_MOST_ROWS]
    )
    return Rows(("TIME", "SCORE", "EPISODE", "ATTEMPT", "WHY"), rows)


def _episodes(replay: Replay) -> Rows:
    fired = Counter(retraining.episode for retraining in replay.fired)
    rows = []
    for span in replay.episodes[:_MOST_ROWS]:
        end = span.cleared_at or replay.last or span.opened_at
        rows.append(
            (
                str(span.number),
                format_instant(span.opened_at),
                format_instant(span.cleared_at) if span.cleared_at else "still open",
                format_duration(end - span.opened_at),
                "–" if span.worst is None else f"{span.worst:.6g}",
                str(fired[span.number]),
            )
        )
    return Rows(("EPISODE", "FROM", "TO", "LENGTH", "WORST", "RETRAININGS"), tuple(rows))


def _reasons(replay: Replay) -> Rows:
    rows = tuple(
        (reason.value, str(ticks), str(breaches), SENTENCES[reason])
        for reason, ticks, breaches in reasons_of(replay)
    )
    return Rows(("REASON", "TICKS", "BREACHES", "MEANING"), rows)


SWEEP_COLUMNS = ("θ", "Episodes", "Retrainings", "Episodes/30d", "Retrainings/30d", "Drifted")
INCIDENT_COLUMNS = ("Caught", "Missed", "False", "Lead")


def sweep_columns(rows: Sequence[Row]) -> tuple[str, ...]:
    """Name the columns of a sweep."""
    with_incidents = bool(rows) and rows[0].incidents is not None
    return SWEEP_COLUMNS + (INCIDENT_COLUMNS if with_incidents else ())


def sweep_row(row: Row) -> tuple[str, ...]:
    """Write one θ of a sweep."""
    cells = (
        format_value(row.threshold),
        str(row.episodes),
        str(row.retrainings),
        _rate(row.episodes_a_month),
        _rate(row.retrainings_a_month),
        f"{row.drifted_share:.1%}",
    )
    if row.incidents is None:
        return cells
    found = row.incidents
    counts = (str(found.caught), str(found.missed), str(found.false))
    return (*cells, *counts, lead_text(found.lead))


def _sweep(rows: Sequence[Row]) -> Rows:
    headers = tuple(name.upper() if name != "θ" else name for name in sweep_columns(rows))
    return Rows(headers, tuple(sweep_row(row) for row in rows))


def _rate(rate: float | None) -> str:
    return "–" if rate is None else f"{rate:.1f}"
