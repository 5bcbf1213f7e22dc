"""`sweeper promote`: the winner becomes a version of a registered model in MLflow."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import click

from sweeper.cli import options
from sweeper.cli.models import find_model
from sweeper.errors import InputError
from sweeper.folder import find_sweep, read_spec, workspace_at
from sweeper.paths import ModelPaths, Workspace


@click.command("promote")
@options.sweep_name
@click.option("--trial", type=click.IntRange(min=0), help="Which trial [the confirmed winner, else the first].")
@click.option("--name", help="Of the registered model [the sweep's].")
@options.root
@options.as_json
def command(sweep: str, trial: int | None, name: str | None, root: Path | None, as_json: bool) -> None:
    """Register the best trial of SWEEP (its name or its folder) in MLflow, as `champion`, ready to be served.

    It is exported first, and so compared and calibrated on the validation images.
    """
    paths = find_sweep(workspace_at(root), sweep)
    spec = read_spec(paths)
    folder = find_model(sweep, root=root, trial=trial)
    from sweeper.export import ExportRequest, export_model, serving
    from sweeper.search import open_ledger, storage_url
    from sweeper.tracking import choose_uri, is_server, without_password
    from sweeper.tracking.registry import Promotion, promote

    if not folder.name.isdigit():
        raise InputError(f"`sweeper promote` takes a sweep, but `{folder}` is no trial of one.")
    workspace = Workspace(paths.root.parent)
    uri = choose_uri(spec.tracking, workspace)
    with tempfile.TemporaryDirectory() as temporary:
        exported = Path(temporary) / "exported"
        click.echo(f"Exporting `{folder}`.", err=True)
        report = export_model(folder, exported, ExportRequest())
        promotion = Promotion(
            name=name or spec.name,
            folder=exported,
            card=ModelPaths(exported).card.read_text(encoding="utf-8"),
            classes=report.info.classes,
            sweep_id=open_ledger(spec, storage_url(spec, paths), create=False).sweep_id,
            trial=int(folder.name),
            experiment=spec.tracking.experiment or spec.name,
            loader=serving.__name__,
            column=serving.COLUMN,
            example=serving.example(),
            top_k=serving.TOP_K,
            requirement=f"sweeper=={report.origin.versions['sweeper']}",
        )
        made = promote(uri, promotion, artifacts=None if is_server(uri) else workspace.mlflow_artifacts)
    if as_json:
        click.echo(json.dumps(asdict(made) | {"trial": promotion.trial}, indent=2))
        return
    click.echo(f"Trial {promotion.trial} is version {made.version} of `{made.name}`, `{made.uri}`.")
    serve = f"mlflow models serve -m '{made.uri}' --env-manager local"
    click.echo(f"Serve it: MLFLOW_TRACKING_URI='{without_password(uri)}' {serve}")
