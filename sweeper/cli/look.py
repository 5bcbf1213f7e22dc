"""`sweeper look`: which backbones look promising, before any is fine-tuned."""

from __future__ import annotations

import os
from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.table import Table

from sweeper.cli import options
from sweeper.paths import CachePaths
from sweeper.spec import load_spec


@click.command("look")
@options.space_file
@options.overrides
@options.as_json
def command(file: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Rank the backbones of FILE by a linear probe on their frozen features.

    A few images of each class go once through each backbone. It says much of which backbone will be good, not all.
    """
    spec = load_spec(file, overrides)
    from sweeper.cli.progress import watching
    from sweeper.driver.look import first_look, looking_here

    with watching(spec, Console(stderr=True)) as observer:
        found = first_look(spec, looking_here(CachePaths.default(), threads=os.cpu_count() or 1), observer)
    if as_json:
        options.echo_json(found)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("backbone", overflow="fold")
    for title in ("linear probe, top-1", "chosen", "images", "seconds"):
        table.add_column(title, justify="right")
    for look in found.looks:
        weight = f"{found.weights[look.backbone]:.2f}"
        table.add_row(look.backbone, f"{look.top1:.3f}", weight, str(look.images), f"{look.seconds:.0f}")
    if found.looks:
        Console(width=None if Console().is_terminal else 200).print(table)
    for reason in found.left_out:
        click.echo(reason, err=True)
