"""Make docs/images from real runs: terminal views, pictures and screenshots of the reports.

    python tools/docs_images.py

A control plane and a Prometheus of its own run the shipped operator over the reference series; each
picture is what a command really showed. Terminal views are SVG, without outside fonts.
"""

import asyncio
import os
import pty
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from rich import console as rich_console
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from drifttrigger.local import prometheus as metrics
from drifttrigger.local.binaries import ensure_binaries
from drifttrigger.local.layout import Layout, claim_temporary
from drifttrigger.local.ports import HOST, free_ports
from drifttrigger.local.processes import Processes
from drifttrigger.local.prometheus import PrometheusOptions
from drifttrigger.local.rest import Rest
from support.browser import browser
from support.cluster import SCRAPE_INTERVAL_SECONDS, SharedCluster, use_cluster
from support.crds import install_crds
from support.kubectl import Kubectl
from support.operator import SYSTEM_NAMESPACE
from support.scores import Scores
from support.world import World

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
NAMESPACE = "models"
COLUMNS = 112
DAYS = 60
LARGEST = 200_000
TRIGGER = """
apiVersion: drifttrigger.dev/v1alpha1
kind: DriftTrigger
metadata: {name: fraud-detector}
spec:
  prometheus: {address: "http://prometheus.monitoring:9090"}
  query: max(model_drift_score{model="fraud-detector"})
  interval: 1d
  cooldown: 3d
  threshold: 0.2
  clearThreshold: 0.15
  jobTemplate:
    spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: b}]}}}
"""


def main() -> None:
    """Make all pictures anew."""
    IMAGES.mkdir(exist_ok=True)
    with TemporaryDirectory() as name:
        folder = Path(name)
        trigger = folder / "trigger.yaml"
        trigger.write_text(TRIGGER)
        with past(folder) as address:
            look_back(trigger, address, folder)
        with use_cluster(folder / "cluster") as cluster:
            live(cluster, folder)
        asyncio.run(screenshots(folder))
    for path in sorted(IMAGES.iterdir()):
        size = path.stat().st_size
        print(f"{path.relative_to(ROOT)}: {size / 1000:.0f} kB")
        if size > LARGEST:
            sys.exit(f"{path} is too large for the docs")


@contextmanager
def past(folder: Path) -> Iterator[str]:
    """Run a Prometheus that holds the reference series; yield its address."""
    binaries = ensure_binaries(progress=print)
    directory, lock = claim_temporary()
    layout, options = Layout(directory), PrometheusOptions()
    layout.make()
    processes = Processes(layout.logs)
    [port] = free_ports(1)
    address = f"http://{HOST}:{port}"
    try:
        samples = folder / "reference.om"
        run("simulate", "--steps", str(DAYS), "--format", "openmetrics", "--output", str(samples))
        metrics.backfill(layout, binaries=binaries, samples=samples)
        metrics.write_config(layout, options=options, targets=[])
        processes.start(metrics.prometheus(layout, binaries=binaries, port=port, options=options))
        processes.wait_until(
            metrics.PROMETHEUS,
            lambda: Rest(address).get("/-/ready").status == 200,
            timeout_seconds=60,
        )
        yield address
    finally:
        processes.stop_all()
        shutil.rmtree(directory, ignore_errors=True)
        lock.release()


def look_back(trigger: Path, address: str, folder: Path) -> None:
    """Show what the past says: plot and backtest."""
    asked = ["-f", str(trigger), "--address", address, "--since", f"{DAYS}d"]
    run("plot", *asked, "-o", str(IMAGES / "plot.png"))
    terminal("plot-terminal", "drifttrigger plot fraud-detector --since 60d", "plot", *asked)
    swept = [*asked, "--sweep", "0.1:0.5:0.1", "--budget", "1/30d"]
    shown = "drifttrigger backtest fraud-detector --since 60d --sweep 0.1:0.5:0.1 --budget 1/30d"
    pages = ["--html", str(folder / "backtest.html"), "--plot", str(IMAGES / "backtest-plot.png")]
    terminal("backtest", shown, "backtest", *swept, *pages)


def live(cluster: SharedCluster, folder: Path) -> None:
    """Show what the operator does: a drift, a retraining, a score that is good again."""
    world = world_of(cluster, folder)
    flags = ["-n", NAMESPACE, "--kubeconfig", str(cluster.kubeconfig)]
    operator = world.operator()
    try:
        names = ("churn", "fraud-detector", "pricing")
        for name in names:
            world.set(name, 0.08)
        time.sleep(3 * SCRAPE_INTERVAL_SECONDS)  # a first answer without data is no good example
        for name in names:
            world.apply(world.trigger(name, cooldown="3s", maxAttempts=2))
            world.wait_reason(name, "Drifted", "BelowThreshold")
        world.set("fraud-detector", 0.252)
        world.wait_jobs(1)
        world.set("fraud-detector", 0.06)
        world.wait(lambda: "scoreAfter" in last(world), what="the score after the retraining")
        world.wait_reason("fraud-detector", "Drifted", "BelowThreshold")
        world.set("churn", 0.31)
        world.wait_reason("churn", "Drifted", "CoolingDown", "RetrainingActive")
        terminal("get", "drifttrigger get -n models", "get", *flags)
        story = ("describe", "fraud-detector", *flags)
        terminal("describe", "drifttrigger describe fraud-detector -n models", *story)
        run(*story, "--html", str(folder / "describe.html"))
    finally:
        operator.stop()


def world_of(cluster: SharedCluster, folder: Path) -> World:
    """Install what is shipped, and make the namespace."""
    install_crds(cluster.kubeconfig)
    kubectl = Kubectl(cluster.kubectl, cluster.kubeconfig)
    for namespace in (SYSTEM_NAMESPACE, NAMESPACE):
        kubectl("create", "namespace", namespace)
    kubectl("apply", "--server-side", "--kustomize", str(ROOT / "manifests" / "rbac"))
    scores = Scores()
    cluster.add_scrape_target("docs", scores.address)
    account = cluster.service_account_kubeconfig(SYSTEM_NAMESPACE, "drifttrigger")
    return World(NAMESPACE, kubectl, scores, cluster, account, folder)


def last(world: World) -> dict[str, object]:
    """Return what the trigger knows of its last retraining."""
    status = world.get("drifttrigger", "fraud-detector").get("status", {})
    found: dict[str, object] = status.get("lastRetraining", {})
    return found


def run(*arguments: str) -> None:
    """Run a command, quietly."""
    command = [sys.executable, "-m", "drifttrigger", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=120)


def terminal(name: str, shown: str, *arguments: str) -> None:
    """Write what a command shows on a terminal.

    Args:
        name: Of the file.
        shown: The command as a reader would type it.
        arguments: The command as it is run here.
    """
    said = on_terminal([sys.executable, "-m", "drifttrigger", *arguments])
    lines = [line.rstrip() for line in said.replace("\r", "").splitlines()]
    with Path(os.devnull).open("w") as nowhere:
        screen = Console(record=True, width=COLUMNS, file=nowhere, highlight=False)
        screen.print(Text(f"$ {shown}", style="bold"))
        for line in lines:
            screen.print(Text.from_ansi(line), no_wrap=False)
        form = re.sub(
            r"@font-face \{\{.*?\}\}\s*", "", rich_console.CONSOLE_SVG_FORMAT, flags=re.DOTALL
        )
        svg = screen.export_svg(
            title="drifttrigger", theme=MONOKAI, code_format=form, unique_id=name
        )
    (IMAGES / f"{name}.svg").write_text(svg)


def on_terminal(command: list[str]) -> str:
    """Run a command on a terminal of its own; return what it wrote there."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LINES": "50"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL, env=environment)
    os.close(theirs)
    found = b""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            piece = os.read(ours, 65_536)
        except OSError:
            break  # the other end is closed
        found += piece
    os.close(ours)
    if process.wait(30):
        sys.exit(f"{' '.join(command)} failed:\n{found.decode()}")
    return found.decode()


async def screenshots(folder: Path) -> None:
    """Take pictures of the reports."""
    async with browser() as tab:
        for name, width, height in (("backtest", 1180, 900), ("describe", 1020, 900)):
            await tab.open((folder / f"{name}.html").as_uri(), width=width, height=height)
            (IMAGES / f"report-{name}.png").write_bytes(await tab.screenshot())


if __name__ == "__main__":
    main()
