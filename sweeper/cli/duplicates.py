"""`sweeper data duplicates`: images that are in two splits, or in two classes."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.table import Table

from sweeper.cli import options
from sweeper.cli.preparing import preparing
from sweeper.paths import CachePaths


@click.command("duplicates")
@options.space_file
@options.overrides
@options.as_json
@click.option("--limit", type=click.IntRange(min=0), default=50, show_default=True, help="Pairs to list.")
def command(file: Path, overrides: tuple[str, ...], as_json: bool, limit: int) -> None:
    """List the images of FILE that are, exactly or nearly, in two splits or in two classes; decodes them first."""
    from sweeper.data import DuplicateReport, count_twins, open_duplicates, prepare_images, twin_pairs

    # What would be dropped is what the user wants to see.
    data = options.data_of(file, overrides)
    data = data.model_copy(update={"split": data.split.model_copy(update={"duplicates": "report"})})
    with preparing(Console(stderr=True)) as on_progress:
        images = prepare_images(data, CachePaths.default(), on_progress=on_progress)
        found = open_duplicates(images, on_progress)
    pairs = tuple(islice(twin_pairs(images, found), limit + 1))
    report = DuplicateReport(counts=count_twins(images, found), pairs=pairs[:limit])
    if as_json:
        options.echo_json(report)
        return
    if report.pairs:
        table = Table(box=box.SIMPLE, pad_edge=False)
        for title in ("twins", "split", "class", "image"):
            table.add_column(title, overflow="fold")
        for pair in report.pairs:
            for kind, *image in zip((pair.kind, ""), pair.splits, pair.classes, pair.keys, strict=True):
                table.add_row(kind, *image, end_section=not kind)
        Console().print(table)
    if len(pairs) > limit:
        click.echo(f"These are the first {limit} pairs; `--limit` shows more.")
    click.echo(report.counts.sentence)
