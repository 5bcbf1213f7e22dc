"""`sweeper resume`: go on with a sweep that was stopped or killed."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from sweeper.cli import options
from sweeper.folder import find_sweep, is_running, read_spec, workspace_at


@click.command("resume")
@options.sweep_name
@options.root
@options.as_json
def command(sweep: str, root: Path | None, as_json: bool) -> int:
    """Go on with SWEEP (its name or its folder): finished trials stay, running ones continue.

    A sweep that is paused goes on in the terminal where it runs.
    """
    paths = find_sweep(workspace_at(root), sweep)
    if paths.pause_request.exists() and is_running(paths):
        paths.pause_request.unlink(missing_ok=True)
        click.echo(f"{paths.root.name} goes on, where it runs.")
        return 0
    spec = read_spec(paths)
    from sweeper.cli.outcome import show_outcome
    from sweeper.cli.progress import watching
    from sweeper.driver.run import resume_sweep

    with watching(spec, Console(stderr=True)) as observer:
        outcome = resume_sweep(sweep, root=root, observer=observer)
    return show_outcome(spec, outcome, as_json=as_json)
