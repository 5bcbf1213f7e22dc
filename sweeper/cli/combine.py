"""`sweeper combine`: more from the same trials."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich import box
from rich.console import Console
from rich.table import Table

from sweeper.cli import options
from sweeper.folder import find_sweep, workspace_at
from sweeper.records import METRICS

if TYPE_CHECKING:
    from sweeper.combine import Candidate, CombineOutcome


@click.command("combine")
@options.sweep_name
@click.option("--distil", is_flag=True, help="Also train one model with the ensemble as its teacher: one more trial.")
@click.option("--device", default="auto", show_default=True, help="`cpu`, `cuda:<index>` or `auto`.")
@options.root
@options.as_json
def command(sweep: str, distil: bool, device: str, root: Path | None, as_json: bool) -> None:
    """Put the models of SWEEP (its name or its folder) together: a soup of weights, an ensemble, a distilled model.

    Half of the validation images chooses, the other half judges; what does not help there is not kept.
    """
    paths = find_sweep(workspace_at(root), sweep)
    from sweeper.combine import CombineRequest, combine
    from sweeper.combine.run import CombineObserver

    class Notes(CombineObserver):
        def note(self, message: str) -> None:
            click.echo(message, err=True)

    outcome = combine(paths, CombineRequest(distil=distil, device=device), Notes())
    if as_json:
        options.echo_json(outcome)
        return
    _print(outcome)
    click.echo(f"`sweeper report {paths.root.name}` shows it.", err=True)


def _print(outcome: CombineOutcome) -> None:
    metric = METRICS[outcome.metric]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("what", no_wrap=True)
    table.add_column("trials", overflow="fold")
    for title in ("single", metric.title, "gain, 95 %", "latency", "parameters"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("kept", overflow="fold")
    for one in outcome.candidates:
        table.add_row(*_cells(one, metric.format))
    Console(width=None if Console().is_terminal else 200).print(table)
    click.echo(
        f"Chosen by {outcome.choosing} validation images, judged by the other {outcome.judging}, against trial "
        f"{outcome.best}, which all of them chose: what it is credited with is, if anything, too much."
    )


def _cells(one: Candidate, spec: str) -> list[str]:
    trials = " ".join(map(str, one.trials))
    if one.value is None or one.single is None or one.interval is None:
        return [one.kind, trials, "-", "-", "-", "-", "-", one.note]
    low, high = one.interval
    gain = f"{one.value - one.single:+.4f} ({low:+.4f} to {high:+.4f})"
    times = ["-" if value is None else f"{value:.2g} x" for value in (one.latency, one.parameters)]
    return [one.kind, trials, format(one.single, spec), format(one.value, spec), gain, *times, one.folder or "no"]
