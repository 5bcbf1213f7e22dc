"""`sweeper diff`: two trials side by side."""

from __future__ import annotations

from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.table import Table

from sweeper.cli import options
from sweeper.cli.trials import side_of
from sweeper.records import METRICS, Metric
from sweeper.results import Images, TrialDiff, diff_trials

_CLASSES = 5


@click.command("diff")
@options.sweep_name
@click.argument("left", type=click.IntRange(min=0), metavar="TRIAL")
@click.argument("right", type=click.IntRange(min=0), metavar="TRIAL")
@click.option("--with", "other", metavar="SWEEP", help="The sweep of the second trial [the same].")
@options.root
@options.as_json
def command(  # noqa: PLR0913 - click hands each option over by name
    sweep: str, left: int, right: int, other: str | None, root: Path | None, as_json: bool
) -> None:
    """Compare two trials of SWEEP: settings that differ, epochs, classes, and whether the images tell them apart."""
    one, objective = side_of(sweep, left, root)
    another, _ = side_of(other or sweep, right, root)
    found = diff_trials(one, another, objective)
    if as_json:
        options.echo_json(found)
    else:
        _show(found)


def _show(found: TrialDiff) -> None:
    metric = METRICS[found.objective]
    console = Console(width=None if Console().is_terminal else 160)
    settings = _table("setting", found.left, found.right)
    for name, pair in found.settings.items():
        settings.add_row(name, *(f"{value:.4g}" if isinstance(value, float) else str(value) for value in pair))
    if found.settings:
        console.print(settings)
    else:
        click.echo("Their settings are the same.")
    epochs = _table(f"{metric.title} after epoch", found.left, found.right)
    for both in found.epochs:
        values = ("-" if one is None else format(one, metric.format) for one in (both.left, both.right))
        epochs.add_row(str(both.epoch), *values)
    console.print(epochs)
    if found.images is None:
        click.echo(
            "What they said of the same validation images is not known, so they are not compared image by image."
        )
        return
    _show_images(found, found.images, metric, console)


def _show_images(found: TrialDiff, images: Images, metric: Metric, console: Console) -> None:
    changed = images.classes
    shown = changed if len(changed) <= 2 * _CLASSES else (*changed[:_CLASSES], *changed[-_CLASSES:])
    classes = _table("class", f"recall {found.left}", found.right, "gain", "images")
    for one in shown:
        classes.add_row(one.name, f"{one.left:.3f}", f"{one.right:.3f}", f"{one.gain:+.3f}", str(one.images))
    if shown:
        console.print(classes)
    if len(shown) < len(changed):
        click.echo(f"Of {len(changed)} classes that differ, those that differ most; `--json` has all.")
    click.echo(
        f"Of {images.images} images {images.only_left} are right in `{found.left}` only and {images.only_right} in "
        f"`{found.right}` only (McNemar's exact test: p = {images.p_value:.2g})."
    )
    if images.gain is not None and images.interval is not None:
        low, high = (format(edge, f"+{metric.format}") for edge in images.interval)
        gain = format(images.gain, f"+{metric.format}")
        told = "tell them apart" if images.interval[0] > 0 or images.interval[1] < 0 else "cannot tell them apart"
        names = f"From `{found.left}` to `{found.right}`"
        click.echo(f"{names} the gain is {gain} {metric.title}, 95 % {low} to {high}: the images {told}.")


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, overflow="fold")
    for title in others:
        table.add_column(title, justify="right", overflow="fold")
    return table
