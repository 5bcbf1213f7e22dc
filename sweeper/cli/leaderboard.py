"""`sweeper leaderboard`: the trials of a sweep, best first."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from sweeper.cli import options
from sweeper.cli.tables import leaderboard_table
from sweeper.folder import find_sweep, read_spec, workspace_at
from sweeper.results import pareto_front, rank_for


@click.command("leaderboard")
@options.sweep_name
@options.root
@options.as_json
@click.option("--limit", type=click.IntRange(min=1), help="Show only the best so many.")
@click.option("--pareto", is_flag=True, help="Show only the best trade-offs between the sweep's objectives.")
def command(sweep: str, root: Path | None, as_json: bool, limit: int | None, pareto: bool) -> None:
    """Rank the trials of SWEEP (its name or its folder), each by its best epoch."""
    # Here, as help must be there where Optuna is not installed.
    from sweeper.search import open_ledger, storage_url

    paths = find_sweep(workspace_at(root), sweep)
    spec = read_spec(paths)
    board = rank_for(open_ledger(spec, storage_url(spec, paths), create=False).records(), spec.search)
    if pareto:
        board = pareto_front(board)
    board = board.model_copy(update={"rows": board.rows[:limit]})
    if as_json:
        options.echo_json(board)
    elif board.rows:
        Console(width=None if Console().is_terminal else 200).print(leaderboard_table(board))
    else:
        click.echo("No trial has finished an epoch yet.")
