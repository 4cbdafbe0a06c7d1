"""The two reports as a person writes them, once of a usual trigger and once of a hostile one."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
from click.testing import CliRunner

from drifttrigger.api.v1alpha1 import DriftTriggerStatus, RetrainingSpec, RetrainingStatus
from drifttrigger.cli.main import cli
from drifttrigger.cli.page import page_of
from drifttrigger.cli.standing import Standing
from drifttrigger.cli.story import EventSeen, Record, Sources, points_of, story_of
from support.builders import START, UID, instant, spec, tick

USUAL = "fraud-detector"
HOSTILE = (
    "</script></style></title></td><script>window.hit=1;alert(1)</script>"
    "<img src=x onerror=window.hit=1>\"'&" + "wide" * 60
)
SCORES = [0.1, 0.12, 0.3, 0.5, None, 0.1, 0.4, 0.41, 0.1, 0.1]


def backtest(folder: Path, name: str) -> Path:
    """Write the report of `backtest --html`."""
    trigger = {
        "apiVersion": "drifttrigger.dev/v1alpha1",
        "kind": "DriftTrigger",
        "metadata": {"name": name},
        "spec": {
            "prometheus": {"address": "http://prometheus.example:9090"},
            "query": f"max(drift{{name={json.dumps(name)}}})",
            "threshold": 0.2,
            "clearThreshold": 0.15,
            "cooldown": "10m",
            "jobTemplate": {},
        },
    }
    file, scores, page = (folder / part for part in ("trigger.json", "scores.csv", "page.html"))
    file.write_text(json.dumps(trigger))
    rows = [f"{instant(n)},{'' if score is None else score}" for n, score in enumerate(SCORES)]
    scores.write_text("\n".join(["timestamp,drift_score", *rows]))
    arguments = ["backtest", "-f", str(file), "--csv", str(scores), "--html", str(page)]
    done = CliRunner().invoke(cli, [*arguments, "--sweep", "0.1:0.5:0.1", "--budget", "1/30d"])
    assert done.exit_code == 0, (done.output, done.exception)
    return page


def describe(folder: Path, name: str) -> Path:
    """Write the report of `describe --html`, of one retraining that helped."""
    record = _record(name)
    of = spec(query=f"max(drift{{name={json.dumps(name)}}})", model={"name": name})
    made = Sources(
        threshold=of.threshold,
        comparison=of.comparison,
        status=DriftTriggerStatus(),
        records=(record,),
        jobs=(),
        events=(EventSeen(at=tick(4), about=name, is_warning=True, reason=name, message=name),),
    )
    standing = Standing(
        name=name,
        namespace="models",
        uid=UID,
        spec=of,
        status=DriftTriggerStatus(),
        hold=None,
        now=START + timedelta(hours=1),
    )
    page = folder / "page.html"
    page.write_text(page_of(standing, story_of(made), points_of(made), notes=[name]))
    return page


def _record(name: str) -> Record:
    body: dict[str, Any] = {
        "triggerRef": {"name": name, "uid": UID, "generation": 1},
        "model": {"name": name},
        "cause": "Drift",
        "reason": f"score 0.35 > threshold 0.2, {name}",
        "episode": 1,
        "attempt": 1,
        "jobTemplate": {},
        "evidence": {
            "source": "http://prometheus.example:9090",
            "query": name,
            "time": instant(0),
            "outcome": "Score",
            "score": 0.35,
            "value": "0.35",
            "threshold": 0.2,
            "comparison": "GreaterThan",
            "series": {"count": 1, "worst": [{"labels": {"name": name}, "value": "0.35"}]},
        },
    }
    condition = {
        "type": "Succeeded",
        "status": "True",
        "reason": "Completed",
        "message": name,
        "lastTransitionTime": instant(3),
    }
    status = {
        "conditions": [condition],
        "target": {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": "j"},
        "startTime": instant(1),
        "completionTime": instant(3),
        "scoreAfter": 0.05,
        "stillBreaching": False,
    }
    return Record(
        name=f"{name}-1",
        uid="r1",
        created_at=tick(0),
        spec=msgspec.convert(body, RetrainingSpec),
        status=msgspec.convert(status, RetrainingStatus),
    )
