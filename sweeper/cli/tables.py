"""Leaderboards and statuses as text tables."""

from __future__ import annotations

from collections.abc import Mapping

from rich import box
from rich.table import Table

from sweeper.records import METRICS, ParamValue
from sweeper.results import Leaderboard, SweepStatus


def shown(value: ParamValue) -> str:
    """Returns a parameter's value as a person writes it: three digits of a real number."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def point(params: Mapping[str, ParamValue]) -> str:
    """Returns a point on one line: `lr=0.00021 layer_decay=0.8`."""
    return " ".join(f"{name}={shown(value)}" for name, value in params.items())


def leaderboard_table(board: Leaderboard, *, limit: int | None = None) -> Table:
    """Returns the ranking with the objective first, the other metrics, the cost and the parameters."""
    names = [board.objective, *(name for name, metric in METRICS.items() if metric.column and name != board.objective)]
    params = list(dict.fromkeys(name for row in board.rows for name in row.params))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("rank", "trial", *(METRICS[name].title for name in names), "epoch", "seconds"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for name in params:
        table.add_column(name, overflow="fold")
    for row in board.rows[:limit]:
        metrics = (format(row.best.value(name), METRICS[name].format) for name in names)
        values = (shown(row.params[name]) if name in row.params else "-" for name in params)
        table.add_row(
            str(row.rank), str(row.number), *metrics, f"{row.best.epoch}/{row.epochs}", f"{row.seconds:.0f}",
            row.state.value, *values, style="bold" if row.rank == 1 else None,
        )  # fmt: skip
    return table


def running_table(status: SweepStatus) -> Table:
    """Returns what runs, and how far it is."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("trial", "epochs", "attempt"):
        table.add_column(title, justify="right")
    for running in status.running:
        table.add_row(str(running.number), f"{running.epochs}/{running.of_epochs}", str(running.attempt))
    return table
