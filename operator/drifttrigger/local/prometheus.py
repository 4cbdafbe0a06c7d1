"""A real Prometheus on loopback: configuration, targets, history.

Its configuration is one JSON file (Prometheus reads YAML, and so JSON). Any process that knows the
cluster's folder may add a target: the file is changed under a lock and Prometheus reloads it.
"""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from drifttrigger.local.errors import StartError
from drifttrigger.local.kubeconfig import write_private
from drifttrigger.local.layout import Layout
from drifttrigger.local.locks import exclusive
from drifttrigger.local.ports import HOST
from drifttrigger.local.processes import Program
from drifttrigger.local.rest import Rest

PROMETHEUS = "prometheus"

_BACKFILL_TIMEOUT_SECONDS = 600
# By default a block spans two hours: a month takes 360 blocks and 10 to 20 seconds instead of one.
_ONE_BLOCK = "--max-block-duration=365d"


@dataclass(frozen=True, slots=True)
class ScrapeTarget:
    """Something that Prometheus scrapes at `/metrics`.

    Args:
        job: Value of the label `job`.
        address: `host:port`.
        labels: More labels of each series.
    """

    job: str
    address: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PrometheusOptions:
    """How Prometheus runs.

    Args:
        scrape_interval_seconds: Milliseconds count; the timeout of a scrape is the same.
        lookback_seconds: How old a sample may be and still count as now.
        backfill: OpenMetrics files (ending in `# EOF`) whose samples are there from the start.
        arguments: More command-line arguments.
    """

    scrape_interval_seconds: float = 1.0
    lookback_seconds: float = 300.0
    backfill: Sequence[Path] = ()
    arguments: Sequence[str] = ()


class _StaticConfig(TypedDict):
    targets: list[str]
    labels: dict[str, str]


class _ScrapeConfig(TypedDict):
    job_name: str
    static_configs: list[_StaticConfig]


class _Config(TypedDict):
    """The part of Prometheus' configuration file that is used here."""

    scrape_configs: list[_ScrapeConfig]


def prometheus(layout: Layout, *, binaries: Path, port: int, options: PrometheusOptions) -> Program:
    """Run Prometheus; samples out of order are refused, which is its default."""
    return Program(
        name=PROMETHEUS,
        command=(
            str(binaries / PROMETHEUS),
            f"--config.file={_config_file(layout)}",
            f"--storage.tsdb.path={_data(layout)}",
            # A backfilled history may be older than the 15 days of the default.
            "--storage.tsdb.retention.time=10y",
            f"--web.listen-address={HOST}:{port}",
            "--web.enable-lifecycle",
            f"--query.lookback-delta={_milliseconds(options.lookback_seconds)}",
            "--log.level=warn",
            *options.arguments,
        ),
        grace_seconds=5.0,
    )


def write_config(
    layout: Layout, *, options: PrometheusOptions, targets: Sequence[ScrapeTarget]
) -> None:
    """Write the configuration anew, with these targets only."""
    interval = _milliseconds(options.scrape_interval_seconds)
    config = {
        "global": {
            "scrape_interval": interval,
            "scrape_timeout": interval,
            "evaluation_interval": interval,
        },
        "scrape_configs": [],
    }
    write_private(_config_file(layout), json.dumps(config, indent=2))
    for target in targets:
        _change(layout, target)


def add_target(layout: Layout, target: ScrapeTarget, *, url: str) -> None:
    """Scrape one more target from now on; returns when Prometheus has taken it over.

    Args:
        layout: The cluster's folder.
        target: An address that its job has already gets the new labels.
        url: Of Prometheus.

    Raises:
        StartError: Prometheus refuses the configuration.
    """
    with exclusive(layout.prometheus / "config.lock"):
        _change(layout, target)
        answer = Rest(url).send("POST", "/-/reload")
    if answer.status != 200:
        problem = f"refused its configuration: {answer.body.decode(errors='replace').strip()}"
        raise StartError(PROMETHEUS, problem)


def backfill(layout: Layout, *, binaries: Path, samples: Path) -> None:
    """Turn an OpenMetrics file into blocks of history; Prometheus must not be running.

    Args:
        layout: The cluster's folder.
        binaries: Folder that holds promtool.
        samples: Samples with timestamps, series by series, ending in `# EOF`.

    Raises:
        StartError: promtool refuses the file.
    """
    command = (binaries / "promtool", "tsdb", "create-blocks-from", "openmetrics")
    _data(layout).mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [*command, "--quiet", _ONE_BLOCK, samples, _data(layout)],
        capture_output=True,
        text=True,
        check=False,
        timeout=_BACKFILL_TIMEOUT_SECONDS,
        stdin=subprocess.DEVNULL,
        # It works in temporary folders, which nobody removes when it is killed.
        env={**os.environ, "TMPDIR": str(layout.prometheus)},
    )
    if done.returncode != 0:
        raise StartError("promtool", f"can't backfill {samples}", log=done.stderr.strip())


def _change(layout: Layout, target: ScrapeTarget) -> None:
    path = _config_file(layout)
    config: _Config = json.loads(path.read_text())
    entry = _StaticConfig(targets=[target.address], labels=dict(target.labels))
    for job in config["scrape_configs"]:
        if job["job_name"] == target.job:
            others = [old for old in job["static_configs"] if old["targets"] != entry["targets"]]
            job["static_configs"] = [*others, entry]
            break
    else:
        config["scrape_configs"].append(_ScrapeConfig(job_name=target.job, static_configs=[entry]))
    write_private(path, json.dumps(config, indent=2))


def _config_file(layout: Layout) -> Path:
    return layout.prometheus / "prometheus.json"


def _data(layout: Layout) -> Path:
    return layout.prometheus / "data"


def _milliseconds(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"
