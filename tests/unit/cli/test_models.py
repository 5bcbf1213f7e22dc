"""`sweeper export` and `sweeper predict`, as people call them."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeper.paths import CachePaths, TrialPaths
from sweeper.records import EpochMetrics
from sweeper.spec.trial import TrialConfig
from sweeper.trial.run import run_trial
from sweeper.trial.runtime import Runtime
from tests.unit.cli.conftest import Answer

Sweeper = Callable[..., Answer]


@pytest.fixture
def trial(photos: Path) -> EpochMetrics:
    """A finished trial on `photos`, in the folder `trial`."""
    config = TrialConfig.model_validate(
        {
            "backbone": "test_efficientnet",
            "weights": "random",
            "data": {"source": "folder", "root": photos, "image_size": 32},
            "train": {"epochs": 1, "batch_size": 8},
        }
    )
    runtime = Runtime(device="cpu", threads=1, cache=CachePaths.default())
    (metrics,) = run_trial(config, TrialPaths(photos.parent / "trial"), runtime=runtime)
    return metrics


def test_a_trial_is_exported_and_asked(
    trial: EpochMetrics, sweeper: Sweeper, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported = sweeper("export", "trial", "--to", "model")
    assert exported.code == 0, exported.err
    assert "Compared on 8 images: the validation split." in exported.out
    assert "Temperature " in exported.out
    again = sweeper("export", "trial", "--to", "model")
    assert (again.code, "sweeper: A model is exported to a new or empty folder, but `model` is not;" in again.err) == (
        2,
        True,
    )

    answer = sweeper("predict", "model", "photos/val", "--csv", "--top-k", "2")
    rows = list(csv.DictReader(io.StringIO(answer.out)))
    assert (answer.code, answer.err, len(rows)) == (0, "", 8)
    assert sum(row["label"] == Path(row["image"]).parent.name for row in rows) / 8 == trial.top1
    assert list(rows[0]) == ["image", "label", "probability", "label_2", "probability_2"]

    (photos / "val" / "broken.png").write_bytes(b"no image")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{rows[0]['image']}\nnowhere.png\n"))
    lines = sweeper("predict", "model", "-", "photos/val/broken.png", "photos/val/cap/*.png", "--json")
    assert (lines.code, len(lines.out.splitlines())) == (0, 5)
    first = json.loads(lines.out.splitlines()[0])
    assert (first["image"], first["guesses"][0]["label"]) == (rows[0]["image"], rows[0]["label"])
    assert lines.err.splitlines() == [
        "sweeper: `nowhere.png` is left out: No such file or directory",
        "sweeper: `photos/val/broken.png` is left out: not an image, or one in an unknown format",
        "5 images answered, 2 left out.",
    ]
    mirrored, plain = (
        json.loads(sweeper("predict", "model", rows[0]["image"], "--json", *options).out)["guesses"][0]["probability"]
        for options in (["--tta", "flip"], ["--no-calibration"])
    )
    assert len({mirrored, plain, first["guesses"][0]["probability"]}) == 3
    table = sweeper("predict", "model", rows[0]["image"])
    assert (table.code, rows[0]["label"] in table.out) == (0, True)
    none = sweeper("predict", "model", "photos/val/broken.png")
    assert (none.code, none.out) == (1, "")
    assert sweeper("predict", "model", "x", "--csv", "--json").code == 2


def test_a_model_that_is_nowhere_is_told(sweeper: Sweeper) -> None:
    answer = sweeper("predict", "nowhere", "photo.jpg")
    assert (answer.code, answer.err.startswith("sweeper: There is no sweep `nowhere` in ")) == (2, True)


WITHOUT = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"ray", "optuna", "mlflow", "sqlalchemy"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
from sweeper.cli import main

def call(*arguments):
    sys.argv = ["sweeper", *arguments]
    code = main._run()
    print("CODE", code, flush=True)

call("--help")
call("export", "trial", "--to", "model")
call("predict", "model", "photos/val", "--csv")
call("ui")
"""


def test_a_model_is_exported_and_asked_where_ray_optuna_and_mlflow_are_not_installed(
    trial: EpochMetrics, photos: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], cwd=photos.parent, capture_output=True, text=True, check=False
    )
    assert done.stdout.count("CODE 0") == 3, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "CODE 2"
    rows = [line.split(",") for line in done.stdout.splitlines() if line.startswith("photos/val")]
    assert sum(label == Path(path).parent.name for path, label, *_ in rows) / 8 == trial.top1
    assert done.stderr.splitlines()[-1] == (
        "sweeper: This needs `mlflow`, which is not installed; run `pip install 'sweeper[sweep]'`."
    )


@pytest.mark.usefixtures("trial")
def test_a_trial_cannot_be_chosen_of_a_single_model(sweeper: Sweeper) -> None:
    answer = sweeper("export", "trial", "--to", "model", "--trial", "3")
    message = "sweeper: `--trial` chooses among the trials of a sweep, but `trial` is one model; leave it out.\n"
    assert (answer.code, answer.err) == (2, message)
