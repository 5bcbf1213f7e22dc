"""What several commands print: points, statuses, unreadable images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from rich import box
from rich.table import Table
from rich.text import Text

from sweeper.records import ParamValue
from sweeper.results import SweepStatus


def shown(value: ParamValue) -> str:
    """Returns a parameter's value as a person writes it: three digits of a real number."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def point(params: Mapping[str, ParamValue]) -> str:
    """Returns a point on one line: `lr=0.00021 layer_decay=0.8`."""
    return " ".join(f"{name}={shown(value)}" for name, value in params.items())


def running_table(status: SweepStatus) -> Table:
    """Returns what runs, and how far it is."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("trial", "epochs", "attempt"):
        table.add_column(title, justify="right")
    table.add_column("on")
    # Its worker is starting, or no node has room for it.
    nowhere = "no worker yet" if status.alive else "-"
    for running in status.running:
        where = f"{running.host}, process {running.pid}" if running.host is not None else nowhere
        where += f", {running.gpus:.3g} GPU" if running.gpus is not None else ""
        where += f", micro-batch {running.micro_batch}" if running.micro_batch is not None else ""
        table.add_row(str(running.number), f"{running.epochs}/{running.of_epochs}", str(running.attempt), where)
    return table


class Unreadable(Protocol):
    """An image that cannot be read, as `sweeper.data` describes it; that package is heavy to import here."""

    @property
    def key(self) -> str:
        """Which image."""

    @property
    def reason(self) -> str:
        """Why."""


def unreadable_table(images: Sequence[Unreadable], *, limit: int = 20) -> Table:
    """Returns images that cannot be read, the first few of them, and why."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("cannot be read", overflow="fold")
    table.add_column("because", overflow="fold")
    for image in images[:limit]:
        table.add_row(Text(image.key), Text(image.reason))
    if len(images) > limit:
        table.add_row(f"... and {len(images) - limit} more", "")
    return table
