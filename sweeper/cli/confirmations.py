"""What runs over seeds say, as a table and in words."""

from __future__ import annotations

import click
from rich import box
from rich.console import Console
from rich.table import Table

from sweeper.records import METRICS
from sweeper.results import Confirmation
from sweeper.results.confirmed import sentences, span_of


def show_confirmation(found: Confirmation) -> None:
    """Prints the trials over their seeds, and in words what that means."""
    metric = METRICS[found.objective]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("trial", "seeds", f"mean {metric.title}", "95 %", "range"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("")
    for one in found.candidates:
        values = [format(value, metric.format) for value in (min(one.values.values()), max(one.values.values()))]
        table.add_row(
            str(one.trial), str(len(one.values)), format(one.mean, metric.format), span_of(one.interval, metric.format),
            "-".join(values), "given up: worse for certain" if one.given_up else "",
        )  # fmt: skip
    Console(width=None if Console().is_terminal else 160).print(table)
    for sentence in sentences(found):
        click.echo(sentence)
