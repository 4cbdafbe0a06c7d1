"""The benchmark and the soak in small, on a control plane of their own: no figure is judged."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import soak
from bench.ground import Ground, prepared
from bench.options import Options, Part
from bench.report import print_table, write_json, write_plot
from bench.run import Run
from bench.targets import Verdict, rows

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("bench")]

SMALL = Options(
    counts=(20,),
    interval_seconds=1,
    windows=1,
    window_seconds=2,
    history=1,
    crossings=3,
    rest_seconds=0.5,
    parts=(Part.CROSSING,),
)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("bench")
    with prepared(folder, namespaces=2, scrape_seconds=0.5, say=print) as made:
        yield made


def test_a_run_measures_every_row_of_its_parts_and_leaves_a_record(
    ground: Ground, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = Run(SMALL, ground).whole()
    found = rows(result, SMALL)
    by_name = {row.what: row for row in found}
    assert result.crossing is not None
    assert (result.crossing.retrainings, result.crossing.jobs) == (3, 3)
    assert by_name["decisions doubled or lost"].verdict is Verdict.PASS
    (level,) = result.levels
    (window,) = level.windows
    assert window.evaluations >= SMALL.largest
    assert window.errors == 0
    assert window.lateness.count == window.evaluations
    write_json(tmp_path / "results.json", result, found, SMALL)
    write_plot(tmp_path / "cost.png", result)
    print_table(found, number=SMALL.largest, interval_seconds=SMALL.interval_seconds)
    written = json.loads((tmp_path / "results.json").read_text())
    assert [row["what"] for row in written["rows"]] == [row.what for row in found]
    assert (tmp_path / "cost.png").read_bytes().startswith(b"\x89PNG")
    assert "resident memory" in capsys.readouterr().out


def test_a_soak_looks_at_a_process_that_lives_through_changes(ground: Ground) -> None:
    plan = soak.Plan(triggers=20, seconds=4, interval_seconds=1, every_seconds=0.4)
    samples, done = soak.soak(ground, plan, first=100)
    assert done.total() >= 4
    assert [each.kind for each in soak.growth(samples)] == list(soak.KINDS)
    assert all(sample.footprint.connections >= 1 for sample in samples)
