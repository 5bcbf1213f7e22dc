"""What `run` and `resume` print at the end, and the code they exit with."""

from __future__ import annotations

import click

from sweeper.cli import options
from sweeper.cli.boards import board_of, show_board
from sweeper.driver.run import Outlook, SweepOutcome
from sweeper.paths import SweepPaths
from sweeper.records import METRICS, Metric, TrialState
from sweeper.spec import SweepSpec

_SHOWN = 20


def show_outcome(spec: SweepSpec, outcome: SweepOutcome, *, as_json: bool) -> int:
    """Prints the leaderboard and where to go from it; returns 0, 1 if nothing came out, 130 if stopped."""
    board = board_of(spec, SweepPaths(outcome.folder))
    if as_json:
        options.echo_json(board)
    elif board.rows:
        show_board(board, limit=_SHOWN)
    for backbone in outcome.given_up:
        click.echo(backbone.sentence, err=True)
    if outcome.report is not None:
        click.echo(f"The report is in `{outcome.report}`.", err=True)
    if not outcome.finished:
        click.echo(f"Stopped; `sweeper resume {spec.name}` goes on where it was.", err=True)
        return 130
    if board.best is None and board.rows:
        click.echo("Every trial breaks a constraint of `search.constraints`; there is no winner.", err=True)
        return 1
    if board.best is None:
        click.echo(f"No trial finished an epoch; `sweeper status {spec.name}` says why.", err=True)
        return 1
    if outcome.ended is not None:
        click.echo(f"The sweep is finished. {outcome.ended}", err=True)
    if outcome.outlook is not None:
        click.echo(_more(outcome.outlook, METRICS[spec.search.objective]), err=True)
    failed = sum(record.state is TrialState.FAILED for record in outcome.records)
    lost = f" {failed} trials failed: `sweeper status {spec.name}` says why." if failed else ""
    click.echo(f"The sweep is in `{outcome.folder}`; `sweeper ui` shows it in MLflow.{lost}", err=True)
    return 0


def _more(outlook: Outlook, metric: Metric) -> str:
    """Says what more trials would likely buy, where that shows in the digits that are printed."""
    better = format(outlook.gain, metric.format)
    sign = "+" if metric.higher_is_better else "-"
    return (
        f"{outlook.trials} more trials, about {outlook.hours:.2g} trial-hours, would likely buy {sign}{better} "
        f"{metric.title}."
    )
