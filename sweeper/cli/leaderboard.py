"""`sweeper leaderboard`: the trials of a sweep, best first."""

from __future__ import annotations

from pathlib import Path

import click

from sweeper.cli import options
from sweeper.cli.boards import board_of, print_csv, show_board, show_groups
from sweeper.folder import find_sweep, read_spec, workspace_at
from sweeper.results import grouped, pareto_front


@click.command("leaderboard")
@options.sweep_name
@options.root
@options.as_json
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, a line a trial, with all that is known of it.")
@click.option("--limit", type=click.IntRange(min=1), help="Show only the best so many.")
@click.option("--pareto", is_flag=True, help="Show only the best trade-offs between the sweep's objectives.")
@click.option("--by", metavar="PARAMETER", help="Compare the values of a parameter: `--by backbone`.")
def command(  # noqa: PLR0913 - click hands each option over by name
    sweep: str,
    root: Path | None,
    as_json: bool,
    as_csv: bool,
    limit: int | None,
    pareto: bool,
    by: str | None,
) -> None:
    """Rank the trials of SWEEP (its name or its folder), each by its best epoch."""
    if as_csv and (as_json or by):
        raise click.UsageError("`--csv` goes with neither `--json` nor `--by`.")
    paths = find_sweep(workspace_at(root), sweep)
    spec = read_spec(paths)
    board = board_of(spec, paths)
    if pareto:
        board = pareto_front(board)
    if not board.rows:
        click.echo("No trial has finished an epoch yet.", err=as_json or as_csv)
    if by is not None:
        groups = grouped(board, by, fixed=spec.backbone if by == "backbone" else None)
        groups = groups.model_copy(update={"groups": groups.groups[:limit]})
        if as_json:
            options.echo_json(groups)
        elif groups.groups:
            show_groups(groups)
        return
    board = board.model_copy(update={"rows": board.rows[:limit]})
    if as_json:
        options.echo_json(board)
    elif as_csv:
        print_csv(board)
    elif board.rows:
        show_board(board)
