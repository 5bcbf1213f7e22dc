"""`sweeper validate`: is this search space file right?"""

from __future__ import annotations

import json
from pathlib import Path

import click

from sweeper.cli import options
from sweeper.spec import SweepSpec, load_spec


@click.command("validate")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@options.overrides
@click.option("--schema", is_flag=True, help="Print the JSON Schema of search space files, for editors.")
def command(file: Path | None, overrides: tuple[str, ...], schema: bool) -> None:
    """Check a search space FILE without starting anything."""
    if schema:
        click.echo(json.dumps(SweepSpec.model_json_schema(by_alias=True), indent=2))
        return
    if file is None:
        raise click.UsageError("Give the search space file to check, or --schema.")
    spec = load_spec(file, overrides)
    names = ", ".join(spec.space) or "nothing"
    click.echo(
        f"{file} is right: sweep `{spec.name}` searches {names} over {spec.search.trials} trials "
        f"of at most {spec.train.epochs} epochs on {', '.join(spec.backbones)}."
    )
