"""The Argo CD customizations, run as Argo CD runs them, on objects that a real operator left."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from lupa.lua51 import LuaError

from gitops import argo, kstatus
from gitops.expected import CASES, EXPECTED
from gitops.export import CUSTOMIZATIONS
from gitops.ground import ROOT

TRIGGER_NOW, HOLD = "drifttrigger.dev/trigger-now", "drifttrigger.dev/hold"
TRIGGER = CUSTOMIZATIONS / "DriftTrigger"
ACTIONS = TRIGGER / "actions"
REGISTERED = ROOT / "manifests" / "argocd" / "argocd-cm.yaml"
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def health_script(kind: str) -> str:
    return (CUSTOMIZATIONS / kind / "health.lua").read_text()


def action(name: str) -> str:
    return (ACTIONS / name / "action.lua").read_text()


HEALTH_TESTS = [
    pytest.param(folder, test, id=f"{folder.name} {test['inputPath']}")
    for folder in sorted(CUSTOMIZATIONS.iterdir())
    for test in read(folder / "health_test.yaml")["tests"]
]
ACTION_TESTS = read(ACTIONS / "action_test.yaml")


@pytest.mark.parametrize(("kind", "state"), CASES)
def test_each_state_is_judged_as_a_sync_wave_needs_it(kind: str, state: str) -> None:
    body = read(CUSTOMIZATIONS / kind / "testdata" / f"{state}.yaml")
    said = argo.health(health_script(kind), body)
    expected = EXPECTED[kind][state]
    assert (said.status, said.message.partition(": ")[0]) == (expected.health, expected.reason)


@pytest.mark.parametrize(("kind", "state"), CASES)
def test_kstatus_judges_each_state_as_it_defines_it(kind: str, state: str) -> None:
    body = read(CUSTOMIZATIONS / kind / "testdata" / f"{state}.yaml")
    assert kstatus.compute(body).status is EXPECTED[kind][state].kstatus


@pytest.mark.parametrize(("folder", "test"), HEALTH_TESTS)
def test_health_is_what_the_layout_of_argo_cd_says(folder: Path, test: Any) -> None:
    said = argo.health(health_script(folder.name), read(folder / test["inputPath"]))
    assert said._asdict() == test["healthStatus"]


def test_every_exported_object_is_judged() -> None:
    files = {(path.parents[1].name, path.stem) for path in CUSTOMIZATIONS.glob("*/testdata/*.yaml")}
    tested = {
        (param.values[0].name, Path(param.values[1]["inputPath"]).stem) for param in HEALTH_TESTS
    }
    assert files == tested == set(CASES)


def test_a_deleted_object_is_terminating_to_kstatus() -> None:
    body = read(TRIGGER / "testdata" / "evaluating.yaml")
    body["metadata"]["deletionTimestamp"] = "2026-01-31T12:00:00Z"
    assert kstatus.compute(body).status is kstatus.Status.TERMINATING


CONDITIONS = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["Ready", "Drifted", "Stalled", "Succeeded", "Other"]),
            "status": st.sampled_from(["True", "False", "Unknown"]),
            "reason": st.sampled_from(["Evaluating", "NoData", "Running", "JobFailed"]),
        },
        optional={"message": st.text(max_size=20)},
    ),
    unique_by=lambda condition: condition["type"],
)
STATUSES = st.none() | st.fixed_dictionaries(
    {}, optional={"observedGeneration": st.integers(0, 3), "conditions": CONDITIONS}
)


@pytest.mark.parametrize("kind", EXPECTED)
@given(status=STATUSES, generation=st.integers(1, 3))
@settings(max_examples=60)
def test_no_status_whatever_suspends_or_breaks_the_check(
    kind: str, status: Any, generation: int
) -> None:
    body = {"metadata": {"generation": generation}, "spec": {}, "status": status}
    said = argo.health(health_script(kind), body)
    seen = status is not None and status.get("observedGeneration", 0) >= generation
    found = {c["type"]: c["status"] for c in (status or {}).get("conditions", [])}
    wrong = found.get("Stalled") == "True" or found.get("Ready") == "False"
    if kind == "Retraining":
        seen, wrong = "Succeeded" in found, False
    assert said.status == ("Progressing" if not seen else "Degraded" if wrong else "Healthy")
    assert said.message


@pytest.mark.parametrize("test", ACTION_TESTS["discoveryTests"], ids=lambda t: t["inputPath"])
def test_actions_that_the_operator_would_refuse_are_greyed_out(test: Any) -> None:
    found = argo.discover(
        (ACTIONS / "discovery.lua").read_text(), read(ACTIONS / test["inputPath"])
    )
    assert sorted(found.values(), key=str) == sorted(test["result"], key=str)


@pytest.mark.parametrize("test", ACTION_TESTS["actionTests"], ids=lambda t: t["expectedOutputPath"])
def test_an_action_makes_the_object_of_the_layout(test: Any) -> None:
    before, expected = (read(ACTIONS / test[p]) for p in ("inputPath", "expectedOutputPath"))
    after = argo.act(action(test["action"]), before, **test.get("parameters", {}))
    for body in (expected, after):
        annotations = body["metadata"]["annotations"]
        if TRIGGER_NOW in annotations:
            assert RFC_3339.fullmatch(annotations[TRIGGER_NOW])
            annotations[TRIGGER_NOW] = "some time"
    assert after == expected


@pytest.mark.parametrize("state", EXPECTED["DriftTrigger"])
@pytest.mark.parametrize("name", ["trigger-now", "hold", "release"])
def test_the_patch_of_an_action_touches_its_annotation_and_nothing_else(
    state: str, name: str
) -> None:
    body = read(TRIGGER / "testdata" / f"{state}.yaml")
    patch = argo.patch_of(body, argo.act(action(name), body))
    held = HOLD in body["metadata"]["annotations"]
    match name:
        case "trigger-now":
            assert list(patch.pop("metadata")["annotations"]) == [TRIGGER_NOW]
        case "hold":
            assert patch.pop("metadata") == {"annotations": {HOLD: "forever held in Argo CD"}}
        case "release" if held:
            assert patch.pop("metadata") == {"annotations": {HOLD: None}}
    assert patch == {}


def test_actions_work_on_an_object_without_annotations() -> None:
    body = {"metadata": {"name": "fraud"}, "spec": {}}
    assert argo.act(action("release"), body) == body
    assert argo.act(action("hold"), body)["metadata"]["annotations"] == {
        HOLD: "forever held in Argo CD"
    }


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("return string.format('x')", "'string' (a nil value)"),
        ("return ('x'):upper()", "index a string value"),
        ("return io.open('x')", "'io' (a nil value)"),
        ("return os.time()", "'os' (a nil value)"),
        ("return require('os').getenv('HOME')", "'getenv' (a nil value)"),
        ("return require('io')", "module 'io' not found"),
        ("return python", "None"),
    ],
)
def test_scripts_get_no_more_than_argo_cd_opens_for_them(script: str, says: str) -> None:
    if says == "None":
        assert argo._run(script, {}) is None
        return
    with pytest.raises(LuaError, match=re.escape(says)):
        argo._run(script, {})


def test_what_is_registered_in_argocd_cm_is_made_of_the_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import argocd  # a tool, not a package

    assert REGISTERED.read_text() == argocd.render(), "run tools/argocd.py"


def test_the_registered_scripts_are_those_that_were_tested() -> None:
    data = read(REGISTERED)["data"]
    for kind in EXPECTED:
        key = f"resource.customizations.health.drifttrigger.dev_{kind}"
        assert data[key] == health_script(kind)
    actions = yaml.safe_load(data["resource.customizations.actions.drifttrigger.dev_DriftTrigger"])
    assert actions["discovery.lua"] == (ACTIONS / "discovery.lua").read_text()
    names = [found["name"] for found in actions["definitions"]]
    assert names == ["hold", "release", "trigger-now"]
    assert [found["action.lua"] for found in actions["definitions"]] == [action(n) for n in names]
