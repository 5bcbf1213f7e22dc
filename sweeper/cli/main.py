"""The command `sweeper`: finds the subcommand, and turns errors into sentences and exit codes."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from sweeper.errors import SweeperError, nearest

_COMMANDS = (
    "validate",
    "plan",
    "run",
    "resume",
    "status",
    "logs",
    "metrics",
    "pause",
    "stop",
    "retry",
    "rerun",
    "diff",
    "import",
    "leaderboard",
    "confirm",
    "report",
    "combine",
    "export",
    "promote",
    "predict",
    "data",
    "backbones",
    "look",
    "ui",
)

_MODULES = {"import": "importing"}
"""Where the command's name is a word of Python's own."""

_EXTRAS = {
    "jinja2": "sweep",
    "prometheus_client": "sweep",
    "ray": "sweep",
    "optuna": "sweep",
    "mlflow": "sweep",
    "sqlalchemy": "sweep",
}
"""Packages that a command may need and a person who only predicts does not, and the extra that installs them."""


class _Commands(click.Group):
    """Loads a subcommand's module when it is asked for: `validate` must not wait for torch and Ray."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = _MODULES.get(cmd_name, cmd_name)
        command: click.Command = importlib.import_module(f"sweeper.cli.{module}").command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[Any, Any, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in _COMMANDS:
            raise click.UsageError(f"There is no command `{args[0]}`{nearest(args[0], _COMMANDS) or '.'}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sweeper")
def cli() -> None:
    """Sweep hyperparameters of pretrained image backbones: one YAML file in, a ranked sweep out."""


def main() -> None:
    """Runs the command line and exits: 0 well, 1 it failed, 2 the input is wrong, 130 stopped by Ctrl-C."""
    sys.exit(_run())


def _run() -> int:
    try:
        result = cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return 2
    except SweeperError as error:
        click.echo(f"sweeper: {error}", err=True)
        return error.exit_code
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRAS:
            raise
        extra = f"sweeper[{_EXTRAS[package]}]"
        click.echo(f"sweeper: This needs `{package}`, which is not installed; run `pip install '{extra}'`.", err=True)
        return 2
    except OSError as error:
        click.echo(f"sweeper: {error.filename or 'the system'}: {error.strerror or error}.", err=True)
        return 1
    except (KeyboardInterrupt, click.Abort):
        click.echo("sweeper: stopped.", err=True)
        return 130
    return result if isinstance(result, int) else 0
