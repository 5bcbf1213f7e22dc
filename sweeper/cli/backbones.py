"""`sweeper backbones`: what there is to fine-tune."""

from __future__ import annotations

import click
from rich import box
from rich.console import Console
from rich.table import Table

from sweeper.cli import options
from sweeper.errors import BackboneError
from sweeper.paths import CachePaths

_MOST = 40
"""Backbones that are looked at in one go: each takes a fraction of a second."""
_LEAST_WIDTH = 110


@click.command("backbones")
@click.argument("pattern", required=False)
@options.as_json
def command(pattern: str | None, as_json: bool) -> None:
    """List backbones: size, stages, image sizes, where weights come from, licence.

    Without PATTERN those of the study and of the systems it cites; with one, as in 'nat*' or '*convnext*', all of
    timm that match.
    """
    from sweeper.backbones.families import find_names, summarise

    names = find_names(pattern)
    summaries, left_out = [], []
    for name in names[:_MOST]:
        try:
            summaries.append(summarise(name, CachePaths.default()))
        except BackboneError as error:
            left_out.append(str(error))
    if as_json:
        options.echo_json(summaries)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("backbone", "parameters", "stages", "image size", "weights", "licence"):
        table.add_column(title, justify="right" if title in ("parameters", "stages") else "left", no_wrap=True)
    for one in summaries:
        step = {None: "", 1: ", any"}.get(one.image_step, f", steps of {one.image_step}")
        million = f"{one.parameters / 1e6:.2f} M"
        size = f"{one.image_size}{step}"
        table.add_row(one.name, million, str(len(one.stages)), size, one.weights, one.licence or "-")
    console = Console()
    # Where there is no window rich assumes 80 columns, and would cut names off.
    (console if console.is_terminal else Console(width=max(console.width, _LEAST_WIDTH))).print(table)
    for reason in left_out:
        click.echo(reason)
    if len(names) > _MOST:
        click.echo(f"{len(names) - _MOST} more match; narrow the pattern to see them.")
