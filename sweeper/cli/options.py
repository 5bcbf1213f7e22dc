"""Options that several commands share, and how they print."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click
from pydantic import BaseModel

from sweeper.spec import load_spec
from sweeper.spec.data import DataSpec, FolderData
from sweeper.spec.evaluation import EvalSpec
from sweeper.spec.training import AugmentSpec

space_file = click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
sweep_name = click.argument("sweep", metavar="SWEEP")
overrides = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a value of the file, e.g. search.trials=20."
)
root = click.option(
    "--root", type=click.Path(path_type=Path, file_okay=False), help="Folder that holds all sweeps [./sweeps]."
)
no_prior = click.option(
    "--no-prior", is_flag=True, help="Start from nothing: no published ranges, no first look at the backbones."
)
WITHOUT_PRIOR = ("search.prior=none", "search.first_look=false")
"""What `--no-prior` stands for."""
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


def data_of(file: Path, overrides: Sequence[str]) -> DataSpec:
    """Returns the `data:` section of a search space file, or one for a folder of images."""
    return images_of(file, overrides)[0]


def images_of(file: Path, overrides: Sequence[str]) -> tuple[DataSpec, AugmentSpec, EvalSpec]:
    """Returns what a search space file says of its images; for a folder of images the defaults."""
    if file.is_dir():
        return FolderData(source="folder", root=file.absolute()), AugmentSpec(), EvalSpec()
    spec = load_spec(file, overrides)
    return spec.data, spec.augment, spec.eval


def echo_json(value: BaseModel | Sequence[BaseModel]) -> None:
    """Prints a value, or a list of them, as indented JSON on standard output."""
    if isinstance(value, BaseModel):
        click.echo(value.model_dump_json(indent=2))
    else:
        click.echo(json.dumps([one.model_dump(mode="json") for one in value], indent=2))
