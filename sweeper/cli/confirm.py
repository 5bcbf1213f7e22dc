"""`sweeper confirm`: is the winner one, or lucky?"""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from sweeper.cli import options
from sweeper.folder import find_sweep, read_spec, workspace_at


@click.command("confirm")
@options.sweep_name
@click.option("--top", type=click.IntRange(min=1), help="How many of the best trials [3].")
@click.option("--seeds", type=click.IntRange(min=2), help="Fresh seeds for each; clear losers get fewer [5].")
@click.option("--no-test", is_flag=True, help="Leave the held-out test unused.")
@options.root
@options.as_json
def command(  # noqa: PLR0913 - click hands each option over by name
    sweep: str, top: int | None, seeds: int | None, no_test: bool, root: Path | None, as_json: bool
) -> int:
    """Run the best trials of SWEEP (its name or its folder) again over seeds, and score the winner on the test, once.

    What was run before stays; a run that was cut off goes on. More seeds can be asked for later.
    """
    paths = find_sweep(workspace_at(root), sweep)
    spec = read_spec(paths)
    from sweeper.cli.confirmations import show_confirmation
    from sweeper.cli.progress import watching
    from sweeper.driver.confirm import asked_before, confirm_sweep
    from sweeper.results.confirmed import read_confirmation

    asked = {"top": top, "seeds": seeds, "test": False if no_test else None}
    asked_for = asked_before(spec, paths).model_copy(
        update={name: value for name, value in asked.items() if value is not None}
    )
    with watching(spec, Console(stderr=True)) as observer:
        finished = confirm_sweep(sweep, asked_for, root=root, observer=observer)
    found = read_confirmation(spec, paths)
    if found is not None and as_json:
        options.echo_json(found)
    elif found is not None:
        show_confirmation(found)
    if not finished:
        click.echo(f"Stopped; `sweeper confirm {spec.name}` goes on where it was.", err=True)
        return 130
    return 0
