"""`sweeper pause`: let a running sweep free its GPUs for a while, from another terminal."""

from __future__ import annotations

from pathlib import Path

import click

from sweeper.cli import options
from sweeper.folder import find_sweep, is_running, workspace_at


@click.command("pause")
@options.sweep_name
@options.root
def command(sweep: str, root: Path | None) -> None:
    """Pause SWEEP: running trials finish their epoch and free their GPUs, the driver waits for `sweeper resume`."""
    paths = find_sweep(workspace_at(root), sweep)
    name = paths.root.name
    if not is_running(paths):
        click.echo(f"{name} is not running; `sweeper resume {name}` starts it again.")
        return
    paths.pause_request.touch()
    click.echo(
        f"{name} starts nothing more and frees its workers when their epochs end; `sweeper resume {name}` goes on."
    )
