"""Thirty days that Prometheus remembers: the reference scores, one a day, a sample every minute."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from drifttrigger.cli.demo.exporter import METRIC, MODEL, TARGET_LABELS, label_text

SAMPLES_A_DAY = 24 * 60
_MINUTE = 60


def write_history(path: Path, scores: Sequence[float], *, end: datetime) -> int:
    """Write daily scores as OpenMetrics, for a backfill.

    Args:
        path: Where.
        scores: One a day, oldest first.
        end: When the last day ends, aware; the last sample lies within the minute before.

    Returns:
        How many samples were written.
    """
    with path.open("w") as stream:
        stream.writelines(_lines(scores, end))
    return len(scores) * SAMPLES_A_DAY


def middles(days: int, *, end: datetime) -> list[datetime]:
    """Give the middle of each day of a history that ends at `end`."""
    return [end - timedelta(days=days - day - 0.5) for day in range(days)]


def _lines(scores: Sequence[float], end: datetime) -> Iterator[str]:
    labels = label_text({**TARGET_LABELS, "model": MODEL})
    # Whole minutes, so that one day has exactly as many samples as the next.
    first = int(end.timestamp()) // _MINUTE * _MINUTE - len(scores) * SAMPLES_A_DAY * _MINUTE
    yield f"# TYPE {METRIC} gauge\n"
    for day, score in enumerate(scores):
        start = first + day * SAMPLES_A_DAY * _MINUTE
        for minute in range(SAMPLES_A_DAY):
            yield f"{METRIC}{{{labels}}} {score!r} {start + minute * _MINUTE}\n"
    yield "# EOF\n"
