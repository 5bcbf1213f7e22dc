"""`sweeper stop`: end a running sweep cleanly, from another terminal."""

from __future__ import annotations

from pathlib import Path

import click

from sweeper.cli import options
from sweeper.folder import find_sweep, is_running, workspace_at


@click.command("stop")
@options.sweep_name
@options.root
def command(sweep: str, root: Path | None) -> None:
    """Stop SWEEP as Ctrl-C would: checkpoints are kept, `sweeper resume` goes on."""
    paths = find_sweep(workspace_at(root), sweep)
    if not is_running(paths):
        click.echo(f"{paths.root.name} is not running.")
        return
    paths.stop_request.touch()
    click.echo(f"{paths.root.name} will stop within seconds; `sweeper resume {paths.root.name}` goes on.")
