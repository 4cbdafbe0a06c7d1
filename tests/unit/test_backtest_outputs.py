"""What a backtest shows: words, a picture and a page that nobody's names can break out of."""

import json
import re
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest

from drifttrigger.api.reasons import Outcome
from drifttrigger.cli.analysis.backtest_plots import backtest_plot
from drifttrigger.cli.backtest.page import page_of
from drifttrigger.cli.backtest.replay import replay
from drifttrigger.cli.backtest.result import UPPER_BOUND, Result, as_json
from drifttrigger.cli.backtest.sweep import Budget, Incident, Past, suggest, sweep
from drifttrigger.cli.backtest.words import show
from drifttrigger.cli.report.chart import thinned
from drifttrigger.core.observation import Observation
from support.builders import rules, score, tick, without_score

HOSTILE = "</script><img src=x onerror=alert(1)>$x^{\"'&\x1b[31m"
VALUES = [0.1, 0.3, 0.5, 0.1, None, 0.1, 0.4, 0.4]


def result(*, name: str = "fraud", values: list[float | None] = VALUES) -> Result:
    of = rules(name=name, clearThreshold=0.15, cooldown="10m")
    seen: list[Observation] = [
        without_score(Outcome.NO_DATA, at=n) if value is None else score(value, at=n)
        for n, value in enumerate(values)
    ]
    past = Past(rules=of, observations=seen, training=timedelta(0), uid="")
    return Result(
        replay=replay(of, seen, training=timedelta(0)),
        observations=seen,
        origin=f"max(drift{{a={name!r}}})",
        training=timedelta(0),
        refresh=timedelta(minutes=5),
        warnings=[f"the server warned: {name}"],
        rows=sweep(past, [0.2, 0.45], incidents=[Incident(tick(1), tick(2))]),
        suggestion=suggest(past, Budget(1, timedelta(days=30), "30d")),
    )


class Page(HTMLParser):
    """Collects what a browser would see as elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_hostile_names_stay_text_and_no_asset_is_asked_for() -> None:
    page = page_of(result(name=HOSTILE))
    found = Page(page)
    assert "<img src=x onerror=alert(1)>" in found.text
    assert {"img", "link", "iframe", "a"}.isdisjoint(tag for tag, _ in found.tags)
    scripts = [attributes for tag, attributes in found.tags if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "data"}, {}]
    for _, attributes in found.tags:
        assert {"src", "href"}.isdisjoint(attributes)
        assert not any(name.startswith("on") for name in attributes)
    assert "http://" not in page
    assert "https://" not in page


def test_only_the_page_s_own_script_may_run() -> None:
    page = page_of(result())
    policies = [a.get("content") or "" for tag, a in Page(page).tags if tag == "meta"]
    assert any("default-src 'none'" in p and "script-src 'sha256-" in p for p in policies)


def test_the_page_tells_decisions_reasons_thresholds_and_episodes() -> None:
    text = Page(page_of(result())).text
    for words in (
        "Retrainings that would have been made",
        "CoolingDown",
        "Episode 1",
        "Episode 2",
        "still open",
        "the episode cleared",
        "Budget of 1 episode in any 30d",
        "Caught",
        UPPER_BOUND,
    ):
        assert words in text


def test_a_page_without_ticks_is_still_a_page() -> None:
    page = page_of(result(values=[]))
    assert "there is no tick in this time" in page
    assert "<svg" not in page


def test_a_page_of_scores_that_never_change_has_a_plot() -> None:
    assert "<svg" in page_of(result(values=[0.2, 0.2]))
    assert "<svg" in page_of(result(values=[None]))


def test_a_gap_breaks_the_line() -> None:
    [path] = re.findall(r'class="score" d="([^"]+)"', page_of(result()))
    assert path.count("M") == 2


def test_thinning_keeps_peaks_and_gaps() -> None:
    points = [(tick(n), 0.1 if n != 7777 else 9.0) for n in range(20_000)]
    points[11_111] = (tick(11_111), None)
    kept = thinned(points)
    assert len(kept) < 5_000
    assert (tick(7777), 9.0) in kept
    assert (tick(11_111), None) in kept
    assert kept == sorted(kept, key=lambda point: point[0])


def test_words_show_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    show(result(name=HOSTILE))
    output = capsys.readouterr().out
    assert "\x1b" not in output
    assert UPPER_BOUND in output
    assert "Budget of 1 episode in any 30d" in output


def test_json_has_the_names_that_programs_rely_on() -> None:
    found = json.loads(json.dumps(as_json(result()), allow_nan=False))
    first = found["retrainings"][0]
    assert list(first) == ["time", "score", "episode", "attempt"]
    assert found["sweep"][0]["incidents"]["caught"] == 1
    assert found["budget"]["threshold"] is not None
    assert found["episodes"][-1]["until"] is None


@pytest.mark.parametrize(
    "values", [VALUES, [], [None], [0.5]], ids=["some", "none", "no data", "one"]
)
def test_a_picture_is_made_of_anything(tmp_path: Path, values: list[float | None]) -> None:
    picture = backtest_plot(result(name="a$b_{", values=values))
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
