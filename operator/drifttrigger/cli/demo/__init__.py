"""`drifttrigger demo`: drift makes one retraining Job, on a real API server and Prometheus.

Nothing is mocked but the kubelet. The exit status is 0 only if every claim was observed, and
nothing runs or lies about afterwards but the picture.

```
screen     what people see          stage      cluster, model server, operator; look and wait
story      the chapters             incidents  NaN, nothing, two series, no Prometheus
watching   what the API server has  audit      what the API server wrote down
```
"""

import shlex
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import click

from drifttrigger.api.errors import UsageError
from drifttrigger.cli.demo import prologue, story
from drifttrigger.cli.demo.exporter import Exporter
from drifttrigger.cli.demo.install import repository
from drifttrigger.cli.demo.process import STOP_AFTER_INTENT, OperatorProcess
from drifttrigger.cli.demo.screen import Screen, screen_for
from drifttrigger.cli.demo.stage import Stage
from drifttrigger.cli.demo.summary import Crossing, JobRun, Summary
from drifttrigger.local.cluster import Cluster
from drifttrigger.local.prometheus import PrometheusOptions
from drifttrigger.local.signals import guard, unguard

PICTURE = "drifttrigger-demo.png"
_SCRAPE_SECONDS = 0.5
# Otherwise Prometheus scrapes nothing in its first five seconds.
_TAKE_TARGETS_AT_ONCE = "--scrape.discovery-reload-interval=100ms"
_KEPT_LOOK_SECONDS = 1.0


@click.command()
@click.option("--keep", is_flag=True, help="Leave all of it running afterwards, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON on stdout.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, writable=True, path_type=Path),
    default=".",
    show_default="the current directory",
    help=f"Where {PICTURE} is written.",
)
def demo(output: Path, *, keep: bool, as_json: bool) -> None:
    """See drift make one retraining Job, for real.

    Runs a control plane and a Prometheus on this machine, and the operator under its shipped
    rights. Takes about a minute, the first time ten more to build the binaries.
    """
    # A shell that starts us in the background has it ignored, and would leave us no way to stop.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    guard()
    try:
        with screen_for(to_stderr=as_json) as screen:
            _run(screen, output, keep=keep, as_json=as_json)
    finally:
        unguard()


def _run(screen: Screen, output: Path, *, keep: bool, as_json: bool) -> None:
    started = time.monotonic()
    root = repository()
    reference, scores = prologue.tell(screen)
    with ExitStack() as stack:
        screen.chapter("A Kubernetes control plane and a Prometheus start on this machine")
        options = PrometheusOptions(
            scrape_interval_seconds=_SCRAPE_SECONDS, arguments=(_TAKE_TARGETS_AT_ONCE,)
        )
        cluster = stack.enter_context(Cluster.start(prometheus=options, progress=screen.say))
        stage = Stage(
            cluster=cluster,
            exporter=stack.enter_context(Exporter()),
            screen=screen,
            threshold=reference.threshold,
            scores=scores[: reference.steps],
        )
        history = story.remember(stage)
        story.set_up(stage, root)
        with stage.running_operator(number=1, fault=STOP_AFTER_INTENT):
            holds = story.watch_and_hold(stage, scores)
            crossing = story.cross(stage, scores)
        with stage.running_operator(number=2) as operator:
            job = story.train(stage, scores, crossing)
            cleared = story.deploy(stage, scores)
            summary = Summary(
                reference=reference,
                history=history,
                holds=holds,
                crossing=crossing,
                job=job,
                cleared=cleared,
                audit=story.count(stage),
                plot=_draw(
                    output, stage.scores, live_from=reference.steps, crossing=crossing, job=job
                ),
                seconds=round(time.monotonic() - started, 1),
            )
            _tell(screen, summary, as_json=as_json)
            if keep:
                _keep(stage, operator)


def _tell(screen: Screen, summary: Summary, *, as_json: bool) -> None:
    screen.rest()
    screen.chapter("All of it was observed")
    for line in summary.lines():
        screen.say(line)
    if as_json:
        click.echo(summary.to_json())


def _keep(stage: Stage, operator: OperatorProcess) -> None:
    """Leave everything to the person at the terminal until Ctrl-C."""
    stage.chapter("It stays as it is until Ctrl-C; in another terminal:")
    put = f"curl -X PUT -d 0.3 http://{stage.exporter.address}/score"
    for line in (
        f"export KUBECONFIG={shlex.quote(str(stage.cluster.kubeconfig))}",
        f"export PATH={shlex.quote(str(stage.cluster.binaries))}:$PATH",
        f"export PROMETHEUS_URL={stage.prometheus}",
        "kubectl get drifttriggers,retrainings,jobs",
        f"{put}    # a score of your own; the cooldown is 24h",
        f"curl {operator.metrics_url}/metrics",
        f"tail -f {shlex.quote(str(operator.log))}",
    ):
        stage.screen.paste(line)
    try:
        while True:
            stage.linger(_KEPT_LOOK_SECONDS)
    except KeyboardInterrupt:
        stage.screen.say("stopped")


def _draw(
    output: Path, scores: Sequence[float], *, live_from: int, crossing: Crossing, job: JobRun
) -> Path:
    from drifttrigger.cli.analysis.plots import Marks, score_plot

    path = output.absolute() / PICTURE
    marks = Marks(
        live_from=live_from,
        crossing=crossing.step,
        held=live_from,
        job=(job.started_at_step, job.ended_at_step),
        new_model=story.NEW_MODEL_STEP,
    )
    picture = score_plot(scores, threshold=crossing.threshold, marks=marks)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture)
    except OSError as error:
        raise UsageError(f"the plot can't be written: {error}") from error
    return path
