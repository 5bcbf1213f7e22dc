"""`sweeper ui`: MLflow's pages on the sweeps of a workspace."""

from __future__ import annotations

import signal
from pathlib import Path

import click

from sweeper.cli import options
from sweeper.folder import find_sweep, read_spec, workspace_at
from sweeper.paths import Workspace
from sweeper.spec.tracking import TrackingSpec


@click.command("ui")
@click.argument("sweep", metavar="[SWEEP]", required=False)
@options.root
@click.option("--port", type=click.IntRange(1, 65535), help="Port on this machine [any free one].")
def command(sweep: str | None, root: Path | None, port: int | None) -> None:
    """Open MLflow on the workspace's sweeps, or straight on SWEEP; Ctrl-C ends it."""
    # Here, as help must be there where MLflow is not installed.
    from sweeper.tracking import choose_uri, serve_ui

    # Ended either way, the server must not stay behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    workspace, spec = workspace_at(root), None
    if sweep:
        paths = find_sweep(workspace, sweep)
        workspace, spec = Workspace(paths.root.parent), read_spec(paths)
    tracking = spec.tracking if spec else TrackingSpec()
    with serve_ui(choose_uri(tracking, workspace), workspace, port=port) as server:
        url = server.experiment_url(tracking.experiment or spec.name) if spec else server.url
        click.echo(f"MLflow is at {url} (Ctrl-C ends it).")
        server.wait()
