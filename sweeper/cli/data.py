"""`sweeper data`: look at images before a sweep, and decode them for it."""

from __future__ import annotations

from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.table import Table

from sweeper.cli import options
from sweeper.cli.duplicates import command as duplicates
from sweeper.cli.fetch import command as fetch
from sweeper.cli.preparing import preparing
from sweeper.cli.tables import unreadable_table
from sweeper.paths import CachePaths


@click.group("data")
def command() -> None:
    """Fetch images, look at those of a search space file or of a folder, and decode them."""


@command.command("info")
@options.space_file
@options.overrides
@options.as_json
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Draw classes, sizes and augmented images as PNG files into this folder.",
)
@click.option(
    "--few", type=click.IntRange(min=1), default=10, show_default=True, help="Name classes with fewer training images."
)
def info(file: Path, overrides: tuple[str, ...], as_json: bool, out: Path | None, few: int) -> None:
    """Describe the images of FILE (a search space file, or a folder of images): classes, counts, sizes, gaps."""
    from sweeper.data import Survey, draw_overview

    data, augment, groups = options.images_of(file, overrides)
    survey = Survey.of(data)
    description = survey.describe(few=few)
    drawn = draw_overview(survey, augment, groups, out) if out is not None else ()
    if as_json:
        options.echo_json(description)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("split", "images", "classes", "per class: min", "median", "max", "width", "height"):
        table.add_column(title, justify="left" if title == "split" else "right")
    for split in description.splits:
        sizes = (f"{s.min:g} - {s.max:g}" if s else "-" for s in (split.width, split.height))
        per = split.per_class
        table.add_row(
            split.split,
            str(split.images),
            str(split.classes),
            f"{per.min:g}",
            f"{per.median:g}",
            f"{per.max:g}",
            *sizes,
        )
    Console().print(table)
    click.echo(f"The largest class has {description.imbalance:.1f} times the training images of the smallest.")
    for note in (*description.notes, *description.missing):
        click.echo(note)
    if description.unreadable:
        Console().print(unreadable_table(description.unreadable))
    click.echo(f"Data {description.fingerprint}, split {description.split_fingerprint}.")
    for path in drawn:
        click.echo(f"Drawn: `{path}`")


@command.command("prepare")
@options.space_file
@options.overrides
@click.option(
    "--max-gb",
    type=click.FloatRange(min=0, min_open=True),
    help="Refuse to start if the decoded images would take more.  [default: data.max_gb of FILE]",
)
def prepare(file: Path, overrides: tuple[str, ...], max_gb: float | None) -> None:
    """Decode the images of FILE once, for all trials; a damaged cache is found and mended."""
    from sweeper.data import prepare_images
    from sweeper.data.budget import gigabytes
    from sweeper.data.cache import CacheFiles

    data = options.data_of(file, overrides)
    if max_gb is not None:
        data = data.model_copy(update={"max_gb": max_gb})
    with preparing(Console(stderr=True)) as on_progress:
        images = prepare_images(data, CachePaths.default(), verify=True, on_progress=on_progress)
    counts = ", ".join(f"{len(images.split(name))} {name}" for name in images.splits)
    click.echo(f"Ready in `{images.folder}`: {counts} images of {len(images.classes)} classes.")
    manifest = images.manifest
    size, predicted = (gigabytes(size) for size in (manifest.size_bytes, manifest.predicted_bytes))
    click.echo(f"They take {size} with a short side of {manifest.short_side} px; {predicted} were predicted.")
    for note in images.notes:
        click.echo(note)
    if images.quarantined:
        Console().print(unreadable_table(images.quarantined))
        click.echo(f"Left out {len(images.quarantined)}, listed in `{CacheFiles(images.folder).quarantined}`.")


command.add_command(duplicates)
command.add_command(fetch)
