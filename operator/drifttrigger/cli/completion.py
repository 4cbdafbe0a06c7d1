"""`drifttrigger completion`: what a shell needs to complete commands, flags and names.

Names of triggers are asked of the cluster that the flags typed so far mean.
"""

import asyncio

import click
from click.shell_completion import CompletionItem, get_completion_class

from drifttrigger.api.errors import DriftTriggerError
from drifttrigger.cli.connection import Connection
from drifttrigger.clients.kube import DRIFT_TRIGGERS

_SECONDS = 2.0


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that completes commands, flags and names of triggers.

    \b
    bash: source <(drifttrigger completion bash)
    zsh:  source <(drifttrigger completion zsh)
    fish: drifttrigger completion fish | source
    """  # noqa: D301 - click's mark for lines that are not to be joined
    root = context.find_root()
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    program = "drifttrigger"
    script = kind(root.command, {}, program, f"_{program.upper()}_COMPLETE")
    # Not source(): for bash it starts a bash to look at its version.
    click.echo(script.source_template % script.source_vars())


def complete_names(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the name of a trigger."""
    connection = context.params.get("connection") or Connection()
    try:
        names = asyncio.run(_names(connection))
    except (DriftTriggerError, TimeoutError):
        return []  # a shell in the middle of a line is no place for an error
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


async def _names(connection: Connection) -> list[str]:
    async with asyncio.timeout(_SECONDS), connection.open() as cluster:
        pages = cluster.kube.list_metadata(DRIFT_TRIGGERS, cluster.namespace)
        return [metadata.name async for page in pages for metadata in page]
