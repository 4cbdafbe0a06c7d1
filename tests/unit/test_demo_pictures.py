"""What the demo draws and writes: the backfilled month, the chart, the picture."""

from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from drifttrigger.cli.analysis.plots import Marks, score_plot
from drifttrigger.cli.demo.chart import ROWS, chart
from drifttrigger.cli.demo.history import middles, write_history

END = datetime(2026, 1, 31, 12, tzinfo=UTC)
MINUTE, DAY = 60.0, 86_400.0


def test_the_history_has_a_sample_every_minute_until_its_end(tmp_path: Path) -> None:
    path = tmp_path / "history.om"
    assert write_history(path, [0.1, 0.2, 0.30000000000000004], end=END) == 3 * 24 * 60
    first, *lines, last = path.read_text().splitlines()
    assert (first, last) == ("# TYPE model_drift_score gauge", "# EOF")
    series, values, times = zip(*(line.split(" ") for line in lines), strict=True)
    assert len(set(series)) == 1
    assert values[::1440] == ("0.1", "0.2", "0.30000000000000004")
    instants = [float(time) for time in times]
    assert instants[0] == END.timestamp() - 3 * DAY
    assert instants[-1] == END.timestamp() - MINUTE
    assert {b - a for a, b in pairwise(instants)} == {MINUTE}


def test_the_middle_of_each_day_lies_in_that_day() -> None:
    found = middles(3, end=END)
    assert [(END - middle).total_seconds() / DAY for middle in found] == [2.5, 1.5, 0.5]


@pytest.mark.parametrize(
    ("score", "side"),
    [
        pytest.param(0.2001, -1, id="a breach is drawn above the line"),
        pytest.param(0.1999, 1, id="a score below is drawn below the line"),
        pytest.param(0.2, 0, id="the threshold itself is drawn on the line"),
    ],
)
def test_a_score_is_drawn_on_its_side_of_the_threshold(score: float, side: int) -> None:
    rows = chart([score], threshold=0.2, width=40).plain.splitlines()
    assert len(rows) == ROWS
    (line,) = (number for number, row in enumerate(rows) if "╌" in row)
    (point,) = (number for number, row in enumerate(rows) if "●" in row)
    assert point - line == side


def test_a_narrow_chart_keeps_the_newest_scores() -> None:
    rows = chart([0.1] * 50 + [0.3], threshold=0.2, width=20).plain.splitlines()
    assert rows[0].rstrip().endswith("●")
    assert max(map(len, rows)) <= 20


def test_the_picture_is_a_png() -> None:
    scores = [0.05] * 30 + [0.18, 0.25, 0.23, 0.22, 0.06]
    marks = Marks(live_from=30, crossing=31, held=30, job=(32.2, 33.8), new_model=34)
    assert score_plot(scores, threshold=0.2, marks=marks).startswith(b"\x89PNG\r\n\x1a\n")
