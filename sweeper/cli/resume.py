"""`sweeper resume`: go on with a sweep that was stopped, killed or paused, perhaps changed."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console

from sweeper.cli import detached, options
from sweeper.folder import find_sweep, is_running, read_spec, workspace_at
from sweeper.spec.edit import edited, require_comparable


@click.command("resume")
@options.sweep_name
@options.overrides
@click.option("--allow", multiple=True, metavar="KEY", help="Let a key change that is the same for all trials.")
@click.option("--again", multiple=True, metavar="TRIAL", help="Run a trial's point again: its number, or best:8.")
@options.root
@detached.option
@options.as_json
def command(  # noqa: PLR0913 - click hands each option over by name
    sweep: str,
    overrides: tuple[str, ...],
    allow: tuple[str, ...],
    again: tuple[str, ...],
    root: Path | None,
    detach: bool,
    as_json: bool,
) -> int:
    """Go on with SWEEP (its name or its folder): finished trials stay, running ones continue.

    A sweep that is paused goes on in the terminal where it runs. `--set search.trials=+30` changes a sweep before it
    goes on; old trials stay what they are.
    """
    paths = find_sweep(workspace_at(root), sweep)
    if not (overrides or again) and paths.pause_request.exists() and is_running(paths):
        paths.pause_request.unlink(missing_ok=True)
        click.echo(f"{paths.root.name} goes on, where it runs.")
        return 0
    spec = read_spec(paths)
    require_comparable(spec, edited(spec, overrides), allowed=allow)  # told before Ray starts
    if detach:
        return detached.detach(paths, sys.argv[1:])
    from sweeper.cli.outcome import show_outcome
    from sweeper.cli.progress import watching
    from sweeper.driver.edit import SweepEdit
    from sweeper.driver.run import resume_sweep

    edit = SweepEdit(overrides, allow, again)
    with watching(edited(spec, overrides), Console(stderr=True)) as observer:
        outcome = resume_sweep(sweep, root=root, observer=observer, edit=edit)
    return show_outcome(read_spec(paths), outcome, as_json=as_json)
