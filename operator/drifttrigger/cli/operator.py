"""`drifttrigger operator`: the process that a Deployment runs."""

import asyncio

import click

from drifttrigger.core.servers import DEFAULT_SOURCE
from drifttrigger.runtime.main import run
from drifttrigger.runtime.settings import Controller, LogFormat, Settings


def _controllers(_context: click.Context, _parameter: click.Parameter, text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    known = [controller.value for controller in Controller]
    wrong = [name for name in names if name not in known]
    if wrong or not names:
        raise click.BadParameter(f"{text!r}: choose among {', '.join(known)}")
    return names


@click.command(context_settings={"auto_envvar_prefix": "DRIFTTRIGGER", "show_default": True})
@click.option(
    "--controllers",
    default="detection,execution",
    callback=_controllers,
    help="Which controllers to run, separated by commas.",
)
@click.option(
    "--namespace",
    "namespaces",
    multiple=True,
    help="Look at this namespace only; repeatable. Without it: all, which needs cluster rights.",
)
@click.option("--kubeconfig", default="", help="Path; without it in-cluster, then KUBECONFIG.")
@click.option("--context", default="", help="Context of the kubeconfig.")
@click.option(
    "--metrics-address", default="127.0.0.1:9095", help="host:port of /metrics, '' for none."
)
@click.option(
    "--health-address",
    default="127.0.0.1:9096",
    help="host:port of /healthz, /readyz, '' for none.",
)
@click.option("--log-format", type=click.Choice([f.value for f in LogFormat]), default="json")
@click.option(
    "--log-level", type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"]), default="INFO"
)
@click.option(
    "--api-write-budget",
    type=click.FloatRange(min=1, max=10_000),
    default=20.0,
    help="Writes a second to the API server; intents never wait for it.",
)
@click.option(
    "--max-starts-per-minute",
    type=click.IntRange(min=1, max=100_000),
    default=20,
    help="Jobs that this process starts in any minute.",
)
@click.option(
    "--max-in-flight-per-source",
    type=click.IntRange(min=1, max=1000),
    default=8,
    help="Requests under way at once to one metrics server.",
)
@click.option(
    "--default-source",
    default=DEFAULT_SOURCE,
    help="ClusterMetricsSource of triggers that name no source.",
)
@click.option(
    "--operator-namespace",
    default="",
    show_default=False,
    help="Namespace of the Secrets that ClusterMetricsSources name.  [default: that of the pod]",
)
@click.option(
    "--lease-namespace",
    default="",
    show_default=False,
    help="Where replicas announce themselves.  [default: the operator's namespace]",
)
@click.option(
    "--proxy-from-env",
    is_flag=True,
    help="Reach metrics servers through HTTP_PROXY and the like; addresses are not checked then.",
)
@click.option("--identity", default="", help="Name of this process; default: the host's name.")
def operator(
    controllers: list[str],
    namespaces: tuple[str, ...],
    kubeconfig: str,
    context: str,
    metrics_address: str,
    health_address: str,
    log_format: str,
    log_level: str,
    api_write_budget: float,
    max_starts_per_minute: int,
    max_in_flight_per_source: int,
    default_source: str,
    operator_namespace: str,
    lease_namespace: str,
    proxy_from_env: bool,  # noqa: FBT001 - click hands options over by name
    identity: str,
) -> None:
    """Run the operator until SIGTERM or SIGINT.

    Every option can be given as an environment variable, as in DRIFTTRIGGER_LOG_FORMAT=text.
    """
    settings = Settings(
        controllers=tuple(Controller(name) for name in controllers),
        namespaces=namespaces,
        kubeconfig=kubeconfig,
        context=context,
        metrics_address=metrics_address,
        health_address=health_address,
        log_format=LogFormat(log_format),
        log_level=log_level,
        api_write_budget=api_write_budget,
        max_starts_per_minute=max_starts_per_minute,
        max_in_flight_per_source=max_in_flight_per_source,
        default_source=default_source,
        operator_namespace=operator_namespace,
        lease_namespace=lease_namespace,
        proxy_from_env=proxy_from_env,
        identity=identity,
    )
    asyncio.run(run(settings))
