"""Both reports in a real browser: at two widths, without requests, safe, fit for all readers."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from browser.reports import HOSTILE, USUAL, backtest, describe
from support.browser import Tab

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("browser")]

Report = Callable[[Path, str], Path]
DESKTOP, PHONE = (1280, 900, False), (360, 740, True)
REPORTS = [pytest.param(backtest, id="backtest"), pytest.param(describe, id="describe")]
WIDTHS = [pytest.param(DESKTOP, id="desktop"), pytest.param(PHONE, id="phone")]
NAMES = [pytest.param(USUAL, id="usual"), pytest.param(HOSTILE, id="hostile")]
SERIOUS = ("serious", "critical")
RULES_RUN = 15


async def show(tab: Tab, page: Path, window: tuple[int, int, bool] = DESKTOP) -> None:
    width, height, mobile = window
    await tab.open(page.as_uri(), width=width, height=height, mobile=mobile)


def axe() -> str:
    found = importlib.util.find_spec("axe_core_python")
    assert found is not None, "axe-core is missing; pip install axe-core-python"
    assert found.origin is not None
    return Path(found.origin).with_name("axe.min.js").read_text(encoding="utf-8")


async def faults_of(tab: Tab) -> list[str]:
    """What axe-core finds that is serious; it must really have looked."""
    await tab.evaluate(f"{axe()};0")
    found: dict[str, Any] = await tab.evaluate("axe.run()")
    assert len(found["passes"]) >= RULES_RUN, found["passes"]
    return [
        f"{fault['id']}: {node['html']}"
        for fault in found["violations"]
        if fault["impact"] in SERIOUS
        for node in fault["nodes"]
    ]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("window", WIDTHS)
@pytest.mark.parametrize("report", REPORTS)
async def test_a_report_fits_its_window_and_asks_for_nothing_else(
    tab: Tab, tmp_path: Path, report: Report, window: tuple[int, int, bool], name: str
) -> None:
    page = report(tmp_path, name)
    await show(tab, page, window)
    assert await tab.evaluate("innerWidth") == window[0]
    wide = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    scroll, client = await tab.evaluate(wide)
    assert scroll <= client
    assert tab.requests == [page.as_uri()]
    assert tab.complaints == []


@pytest.mark.parametrize("report", REPORTS)
async def test_hostile_names_are_shown_as_text_and_run_nothing(
    tab: Tab, tmp_path: Path, report: Report
) -> None:
    await show(tab, report(tmp_path, HOSTILE))
    assert await tab.evaluate("document.querySelectorAll('img, iframe, a, link').length") == 0
    shown = await tab.evaluate("document.querySelector('main').innerText")
    assert HOSTILE in shown
    assert HOSTILE in await tab.evaluate("document.title")
    assert await tab.evaluate("typeof window.hit") == "undefined"
    assert tab.complaints == []


@pytest.mark.parametrize("report", REPORTS)
async def test_the_page_s_policy_stops_what_an_escape_would_miss(
    tab: Tab, tmp_path: Path, report: Report
) -> None:
    page = report(tmp_path, USUAL)
    text = page.read_text()
    attack = "<script>window.hit=1</script><img src=http://127.0.0.1:9/x onerror=window.hit=1>"
    page.write_text(text.replace("<main>", f"<main>{attack}", 1))
    assert attack in page.read_text()
    await show(tab, page)
    assert await tab.evaluate("document.querySelectorAll('main > img').length") == 1
    assert await tab.evaluate("typeof window.hit") == "undefined"
    assert any("Content Security Policy" in text for text in tab.complaints), tab.complaints


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("window", WIDTHS)
@pytest.mark.parametrize("report", REPORTS)
async def test_axe_finds_nothing_serious(
    tab: Tab, tmp_path: Path, report: Report, window: tuple[int, int, bool], scheme: str
) -> None:
    await tab.prefer(scheme)
    await show(tab, report(tmp_path, USUAL), window)
    assert await tab.evaluate(f"matchMedia('(prefers-color-scheme: {scheme})').matches")
    assert await faults_of(tab) == []


async def test_axe_would_find_a_picture_without_words(tab: Tab, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(describe(tmp_path, USUAL).read_text().replace("<main>", "<main><img>", 1))
    await show(tab, page)
    assert [fault.partition(":")[0] for fault in await faults_of(tab)] == ["image-alt"]


async def test_the_plot_of_a_backtest_is_read_with_keys(tab: Tab, tmp_path: Path) -> None:
    await show(tab, backtest(tmp_path, USUAL))
    assert await tab.evaluate("document.getElementById('controls').hidden") is False
    await tab.evaluate("document.getElementById('at').focus()")
    for _ in range(3):
        await tab.press("ArrowRight")
    readout = "document.getElementById('readout').textContent"
    assert await tab.evaluate(readout) == "2026-03-02 12:15 UTC: score 0.5"
    await tab.press("ArrowRight")
    assert await tab.evaluate(readout) == "2026-03-02 12:20 UTC: no data"


async def test_the_plot_of_a_backtest_zooms_to_an_episode(tab: Tab, tmp_path: Path) -> None:
    await show(tab, backtest(tmp_path, USUAL), PHONE)
    width = "document.getElementById('svg').viewBox.baseVal.width"
    whole = await tab.evaluate(width)
    await tab.evaluate("document.querySelector('button[data-from]').click()")
    assert await tab.evaluate(width) < whole
    await tab.evaluate("document.querySelector('button[data-zoom=all]').click()")
    assert await tab.evaluate(width) == whole


async def test_a_point_of_a_description_tells_its_score_when_focused(
    tab: Tab, tmp_path: Path
) -> None:
    await show(tab, describe(tmp_path, USUAL))
    opacity = "getComputedStyle(document.querySelector('.point text')).opacity"
    assert await tab.evaluate(opacity) == "0"
    await tab.evaluate("document.querySelector('.point').focus()")
    assert await tab.evaluate(opacity) == "1"
    label = await tab.evaluate("document.activeElement.getAttribute('aria-label')")
    assert json.loads(label.partition(",")[0]) == 0.35
