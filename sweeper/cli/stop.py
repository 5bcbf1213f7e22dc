"""`sweeper stop`: end a sweep cleanly, or one trial of it, from another terminal."""

from __future__ import annotations

from pathlib import Path

import click

from sweeper.cli import options
from sweeper.errors import InputError
from sweeper.folder import find_sweep, held, is_running, read_spec, workspace_at
from sweeper.paths import SweepPaths
from sweeper.records import TrialState


@click.command("stop")
@options.sweep_name
@click.option("--trial", type=click.IntRange(min=0), help="End only this trial, with the epoch it is in.")
@options.root
def command(sweep: str, trial: int | None, root: Path | None) -> None:
    """Stop SWEEP as Ctrl-C would: checkpoints are kept, `sweeper resume` goes on."""
    paths = find_sweep(workspace_at(root), sweep)
    name = paths.root.name
    if trial is not None:
        click.echo(_stop_trial(paths, trial))
    elif not is_running(paths):
        click.echo(f"{name} is not running.")
    else:
        paths.stop_request.touch()
        click.echo(f"{name} will stop within seconds; `sweeper resume {name}` goes on.")


def _stop_trial(paths: SweepPaths, number: int) -> str:
    from sweeper.search import open_ledger, storage_url

    spec = read_spec(paths)
    ledger = open_ledger(spec, storage_url(spec, paths), create=False)
    states = {record.number: record.state for record in ledger.records()}
    if states.get(number) is not TrialState.RUNNING:
        state = f"is {states[number].value}" if number in states else "does not exist yet"
        raise InputError(
            f"Only a trial that is under way can be stopped, but trial {number} of `{spec.name}` {state}; "
            f"`sweeper status {spec.name}` shows those that are."
        )
    if is_running(paths):
        request = paths.trial(number).stop_request
        request.parent.mkdir(parents=True, exist_ok=True)
        request.touch()
        return f"Trial {number} ends with the epoch it is in; its best weights are kept."
    with held(paths):
        ledger.stop(number, reason="ended by `sweeper stop --trial`")
    return f"Trial {number} is stopped; `sweeper resume {spec.name}` goes on with the others."
