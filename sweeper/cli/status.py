"""`sweeper status`: where a sweep stands, live or dead, from any terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from sweeper.cli import options
from sweeper.cli.tables import point, running_table
from sweeper.folder import find_sweep, is_running, read_driver, read_spec, read_worker, workspace_at
from sweeper.paths import SweepPaths
from sweeper.records import METRICS, TrialState
from sweeper.results import Sight, SweepStatus, status_of

if TYPE_CHECKING:
    from sweeper.search import Ledger


@click.command("status")
@options.sweep_name
@options.root
@options.as_json
def command(sweep: str, root: Path | None, as_json: bool) -> None:
    """Say where SWEEP (its name or its folder) stands."""
    paths = find_sweep(workspace_at(root), sweep)
    status = status_at(paths)
    if as_json:
        options.echo_json(status)
        return
    counts = ", ".join(f"{count} {state.value}" for state, count in status.counts.items() if count)
    click.echo(f"{status.name}: {counts} of {status.total} trials; {status.seconds / 3600:.2f} trial-hours.")
    if status.budget:
        click.echo(f"Budget: {', '.join(status.budget)}.")
    if status.best is not None:
        metric = METRICS[read_spec(paths).search.objective]
        value = format(status.best.best.value(metric.name), metric.format)
        click.echo(f"Best {metric.title} {value}: trial {status.best.number}, {point(status.best.params)}.")
    if status.running:
        Console().print(running_table(status))
    for waiting in status.waiting:
        click.echo(f"Trial {waiting.number} waits: {waiting.why}.")
    if status.unasked:
        have = "1 trial has" if status.unasked == 1 else f"{status.unasked} trials have"
        click.echo(f"{have} no point yet; one is asked for when a slot is free for it.")
    for failed in status.failed:  # as lines, not in a table: a path that is cut short is of no use
        click.echo(f"Trial {failed.number} failed: {failed.reason}\n  log: {failed.log}")
    click.echo(status.explanation)


def status_at(paths: SweepPaths) -> SweepStatus:
    """Returns where the sweep in a folder stands now."""
    # Here, as help must be there where Optuna is not installed.
    from sweeper.search import open_ledger, storage_url

    spec = read_spec(paths)
    ledger = open_ledger(spec, storage_url(spec, paths), create=False)
    return status_of(spec, ledger.records(), _sight(paths, ledger), total=ledger.total)


def _sight(paths: SweepPaths, ledger: Ledger) -> Sight:
    records = ledger.records()
    alive = is_running(paths)
    running = [record.number for record in records if record.state is TrialState.RUNNING]
    workers = {number: read_worker(paths.trial(number)) for number in running} if alive else {}
    return Sight(
        alive=alive,
        driver=read_driver(paths) if alive else None,
        workers={number: worker for number, worker in workers.items() if worker is not None},
        logs={record.number: str(paths.trial(record.number).log) for record in records},
        spent=ledger.spent,
        ended=ledger.ended,
    )
