"""One program for everything: `drifttrigger`, also `kubectl drifttrigger`.

Exit status: 0 done, 1 failed, 2 wrong usage; `check` exits 3 when drifted. Errors are one line that
says what to do, never a traceback. Subcommands are imported when they are used.
"""

import importlib
import logging
import sys

import click

from drifttrigger import __version__
from drifttrigger.api.errors import DriftTriggerError

_COMMANDS = {
    "backtest": ("drifttrigger.cli.backtest", "backtest", "Replay past scores through a trigger."),
    "check": ("drifttrigger.cli.check", "check", "Evaluate a trigger once, in words."),
    "cluster": ("drifttrigger.cli.cluster", "cluster", "Run a local control plane."),
    "completion": ("drifttrigger.cli.completion", "completion", "Complete commands in a shell."),
    "demo": ("drifttrigger.cli.demo", "demo", "See drift make one retraining Job, for real."),
    "describe": ("drifttrigger.cli.describe", "describe", "Tell the story of a trigger."),
    "get": ("drifttrigger.cli.get", "get", "List triggers or Retrainings."),
    "hold": ("drifttrigger.cli.hold", "hold", "Start no retrainings for a while."),
    "operator": ("drifttrigger.cli.operator", "operator", "Run the operator."),
    "plot": ("drifttrigger.cli.plot", "plot", "Draw the recent scores of a trigger."),
    "release": ("drifttrigger.cli.hold", "release", "End a hold."),
    "simulate": ("drifttrigger.cli.simulate", "simulate", "Make the reference drift scores."),
    "trigger": ("drifttrigger.cli.trigger", "trigger", "Ask for one retraining now."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the names, sorted."""
        del ctx
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        module, attribute, _ = _COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in sorted(_COMMANDS.items())])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="drifttrigger")
def cli() -> None:
    """Retrain models when they drift."""


def main() -> None:
    """Run the command line."""
    # Libraries warn on their own about what our one-line errors say better.
    logging.basicConfig(level=logging.CRITICAL)
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.UsageError as error:
        error.show()
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(1)
    except DriftTriggerError as error:
        click.echo(f"drifttrigger: {error}", err=True)
        sys.exit(1)
