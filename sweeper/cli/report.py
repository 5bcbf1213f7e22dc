"""`sweeper report`: a sweep as one HTML page."""

from __future__ import annotations

from pathlib import Path

import click

from sweeper.cli import options
from sweeper.errors import TrackingError
from sweeper.folder import find_sweep, workspace_at
from sweeper.paths import CachePaths


@click.command("report")
@options.sweep_name
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="The file [report.html in the sweep's folder]."
)
@options.root
@options.as_json
def command(sweep: str, out: Path | None, root: Path | None, as_json: bool) -> None:
    """Write SWEEP (its name or its folder) as one HTML page to show to others; it needs no network.

    The page goes to MLflow as well, as an artifact of the sweep's run.
    """
    # Here, as help must be there where Optuna is not installed.
    from sweeper.report import Source, attach_report, report_of, write_report

    paths = find_sweep(workspace_at(root), sweep)
    source = Source.of(paths, CachePaths.default())
    report = report_of(source)
    if as_json:
        options.echo_json(report)
        return
    path = out or paths.report
    page = write_report(report, path)
    try:
        attach_report(source, page)
    except TrackingError as error:
        click.echo(f"sweeper: MLflow has not got the report: {error}", err=True)
    click.echo(f"The report is in `{path}` ({len(page.encode()) / 1e6:.2f} MB).")
