"""`sweeper export`: a trained model becomes a folder that others can use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich import box
from rich.console import Console
from rich.table import Table

from sweeper.cli import options
from sweeper.cli.models import find_model

if TYPE_CHECKING:
    from sweeper.export import Check, ExportReport

_FORMATS = ("safetensors", "onnx", "torch", "all")


@click.command("export")
@options.sweep_name
@click.option("--to", type=click.Path(path_type=Path, file_okay=False), required=True, help="A new or empty folder.")
@click.option("--trial", type=click.IntRange(min=0), help="Which trial [the first of the leaderboard].")
@click.option(
    "--format",
    "formats",
    type=click.Choice(_FORMATS),
    multiple=True,
    default=["safetensors"],
    help="Beside safetensors, which is always written; may be given more than once.",
)
@click.option("--int8", is_flag=True, help="ONNX in eight bits too.")
@click.option(
    "--images",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Folder of images to compare and calibrate with, where the trial's own are not on this machine.",
)
@options.root
@options.as_json
def command(  # noqa: PLR0913 - click hands each option over by name
    sweep: str,
    to: Path,
    trial: int | None,
    formats: tuple[str, ...],
    int8: bool,
    images: Path | None,
    root: Path | None,
    as_json: bool,
) -> int:
    """Export the best trial of SWEEP (its name or folder; or the folder of one trial) as a model that others can use.

    Each file is opened again and compared with the original on the validation images; its probabilities are
    calibrated on them.
    """
    folder = find_model(sweep, root=root, trial=trial)
    from sweeper.export import ExportRequest, export_model

    every = "all" in formats
    request = ExportRequest(
        torch=every or "torch" in formats, onnx=every or int8 or "onnx" in formats, int8=int8, images=images
    )
    click.echo(f"Exporting `{folder}` to `{to}`.", err=True)
    report = export_model(folder, to, request, on_check=_show)
    if as_json:
        options.echo_json(report)
    else:
        _print(report)
    for name, reason in report.failures.items():
        click.echo(f"sweeper: {name} was not written: {reason}", err=True)
    return 1 if report.failures else 0


def _show(check: Check) -> None:
    click.echo(
        f"{check.format}: `{check.file}` agrees with the original on {check.agreement:.2%} of the images.", err=True
    )


def _print(report: ExportReport) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("format", no_wrap=True)
    table.add_column("file", no_wrap=True)
    for title in ("MB", "largest difference of a logit", "same class", "top-1"):
        table.add_column(title, justify="right")
    table.add_column("")
    original = "-" if report.top1 is None else f"{report.top1:.4f}"
    table.add_row("original", "", "", "", "", original, style="bold")
    for check in report.checks:
        top1 = "-" if check.top1 is None else f"{check.top1:.4f}"
        size, difference = f"{check.size_bytes / 1e6:.1f}", f"{check.max_difference:.1e}"
        table.add_row(check.format, check.file, size, difference, f"{check.agreement:.2%}", top1, check.note)
    Console(width=None if Console().is_terminal else 200).print(table)
    click.echo(f"Compared on {report.images} images: {report.compared_on}.")
    if found := report.calibration:
        click.echo(
            f"Temperature {found.temperature:.3f}: expected calibration error {found.ece_before:.4f} -> "
            f"{found.ece_after:.4f}, negative log likelihood {found.nll_before:.4f} -> {found.nll_after:.4f}."
        )
    else:
        click.echo("The images' classes are not known, so the probabilities are not calibrated.")
