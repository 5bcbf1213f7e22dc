"""`sweeper status`: where a sweep stands, live or dead, from any terminal."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from sweeper.cli import options
from sweeper.cli.tables import point, running_table
from sweeper.folder import find_sweep, is_running, read_spec, workspace_at
from sweeper.records import METRICS
from sweeper.results import status_of


@click.command("status")
@options.sweep_name
@options.root
@options.as_json
def command(sweep: str, root: Path | None, as_json: bool) -> None:
    """Say where SWEEP (its name or its folder) stands."""
    # Here, as help must be there where Optuna is not installed.
    from sweeper.search import open_ledger, storage_url

    paths = find_sweep(workspace_at(root), sweep)
    spec = read_spec(paths)
    ledger = open_ledger(spec, storage_url(spec, paths), create=False)
    records = ledger.records()
    logs = {record.number: str(paths.trial(record.number).log) for record in records}
    status = status_of(
        spec, records, total=ledger.total, alive=is_running(paths), logs=logs, spent=ledger.spent, ended=ledger.ended
    )
    if as_json:
        options.echo_json(status)
        return
    counts = ", ".join(f"{count} {state.value}" for state, count in status.counts.items() if count)
    click.echo(f"{status.name}: {counts} of {status.total} trials; {status.seconds / 3600:.2f} trial-hours.")
    if status.budget:
        click.echo(f"Budget: {', '.join(status.budget)}.")
    if status.best is not None:
        metric = METRICS[spec.search.objective]
        value = format(status.best.best.value(metric.name), metric.format)
        click.echo(f"Best {metric.title} {value}: trial {status.best.number}, {point(status.best.params)}.")
    if status.running:
        Console().print(running_table(status))
    for failed in status.failed:  # as lines, not in a table: a path that is cut short is of no use
        click.echo(f"Trial {failed.number} failed: {failed.reason}\n  log: {failed.log}")
    click.echo(status.explanation)
