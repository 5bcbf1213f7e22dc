"""`sweeper import`: a study of somebody else becomes a sweep here."""

from __future__ import annotations

from pathlib import Path

import click

from sweeper.cli import options
from sweeper.folder import workspace_at
from sweeper.spec import load_spec


@click.command("import")
@options.space_file
@click.option("--study", metavar="URL NAME", nargs=2, help="An Optuna storage and the study in it.")
@click.option("--mlflow", metavar="URI NAME", nargs=2, help="An MLflow store or server and the experiment in it.")
@click.option("--map", "renamed", multiple=True, metavar="THEIRS=OURS", help="What a parameter is called here.")
@options.overrides
@options.root
@options.as_json
def command(  # noqa: PLR0913 - click hands each option over by name
    file: Path,
    study: tuple[str, str] | None,
    mlflow: tuple[str, str] | None,
    renamed: tuple[str, ...],
    overrides: tuple[str, ...],
    root: Path | None,
    as_json: bool,
) -> None:
    """Make a finished sweep of an Optuna study's or an MLflow experiment's trials, those that are points of FILE.

    It can be ranked, reported, and named in `search.warm_start`.
    """
    given = study or mlflow
    if given is None or (study and mlflow):
        raise click.UsageError("Give one of `--study URL NAME` and `--mlflow URI NAME`.")
    pairs = [one.partition("=") for one in renamed]
    if any(not theirs or not ours for theirs, _, ours in pairs):
        raise click.UsageError("`--map` is of the form THEIRS=OURS, e.g. `--map learning_rate=lr`.")
    spec = load_spec(file, overrides)
    from sweeper.driver.importing import Foreign, import_sweep

    source = Foreign(*given, is_mlflow=mlflow is not None)
    names = {theirs: ours for theirs, _, ours in pairs}
    paths, matching = import_sweep(spec, source, workspace_at(root), renamed=names)
    if as_json:
        options.echo_json(matching)
        return
    left_out = "".join(f"; {count} without a value for `{name}`" for name, count in matching.skipped.items())
    dropped = "".join(f"; `{name}` is not in the space" for name in matching.not_searched)
    click.echo(f"{len(matching.trials)} trials of `{source.name}` are the sweep `{spec.name}` now{left_out}{dropped}.")
    click.echo(f"It is in `{paths.root}`; `sweeper leaderboard {spec.name}` ranks it.")
