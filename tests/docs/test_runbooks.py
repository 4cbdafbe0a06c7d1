"""Every alert has a page, every reason a section, and both say what the code says."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from drifttrigger.api.reasons import SENTENCES, Reason

REPOSITORY = Path(__file__).parents[2]
RUNBOOK = REPOSITORY / "docs" / "runbook"
RULES = REPOSITORY / "manifests" / "monitoring" / "prometheus-rule.yaml"
BASE = "https://drifttrigger.dev/runbook/"
SECTIONS = ["What it costs", "Where to look", "What to do"]


def alerts() -> list[Any]:
    groups = yaml.safe_load(RULES.read_text())["spec"]["groups"]
    return [pytest.param(rule, id=rule["alert"]) for group in groups for rule in group["rules"]]


def reasons_page() -> dict[str, str]:
    parts = re.split(r"^### (\w+)\n", (RUNBOOK / "reasons.md").read_text(), flags=re.MULTILINE)
    return {
        name: " ".join(text.split()) for name, text in zip(parts[1::2], parts[2::2], strict=True)
    }


@pytest.mark.parametrize("rule", alerts())
def test_an_alert_leads_to_its_page(rule: dict[str, Any]) -> None:
    assert rule["annotations"]["runbook_url"] == BASE + rule["alert"]
    page = (RUNBOOK / f"{rule['alert']}.md").read_text()
    assert page.startswith(f"# {rule['alert']}\n")
    assert re.findall(r"^## (.*)$", page, re.MULTILINE) == SECTIONS


def test_no_page_is_left_of_an_alert_that_is_gone() -> None:
    pages = {path.stem for path in RUNBOOK.glob("DriftTrigger*.md")}
    assert pages == {parameter.id for parameter in alerts()}


def test_the_index_names_every_alert() -> None:
    named = re.findall(r"^\| \[(\w+)\]", (RUNBOOK / "README.md").read_text(), re.MULTILINE)
    assert named == [parameter.id for parameter in alerts()]


@pytest.mark.parametrize("reason", list(Reason), ids=str)
def test_a_reason_has_a_section_with_its_own_sentence_and_what_to_do(reason: Reason) -> None:
    meaning, text = SENTENCES[reason], reasons_page()[reason.value]
    assert meaning[1:] + "." in text
    assert len(text) > len(meaning) + 10


def test_no_section_is_left_of_a_reason_that_is_gone() -> None:
    assert set(reasons_page()) == {reason.value for reason in Reason}


def test_links_to_reasons_lead_to_a_section() -> None:
    anchors = {name.lower() for name in reasons_page()}
    linked = {
        anchor
        for page in RUNBOOK.glob("*.md")
        for anchor in re.findall(r"\((?:reasons\.md)?#(\w+)\)", page.read_text())
    }
    assert linked
    assert linked - anchors == set()
