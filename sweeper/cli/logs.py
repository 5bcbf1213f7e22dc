"""`sweeper logs`: what a sweep's driver, or one of its trials, printed."""

from __future__ import annotations

import time
from pathlib import Path

import click

from sweeper.cli import options
from sweeper.errors import SweepFolderError
from sweeper.folder import find_sweep, is_running, workspace_at
from sweeper.paths import SweepPaths

_LOOK_SECONDS = 0.5


@click.command("logs")
@options.sweep_name
@click.argument("trial", type=click.IntRange(min=0), required=False)
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until the sweep's driver ends.")
@options.root
def command(sweep: str, trial: int | None, follow: bool, root: Path | None) -> None:
    """Print the log of SWEEP (its name or its folder), or of one TRIAL of it.

    Of a sweep, what its detached driver printed, else the driver's log.
    """
    paths = _paths(sweep, root)
    log = _log(paths, trial)
    with log.open("rb") as handle:
        while True:
            # Asked before reading: what a driver wrote before it ended must not be missed.
            alive = follow and is_running(paths)
            click.echo(handle.read().decode(errors="replace"), nl=False)
            if not alive:
                return
            time.sleep(_LOOK_SECONDS)


def _paths(sweep: str, root: Path | None) -> SweepPaths:
    """Returns the sweep's folder, also while its detached driver still prepares it."""
    begun = workspace_at(root).sweep(sweep)
    return begun if begun.output.exists() else find_sweep(workspace_at(root), sweep)


def _log(paths: SweepPaths, trial: int | None) -> Path:
    name = paths.root.name
    if trial is not None:
        log = paths.trial(trial).log
        if not log.exists():
            raise SweepFolderError(f"Trial {trial} of `{name}` has no log; `sweeper status {name}` shows its trials.")
        return log
    for log in (paths.output, paths.log):
        if log.exists():
            return log
    raise SweepFolderError(f"The sweep `{name}` has no log yet.")
