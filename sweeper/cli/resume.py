"""`sweeper resume`: go on with a sweep that was stopped or killed."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from sweeper.cli import options
from sweeper.folder import find_sweep, read_spec, workspace_at


@click.command("resume")
@options.sweep_name
@options.root
@options.as_json
def command(sweep: str, root: Path | None, as_json: bool) -> int:
    """Go on with SWEEP (its name or its folder): finished trials stay, running ones continue."""
    spec = read_spec(find_sweep(workspace_at(root), sweep))
    from sweeper.cli.outcome import show_outcome
    from sweeper.cli.progress import watching
    from sweeper.driver.run import resume_sweep

    with watching(spec, Console(stderr=True)) as observer:
        outcome = resume_sweep(sweep, root=root, observer=observer)
    return show_outcome(spec, outcome, as_json=as_json)
