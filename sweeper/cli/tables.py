"""Leaderboards and statuses as text tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from rich import box
from rich.table import Table
from rich.text import Text

from sweeper.records import METRICS, ParamValue
from sweeper.results import Leaderboard, SweepStatus


def shown(value: ParamValue) -> str:
    """Returns a parameter's value as a person writes it: three digits of a real number."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def point(params: Mapping[str, ParamValue]) -> str:
    """Returns a point on one line: `lr=0.00021 layer_decay=0.8`."""
    return " ".join(f"{name}={shown(value)}" for name, value in params.items())


def leaderboard_table(board: Leaderboard, *, limit: int | None = None) -> Table:
    """Returns the ranking with the objectives first, the other metrics, the cost and the parameters."""
    usual = (name for name, metric in METRICS.items() if metric.column)
    names = list(dict.fromkeys([board.objective, *board.also, *board.constrained, *usual]))
    params = list(dict.fromkeys(name for row in board.rows for name in row.params))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("rank", "trial", *(METRICS[name].title for name in names), "epoch", "seconds"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    if board.also:
        table.add_column("front", no_wrap=True)
    if board.constrained:
        table.add_column("breaks", overflow="fold")
    for name in params:
        table.add_column(name, overflow="fold")
    for row in board.rows[:limit]:
        metrics = (format(row.best.value(name), METRICS[name].format) for name in names)
        front = ["yes" if row.on_front else "-"] if board.also else []
        breaks = ["; ".join(row.breaks) or "-"] if board.constrained else []
        values = (shown(row.params[name]) if name in row.params else "-" for name in params)
        table.add_row(
            str(row.rank), str(row.number), *metrics, f"{row.best.epoch}/{row.epochs}", f"{row.seconds:.0f}",
            row.state.value, *front, *breaks, *values, style="dim" if row.breaks else "bold" if row.rank == 1 else None,
        )  # fmt: skip
    return table


def running_table(status: SweepStatus) -> Table:
    """Returns what runs, and how far it is."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("trial", "epochs", "attempt"):
        table.add_column(title, justify="right")
    table.add_column("on")
    for running in status.running:
        where = f"{running.host}, process {running.pid}" if running.host is not None else "-"
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
