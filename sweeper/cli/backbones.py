"""`sweeper backbones`: what there is to fine-tune."""

from __future__ import annotations

import click
from rich import box
from rich.console import Console
from rich.table import Table

from sweeper.cli import options
from sweeper.errors import BackboneError
from sweeper.paths import CachePaths

_MOST = 20
"""Backbones that are looked at in one go: each takes half a second."""


@click.command("backbones")
@click.argument("pattern", required=False)
@options.as_json
def command(pattern: str | None, as_json: bool) -> None:
    """List backbones: size, stages, image sizes, where weights come from, licence.

    Without PATTERN the families of the study and of the systems it cites; with one, as in 'nat*' or '*convnext*',
    what matches of all that timm knows. Parameters are counted with a classifier for 1,000 classes.
    """
    from sweeper.backbones.families import find_names, summarise

    names = find_names(pattern)
    summaries, notes = [], []
    for name in names[:_MOST]:
        try:
            summaries.append(summarise(name, CachePaths.default()))
        except BackboneError as error:
            notes.append(f"`{name}` is left out: {error}")
    if len(names) > _MOST:
        notes.append(f"{len(names) - _MOST} more match; narrow the pattern to see them.")
    if as_json:
        options.echo_json(summaries)
    else:
        table = _empty_table()
        for one in summaries:
            step = {None: "", 1: ", any"}.get(one.image_step, f", steps of {one.image_step}")
            million = f"{one.parameters / 1e6:.2f} M"
            size = f"{one.image_size}{step}"
            table.add_row(one.name, million, str(len(one.stages)), size, one.weights, one.licence or "-")
        # Where there is no window rich assumes 80 columns, and would cut names off.
        Console(width=None if Console().is_terminal else 200).print(table)
    for note in notes:
        click.echo(note, err=True)


def _empty_table() -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    # In a narrow window a name or a licence goes on in the next line; the rest stays whole.
    table.add_column("backbone", overflow="fold")
    table.add_column("parameters", justify="right", no_wrap=True)
    table.add_column("stages", justify="right", no_wrap=True)
    for title in ("image size", "weights"):
        table.add_column(title, no_wrap=True)
    table.add_column("licence", overflow="fold")
    return table
