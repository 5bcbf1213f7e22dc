"""A plan, and a plan beside what came of it, as text."""

from __future__ import annotations

from collections.abc import Sequence

import click
from rich import box
from rich.console import Console
from rich.table import Table

from sweeper.planning.compare import Comparison
from sweeper.planning.plan import BackbonePlan, Plan


def show_plan(plan: Plan, console: Console) -> None:
    """Prints a table of the backbones and what the sweep comes to."""
    images = plan.measurements.images
    known = f"{images.train} images to train on, {images.val} to validate" if images else "images not known"
    click.echo(
        f"Sweep `{plan.name}`: {plan.trials} trials on {plan.place.title}, {plan.place.slots} at a time; {known}."
    )
    console.print(_backbones_table(plan))
    if plan.grid_points is not None:
        click.echo(f"Grid:       {plan.grid_points} points, {plan.trials} of them in `search.trials`.")
    rungs = ", ".join(f"{rung.trials:.0f} to epoch {rung.epoch}" for rung in plan.rungs)
    click.echo(f"Trials:     {rungs}; {plan.epochs:.0f} epochs in all.")
    click.echo(f"Time:       {_time(plan)}")
    if plan.price is not None:
        click.echo(f"Price:      {plan.price:.2f}")
    click.echo(f"Disk:       {_disk(plan)}")
    for note in plan.notes:
        click.echo(f"Note: {note}")


def show_comparison(compared: Sequence[Comparison], console: Console) -> None:
    """Prints predicted beside measured for each backbone."""
    if not compared:
        click.echo("No trial has finished an epoch yet.")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("backbone", overflow="fold")
    for title in ("trials", "epochs", "s/epoch predicted", "measured", "", "peak memory predicted", "measured", ""):
        table.add_column(title, justify="right")
    for one in compared:
        predicted = one.predicted_seconds
        table.add_row(
            one.backbone, str(one.trials), str(one.epochs), "-" if predicted is None else f"{predicted:.1f}",
            f"{one.measured_seconds:.1f}", "" if predicted is None else _error(predicted, one.measured_seconds),
            _memory(one.predicted_mb), _memory(one.measured_mb), _error(one.predicted_mb, one.measured_mb),
        )  # fmt: skip
    console.print(table)


def _backbones_table(plan: Plan) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("backbone", overflow="fold")
    titles = (
        "parameters",
        "trained",
        "GFLOP/image",
        "batch",
        "peak memory",
        "fits",
        "largest batch",
        "s/epoch",
        "hours",
    )
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    for one in plan.backbones:
        table.add_row(
            one.backbone, _million(one.parameters), _million(one.trained), f"{one.gflops:.2f}", str(one.batch_size),
            _memory(one.memory_mb), _fits(one, plan), "-" if one.largest_batch is None else str(one.largest_batch),
            _seconds(one), "-" if one.hours is None else f"{one.hours:.2f}",
        )  # fmt: skip
    return table


def _fits(one: BackbonePlan, plan: Plan) -> str:
    limit = plan.place.memory_mb
    if limit is None:
        return "?"
    return f"{'yes' if one.memory_mb <= limit else 'no'}, {_memory(limit)}"


def _seconds(one: BackbonePlan) -> str:
    spread = one.epoch_seconds
    if spread is None:
        return "-"
    if spread.most < 1.02 * spread.least:
        return f"{spread.mean:.1f}"
    return f"{spread.mean:.1f} ({spread.least:.1f} to {spread.most:.1f})"


def _time(plan: Plan) -> str:
    if plan.trial_hours is None or plan.hours is None:
        return "not known."
    gpus = f", {plan.gpu_hours:.2f} GPU-hours" if plan.gpu_hours else ""
    return f"{plan.trial_hours:.2f} hours of trials{gpus}; {plan.hours:.2f} hours on the clock."


def _disk(plan: Plan) -> str:
    disk = plan.disk
    parts = [f"{_memory(disk.weights_mb)} of weights", f"{_memory(disk.checkpoints_mb)} of checkpoints"]
    if disk.images_mb is not None:
        parts.insert(0, f"{_memory(disk.images_mb)} of decoded images")
    if disk.features_mb:
        parts.append(f"{_memory(disk.features_mb)} of features for each freeze depth")
    return ", ".join(parts) + "."


def _million(count: int) -> str:
    return f"{count / 1e6:.2f} M"


def _memory(mebibytes: float) -> str:
    return f"{mebibytes:.0f} MiB" if mebibytes < 1024 else f"{mebibytes / 1024:.1f} GiB"


def _error(predicted: float, measured: float) -> str:
    return f"{100 * (predicted / measured - 1):+.0f} %"
