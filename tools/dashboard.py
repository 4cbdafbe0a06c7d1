"""Writes the Grafana dashboards: `python tools/dashboard.py` fills manifests/monitoring/dashboards.

A dashboard's JSON is long and mostly the same; what differs between panels is said here in a line
each. The files are committed, and a test holds them against this.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "manifests" / "monitoring" / "dashboards"
SCHEMA_VERSION = 42
COLUMNS = 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
OURS = '{namespace=~"$namespace"}'
ONE = '{namespace="$namespace",trigger="$trigger"}'
RATE = "[$__rate_interval]"
TRIGGER_UID = "drifttrigger-trigger"
FLEET_UID = "drifttrigger-fleet"

Json = dict[str, Any]


class Query(NamedTuple):
    """One PromQL expression and how its series are named."""

    expr: str
    legend: str = ""


class Panel(NamedTuple):
    """One panel, in the order of reading; they flow from left to right."""

    title: str
    kind: str
    queries: tuple[Query, ...]
    width: int
    height: int
    text: str
    unit: str = "short"
    limit: float | None = None


def quantiles(metric: str) -> tuple[Query, ...]:
    """Ask for the median and the 99th percentile of a histogram."""
    rate = f"sum by (le) (rate({metric}_bucket{RATE}))"
    return tuple(
        Query(f"histogram_quantile({share}, {rate})", name)
        for share, name in ((0.5, "median"), (0.99, "99 %"))
    )


def latest(metric: str, function: str = "max") -> str:
    """Ask for one value a trigger, whichever replica tells it."""
    return f"{function} by (namespace, trigger) ({metric}{OURS})"


FLEET = (
    Panel(
        "Triggers",
        "stat",
        (Query(f"count({latest('drifttrigger_ready')})"),),
        4,
        4,
        "How many triggers are watched.",
    ),
    Panel(
        "Drifted",
        "stat",
        (Query(f"sum({latest('drifttrigger_drifted')})"),),
        4,
        4,
        "Triggers with an open episode of drift.",
        limit=1,
    ),
    Panel(
        "Not ready",
        "stat",
        (Query(f"sum(1 - {latest('drifttrigger_ready')})"),),
        4,
        4,
        "Triggers that get no usable answer, or can't be used.",
        limit=1,
    ),
    Panel(
        "Sources down",
        "stat",
        (Query("sum(1 - min by (source) (drifttrigger_source_up))"),),
        4,
        4,
        "Metrics servers that do not answer.",
        limit=1,
    ),
    Panel(
        "Replicas",
        "stat",
        (Query("max(drifttrigger_shard_members)"),),
        4,
        4,
        "Operator processes that share the triggers.",
    ),
    Panel(
        "Retrainings in this time",
        "stat",
        (Query("sum(increase(drifttrigger_retrainings_total[$__range]))"),),
        4,
        4,
        "Retrainings that ended.",
    ),
    Panel(
        "Triggers",
        "table",
        (
            Query(latest("drifttrigger_drifted"), "Drifted"),
            Query(latest("drifttrigger_ready"), "Ready"),
            Query(latest("drifttrigger_score"), "Score"),
            Query(latest("drifttrigger_threshold"), "Threshold"),
        ),
        24,
        9,
        "A click on a name opens that trigger.",
    ),
    Panel(
        "Decisions by reason",
        "timeseries",
        (Query(f"sum by (reason) (rate(drifttrigger_decisions_total{RATE}))", "{{reason}}"),),
        12,
        8,
        "What the operator decided, and why.",
        "ops",
    ),
    Panel(
        "Answers by outcome",
        "timeseries",
        (Query(f"sum by (outcome) (rate(drifttrigger_evaluations_total{RATE}))", "{{outcome}}"),),
        12,
        8,
        "What the metrics servers' answers were.",
        "ops",
    ),
    Panel(
        "Retrainings by result",
        "timeseries",
        (Query("sum by (result) (increase(drifttrigger_retrainings_total[1h]))", "{{result}}"),),
        12,
        8,
        "How Retrainings ended, each hour.",
    ),
    Panel(
        "Length of a Retraining",
        "timeseries",
        quantiles("drifttrigger_retraining_seconds"),
        12,
        8,
        "From the decision to the end of the Job.",
        "s",
    ),
    Panel(
        "Lateness of ticks",
        "timeseries",
        quantiles("drifttrigger_tick_lateness_seconds"),
        8,
        8,
        "From a tick to its asking.",
        "s",
        limit=30,
    ),
    Panel(
        "Ticks missed",
        "timeseries",
        (Query(f"sum(rate(drifttrigger_ticks_missed_total{RATE}))", "missed"),),
        8,
        8,
        "Ticks that went by without being asked.",
        "ops",
    ),
    Panel(
        "Time to an answer",
        "timeseries",
        quantiles("drifttrigger_evaluation_seconds"),
        8,
        8,
        "From asking a metrics server to its whole answer.",
        "s",
    ),
    Panel(
        "Sources",
        "state-timeline",
        (Query("min by (source) (drifttrigger_source_up)", "{{source}}"),),
        12,
        8,
        "1 while a metrics server answers.",
    ),
    Panel(
        "Requests to sources by result",
        "timeseries",
        (Query(f"sum by (result) (rate(drifttrigger_source_requests_total{RATE}))", "{{result}}"),),
        6,
        8,
        "Requests, after batching.",
        "reqps",
    ),
    Panel(
        "Queries in one request",
        "timeseries",
        (
            Query(
                f"sum(rate(drifttrigger_batch_size_sum{RATE}))"
                f" / sum(rate(drifttrigger_batch_size_count{RATE}))",
                "mean",
            ),
        ),
        6,
        8,
        "How many triggers one request answers.",
    ),
    Panel(
        "Triggers by replica",
        "timeseries",
        (Query("drifttrigger_triggers_owned", "{{instance}}"),),
        6,
        8,
        "How the triggers are shared out.",
    ),
    Panel(
        "Overdue work",
        "timeseries",
        (Query("drifttrigger_work_lateness_seconds", "{{instance}}"),),
        6,
        8,
        "How long the most overdue work has waited.",
        "s",
    ),
    Panel(
        "Age of the watch",
        "timeseries",
        (Query("drifttrigger_watch_age_seconds", "{{instance}}"),),
        6,
        8,
        "Since the API server was last heard.",
        "s",
        limit=900,
    ),
    Panel(
        "Requests to the API server",
        "timeseries",
        (
            Query(
                f"sum by (verb, resource, code) (rate(drifttrigger_api_requests_total{RATE}))",
                "{{verb}} {{resource}} {{code}}",
            ),
        ),
        6,
        8,
        "By verb, resource and status code.",
        "reqps",
    ),
)
ONE_TRIGGER = (
    Panel(
        "Drifted",
        "stat",
        (Query(f"max(drifttrigger_drifted{ONE})"),),
        6,
        4,
        "1 while an episode of drift is open.",
        limit=1,
    ),
    Panel(
        "Ready",
        "stat",
        (Query(f"max(drifttrigger_ready{ONE})"),),
        6,
        4,
        "1 while the query is asked and answered.",
    ),
    Panel("Score", "stat", (Query(f"max(drifttrigger_score{ONE})"),), 6, 4, "The newest score."),
    Panel(
        "Threshold",
        "stat",
        (Query(f"max(drifttrigger_threshold{ONE})"),),
        6,
        4,
        "Where a breach begins.",
    ),
    Panel(
        "Score and threshold",
        "timeseries",
        (
            Query(f"max(drifttrigger_score{ONE})", "score"),
            Query(f"max(drifttrigger_threshold{ONE})", "threshold"),
        ),
        24,
        11,
        "The newest finite score at each moment; a gap means that no score came.",
    ),
    Panel(
        "Episodes of drift",
        "state-timeline",
        (
            Query(f"max(drifttrigger_drifted{ONE})", "drifted"),
            Query(f"max(drifttrigger_ready{ONE})", "ready"),
        ),
        24,
        6,
        "`kubectl drifttrigger describe` tells the story of each.",
    ),
    Panel(
        "Share of the time drifted",
        "stat",
        (Query(f"max(avg_over_time(drifttrigger_drifted{ONE}[$__range]))"),),
        12,
        4,
        "In the time that is shown.",
        "percentunit",
    ),
    Panel(
        "Episodes ended",
        "stat",
        (Query(f"max(resets(drifttrigger_drifted{ONE}[$__range]))"),),
        12,
        4,
        "How often an episode ended in the time that is shown.",
    ),
)


def target(place: int, query: Query, *, is_table: bool) -> Json:
    """Write one query of a panel."""
    made: Json = {
        "refId": query.legend if is_table else chr(ord("A") + place),
        "datasource": SOURCE,
        "expr": query.expr,
        "legendFormat": query.legend or "__auto",
        "range": not is_table,
        "instant": is_table,
        "editorMode": "code",
    }
    return {**made, "format": "table"} if is_table else made


def panel(number: int, one: Panel, x: int, y: int) -> Json:
    """Write one panel at its place."""
    is_table = one.kind == "table"
    steps: list[Json] = [{"color": "green", "value": None}]
    if one.limit is not None:
        steps.append({"color": "red", "value": one.limit})
    made: Json = {
        "id": number,
        "type": one.kind,
        "title": one.title,
        "description": one.text,
        "datasource": SOURCE,
        "gridPos": {"x": x, "y": y, "w": one.width, "h": one.height},
        "targets": [target(i, q, is_table=is_table) for i, q in enumerate(one.queries)],
        "fieldConfig": {
            "defaults": {"unit": one.unit, "thresholds": {"mode": "absolute", "steps": steps}},
            "overrides": [],
        },
        "options": options(one.kind),
    }
    if is_table:
        made["fieldConfig"]["overrides"] = [link_to_trigger()]
        made["transformations"] = transformations([query.legend for query in one.queries])
    return made


def options(kind: str) -> Json:
    """Give the options of a kind of panel that differ from Grafana's own."""
    calculation = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    return {
        "stat": {"reduceOptions": calculation, "colorMode": "value", "graphMode": "area"},
        "table": {"showHeader": True, "cellHeight": "sm"},
        "state-timeline": {"showValue": "never", "mergeValues": True},
        "timeseries": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    }[kind]


def transformations(names: list[str]) -> list[Json]:
    """Merge the queries of a table into one row a trigger."""
    renamed = {f"Value #{name}": name for name in names}
    order = {name: place for place, name in enumerate(["namespace", "trigger", *renamed])}
    organize = {"excludeByName": {"Time": True}, "renameByName": renamed, "indexByName": order}
    return [{"id": "merge", "options": {}}, {"id": "organize", "options": organize}]


def link_to_trigger() -> Json:
    """Make the name of a trigger lead to its own dashboard."""
    url = (
        f"/d/{TRIGGER_UID}?var-datasource=${{datasource}}"
        "&var-namespace=${__data.fields.namespace}&var-trigger=${__data.fields.trigger}"
    )
    links = [{"title": "This trigger", "url": url, "targetBlank": False}]
    return {
        "matcher": {"id": "byName", "options": "trigger"},
        "properties": [{"id": "links", "value": links}],
    }


def variable(name: str, label: str, query: str, *, is_multi: bool) -> Json:
    """Write a variable that is asked of the metrics."""
    made: Json = {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": is_multi,
        "includeAll": is_multi,
        "current": {"text": "All", "value": "$__all"} if is_multi else {},
    }
    return {**made, "allValue": ".*"} if is_multi else made


def dashboard(uid: str, title: str, panels: tuple[Panel, ...], variables: list[Json]) -> Json:
    """Write a dashboard."""
    placed, x, y, height = [], 0, 0, 0
    for number, one in enumerate(panels, start=1):
        if x + one.width > COLUMNS:
            x, y, height = 0, y + height, 0
        placed.append(panel(number, one, x, y))
        x, height = x + one.width, max(height, one.height)
    source = {"name": "datasource", "label": "Prometheus", "type": "datasource"}
    return {
        "uid": uid,
        "title": title,
        "tags": ["drifttrigger"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "1m",
        "time": {"from": "now-7d", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": [{**source, "query": "prometheus", "current": {}}, *variables]},
        "panels": placed,
    }


def dashboards() -> dict[str, Json]:
    """Make all dashboards by the names of their files."""
    namespaces = "label_values(drifttrigger_ready, namespace)"
    triggers = 'label_values(drifttrigger_ready{namespace="$namespace"}, trigger)'
    every = [variable("namespace", "Namespace", namespaces, is_multi=True)]
    one = [
        variable("namespace", "Namespace", namespaces, is_multi=False),
        variable("trigger", "Trigger", triggers, is_multi=False),
    ]
    return {
        "fleet.json": dashboard(FLEET_UID, "drifttrigger: all triggers", FLEET, every),
        "trigger.json": dashboard(TRIGGER_UID, "drifttrigger: one trigger", ONE_TRIGGER, one),
    }


def main() -> None:
    """Write the files."""
    argparse.ArgumentParser(description="Write the Grafana dashboards.").parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, made in dashboards().items():
        (FOLDER / name).write_text(json.dumps(made, indent=2) + "\n")


if __name__ == "__main__":
    main()
