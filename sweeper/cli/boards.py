"""A sweep's leaderboard with all that is known of it, and how it is shown: as a table that fits, or as CSV."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import click
from rich import box
from rich.console import Console
from rich.table import Table

from sweeper.cli.confirmations import show_confirmation
from sweeper.cli.tables import shown
from sweeper.paths import SweepPaths
from sweeper.predictions import read_predictions
from sweeper.records import METRICS
from sweeper.results import Group, Groups, Leaderboard, Row, rank_for, with_costs, with_intervals
from sweeper.results.confirmed import read_confirmation
from sweeper.spec import SweepSpec

_PLAIN_WIDTH = 200
"""Characters of a line where nobody says how wide it may be."""
_GAP = 3


def board_of(spec: SweepSpec, paths: SweepPaths) -> Leaderboard:
    """Returns the ranking of a sweep with intervals, costs, and the parameters that matter.

    Raises:
        SweepFolderError: the sweep has no trials yet.
        ModelError: what a trial said of its validation images is damaged.
    """
    # Here, as help must be there where Optuna is not installed.
    from sweeper.search import open_ledger, storage_url

    ledger = open_ledger(spec, storage_url(spec, paths), create=False)
    records = ledger.records()
    seconds = sum(record.seconds for record in records)
    gpus = ledger.spent.gpu_hours * 3600 / seconds if seconds else 0.0
    board = with_costs(rank_for(records, spec.search), gpus=gpus, importance=ledger.importances())
    board = with_intervals(board, lambda number: read_predictions(paths.trial(number).predictions))
    return board.model_copy(update={"confirmation": read_confirmation(spec, paths)})


@dataclass(frozen=True)
class _Column:
    title: str
    cells: Sequence[str]
    keep: int = 9
    """Columns with the least of this are left out first where the lines are too short; 9 stays whatever happens."""
    is_number: bool = True

    @property
    def width(self) -> int:
        return max(map(len, [self.title, *self.cells])) + _GAP


def show_board(board: Leaderboard, *, limit: int | None = None) -> None:
    """Prints the ranking, and in words what it can and cannot tell."""
    console = Console(width=None if Console().is_terminal else _PLAIN_WIDTH)
    rows = board.rows[:limit]
    columns, dropped = _fitting(_columns(board, rows), console.width)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(
            column.title,
            justify="right" if column.is_number else "left",
            no_wrap=column.is_number,
            overflow="ellipsis" if column.is_number else "fold",
        )
    for row, cells in zip(rows, zip(*(column.cells for column in columns), strict=True), strict=True):
        table.add_row(*cells, style="dim" if row.breaks else "bold" if row.rank == 1 else None)
    console.print(table)
    for sentence in _sentences(board):
        click.echo(sentence)
    if board.confirmation is not None:
        show_confirmation(board.confirmation)
    if dropped:
        click.echo(f"Left out, as the lines are short: {', '.join(dropped)}; `--csv` has them.")


def show_groups(groups: Groups) -> None:
    """Prints the ranking by a parameter."""
    metric = METRICS[groups.objective]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(groups.parameter, overflow="fold")
    titles = (f"best {metric.title}", "95 %", "trial", "median", "middle half", "trials", "seconds")
    for title in (*titles, "GPU-h", "parameters", "ms", "MiB"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("level", no_wrap=True)
    for group in groups.groups:
        table.add_row(*_group_cells(group, groups.objective))
    Console(width=None if Console().is_terminal else _PLAIN_WIDTH).print(table)


def print_csv(board: Leaderboard) -> None:
    """Prints the ranking as CSV, all that is known of each trial in a line."""
    names = list(METRICS)
    head = ["rank", "trial", "state", "objective", "low", "high", "level", "epoch", "epochs", "seconds", "gpu_hours"]
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([*head, "images_per_second", *names, "on_front", "breaks", *board.parameters])
    for row in board.rows:
        best, (low, high) = row.best, row.interval or ("", "")
        metrics = (getattr(best, METRICS[name].name) for name in names)
        writer.writerow(
            [
                row.rank, row.number, row.state.value, best.value(board.objective), low, high, row.is_level, best.epoch,
                row.epochs, row.seconds, row.gpu_hours, best.images_per_second, *metrics, row.on_front,
                "; ".join(row.breaks), *(row.params.get(name) for name in board.parameters),
            ]
        )  # fmt: skip


def _columns(board: Leaderboard, rows: Sequence[Row]) -> list[_Column]:
    """Returns what there is to show: the ranking first, then the qualities, the costs, and the parameters."""

    def column(title: str, cell: Callable[[Row], str], keep: int = 9, *, is_number: bool = True) -> _Column:
        return _Column(title, [cell(row) for row in rows], keep, is_number)

    def metric(name: str, keep: int = 9) -> _Column:
        return column(METRICS[name].title, lambda row: format(row.best.value(name), METRICS[name].format), keep)

    named = dict.fromkeys([*board.also, *board.constrained])
    columns = [column("rank", lambda row: str(row.rank)), column("trial", lambda row: str(row.number))]
    columns.append(metric(board.objective))
    if board.images is not None:
        columns.append(column("95 %", lambda row: _interval(row, board.objective)))
        columns.append(column("level", lambda row: "yes" if row.is_level else "-", 8))
    columns += [metric(name) for name in named if name != board.objective]
    others = [name for name, one in METRICS.items() if one.column and name != board.objective and name not in named]
    columns += [metric(name, 1 + (name in ("top1", "balanced_accuracy"))) for name in others]
    columns.append(column("epoch", lambda row: f"{row.best.epoch}/{row.epochs}", 7))
    columns.append(column("seconds", lambda row: f"{row.seconds:.0f}", 8))
    if any(row.gpu_hours for row in rows):
        columns.append(column("GPU-h", lambda row: f"{row.gpu_hours:.2f}", 6))
    columns.append(column("images/s", lambda row: f"{row.best.images_per_second:.0f}", 4))
    costs = {"peak_memory_mb": ("MiB", 3), "parameters": ("parameters", 4), "latency_ms": ("ms", 4)}
    for name, (title, keep) in costs.items():
        if name not in named:
            columns.append(column(title, partial(_cost, name=name), keep))
    columns.append(column("state", lambda row: row.state.value, 5, is_number=False))
    if board.also:
        columns.append(column("front", lambda row: "yes" if row.on_front else "-", is_number=False))
    if board.constrained:
        columns.append(column("breaks", lambda row: "; ".join(row.breaks) or "-", is_number=False))
    return [*columns, *_parameters(board, rows)]


def _parameters(board: Leaderboard, rows: Sequence[Row]) -> list[_Column]:
    return [
        _Column(name, [shown(row.params[name]) if name in row.params else "-" for row in rows], 6, is_number=False)
        for name in board.parameters
    ]


def _fitting(columns: Sequence[_Column], width: int) -> tuple[list[_Column], list[str]]:
    """Returns the columns that fit, and the titles of those left out: the least needed, of those the last."""
    kept, dropped = list(columns), []
    while sum(column.width for column in kept) > width and any(column.keep < 9 for column in kept):
        least = min(column.keep for column in kept)
        at = max(at for at, column in enumerate(kept) if column.keep == least)
        dropped.append(kept.pop(at).title)
    return kept, dropped[::-1]


def _sentences(board: Leaderboard) -> Iterable[str]:
    best = board.best
    if best is not None and best.interval is not None:
        metric = METRICS[board.objective]
        half = format((best.interval[1] - best.interval[0]) / 2, ".2g")
        value = metric.shown(best.best.value(metric.name))
        yield f"{board.images} validation images know the best trial's {value} to about plus or minus {half}."
        level = [row.number for row in board.rows if row.is_level and row is not best]
        if level:
            numbers = ", ".join(map(str, level[:10])) + (f" and {len(level) - 10} more" if len(level) > 10 else "")
            advice = "" if board.confirmation else "; `sweeper confirm` runs the best over seeds"
            yield f"They cannot tell trial {best.number} from {numbers}{advice}."
    if board.importance:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in board.importance.items() if share >= 0.01)
        yield f"What sets the best trials apart: {shares}."


def _group_cells(group: Group, objective: str) -> list[str]:
    metric, best = METRICS[objective], group.best
    low, high = (format(value, metric.format) for value in group.quartiles)
    return [
        "-" if group.value is None else shown(group.value),
        format(best.best.value(objective), metric.format),
        _interval(best, objective),
        str(best.number),
        format(group.median, metric.format),
        f"{low}-{high}",
        str(group.trials),
        f"{group.seconds:.0f}",
        f"{group.gpu_hours:.2f}",
        *(_cost(best, name=name) for name in ("parameters", "latency_ms", "peak_memory_mb")),
        "yes" if group.is_level else "-",
    ]


def _interval(row: Row, objective: str) -> str:
    spec = METRICS[objective].format
    return "-".join(format(edge, spec) for edge in row.interval) if row.interval else "-"


def _cost(row: Row, *, name: str) -> str:
    value = getattr(row.best, METRICS[name].name)
    if value is None:
        return "-"
    return f"{value / 1e6:.1f} M" if name == "parameters" else format(value, METRICS[name].format)
