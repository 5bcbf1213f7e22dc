"""`sweeper predict`: what pictures show."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich import box
from rich.console import Console
from rich.table import Table

from sweeper.cli import options
from sweeper.cli.models import find_model

if TYPE_CHECKING:
    from sweeper.export import Model, Prediction, PredictOptions

    Answers = Iterator[tuple[Path, Prediction]]

_THREADS = 4


@click.command("predict")
@click.argument("model", metavar="MODEL")
@click.argument("images", metavar="IMAGES...", nargs=-1, required=True)
@click.option("--top-k", type=click.IntRange(min=1), default=5, show_default=True, help="Guesses for each image.")
@click.option("--tta", type=click.Choice(["flip"]), help="Average over each image and its mirror image.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, a line an image.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, an object an image and line.")
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True, help="Images in one pass.")
@click.option("--no-calibration", is_flag=True, help="Plain softmax, without the export's temperature.")
@options.root
def command(  # noqa: PLR0913 - click hands each option over by name
    model: str,
    images: tuple[str, ...],
    top_k: int,
    tta: str | None,
    as_csv: bool,
    as_json: bool,
    batch_size: int,
    no_calibration: bool,
    root: Path | None,
) -> int:
    """Say what IMAGES show: files, folders, patterns, or `-` for a list of paths on standard input.

    MODEL is what `sweeper export` wrote (its folder, or the .onnx or .pt2 file in it), the folder of a trial, or a
    sweep, which stands for its best trial. A file that cannot be read is told and left out.
    """
    if as_csv and as_json:
        raise click.UsageError("`--csv` and `--json` exclude each other.")
    path = find_model(model, root=root)
    from sweeper.data import find_pictures
    from sweeper.export import PredictOptions, load_model

    opened = load_model(path)
    if no_calibration:
        opened = opened.uncalibrated()
    settings = PredictOptions(min(top_k, len(opened.classes)), tta == "flip", batch_size, _THREADS)
    answers = _Answers(opened, find_pictures(_names(images)), settings)
    if as_csv:
        _print_csv(answers, settings.top_k)
    elif as_json:
        _print_json(answers)
    else:
        _print_table(answers)
    if answers.skipped or not answers.answered:
        click.echo(f"{answers.answered} images answered, {answers.skipped} left out.", err=True)
    return 0 if answers.answered else 1


class _Answers:
    """Iterates over what can be answered, and tells of the rest."""

    def __init__(self, model: Model, paths: Iterable[Path], settings: PredictOptions) -> None:
        self.answered, self.skipped = 0, 0
        self._asked = model, paths, settings

    def __iter__(self) -> Answers:
        from sweeper.export import Unreadable, predict_files

        for answer in predict_files(*self._asked):
            if isinstance(answer, Unreadable):
                self.skipped += 1
                click.echo(f"sweeper: `{answer.path}` is left out: {answer.reason}", err=True)
            else:
                self.answered += 1
                yield answer


def _names(images: Iterable[str]) -> Iterator[str]:
    for name in images:
        if name == "-":
            yield from filter(None, (line.strip("\r\n") for line in sys.stdin))
        else:
            yield name


def _print_csv(answers: Iterable[tuple[Path, Prediction]], top_k: int) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    ranks = ["", *(f"_{rank}" for rank in range(2, top_k + 1))]
    writer.writerow(["image", *(f"{name}{rank}" for rank in ranks for name in ("label", "probability"))])
    for path, answer in answers:
        writer.writerow([path, *(value for one in answer.guesses for value in (one.label, f"{one.probability:.6f}"))])


def _print_json(answers: Iterable[tuple[Path, Prediction]]) -> None:
    for path, answer in answers:
        guesses = [{"label": one.label, "probability": round(one.probability, 6)} for one in answer.guesses]
        click.echo(json.dumps({"image": str(path), "guesses": guesses}, ensure_ascii=False))


def _print_table(answers: Iterable[tuple[Path, Prediction]]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("image", overflow="fold")
    table.add_column("label", overflow="fold")
    table.add_column("probability", justify="right", no_wrap=True)
    table.add_column("other guesses", overflow="fold")
    for path, answer in answers:
        others = ", ".join(f"{one.label} {one.probability:.1%}" for one in answer.guesses[1:])
        table.add_row(str(path), answer.label, f"{answer.probability:.1%}", others)
    if table.row_count:
        Console(width=None if Console().is_terminal else 200).print(table)
