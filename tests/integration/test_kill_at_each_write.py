"""SIGKILL at the writes of ledger, MLflow, checkpoints and weights, dozens of times in one sweep: all is exact.

The driver and its worker are one process here (see `forked_lives`), so that many kills cost little;
`test_kills` kills the processes of a sweep on Ray.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from safetensors.torch import load_file

from sweeper.records import TrialRecord
from sweeper.search import open_ledger
from sweeper.spec import SweepSpec
from tests.integration.exactness import CLOCK, draw_images

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
LIVES = Path(__file__).parent / "forked_lives.py"


def run(folder: Path, images: Path, seed: int) -> int:
    """Returns how many lives the sweep took, less one."""
    command = [sys.executable, str(LIVES), str(folder), str(images), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])


def records(folder: Path, images: Path) -> tuple[TrialRecord, ...]:
    spec = SweepSpec.model_validate(
        {"name": "sweep", "data": {"source": "folder", "root": str(images)}, "backbone": "test_efficientnet"}
    )
    return open_ledger(spec, f"sqlite:///{folder}/sweep/study.db", create=False).records()


def told(trials: tuple[TrialRecord, ...]) -> list[dict[str, Any]]:
    """All of the trials but what a clock measured."""
    return [
        {"params": one.params, "state": one.state, "epochs": [epoch.model_dump(exclude=CLOCK) for epoch in one.epochs]}
        for one in trials
    ]


def test_a_sweep_killed_at_dozens_of_writes_equals_one_that_was_left_alone(tmp_path: Path) -> None:
    draw_images(tmp_path / "images")
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    assert run(undisturbed, tmp_path / "images", -1) == 0
    kills = run(killed, tmp_path / "images", 2026)
    assert kills >= 24  # 35 when it was written; how many writes MLflow needs is a matter of time

    expected, found = (records(folder, tmp_path / "images") for folder in (undisturbed, killed))
    assert told(found) == told(expected)
    for record in found:
        trial = f"sweep/trials/{record.number:04d}"
        left, as_left = (sorted(path.name for path in (folder / trial).iterdir()) for folder in (killed, undisturbed))
        assert left == as_left
        assert not any(name.startswith(".") or name.endswith(".ckpt") for name in left)
        if "best.safetensors" in left:
            first, second = (load_file(folder / trial / "best.safetensors") for folder in (undisturbed, killed))
            assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
        # Each attempt but the last was ended by a kill, and has cost no more than the epoch it was in.
        begun = Counter(re.findall(r"Begin (\d+)\.", (killed / trial / "trial.log").read_text()))
        assert len(begun) == len(record.epochs)
        assert begun.total() - len(begun) <= record.attempts - 1
    assert sum(record.attempts - 1 for record in found) <= kills
    check_mlflow(killed, found)


def check_mlflow(folder: Path, trials: tuple[TrialRecord, ...]) -> None:
    """Every metric of every epoch is there once, and every run is over."""
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("sweep")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == len(trials) + 1
    assert {run.info.status for run in runs} == {"FINISHED"}
    by_trial = {int(run.data.tags["sweeper.trial"]): run for run in runs if "sweeper.trial" in run.data.tags}
    for record in trials:
        run = by_trial[record.number]
        for key in run.data.metrics:
            found = [point.step for point in client.get_metric_history(run.info.run_id, key)]
            assert found == sorted(set(found))
            assert key == "best_top1" or found == [epoch.epoch for epoch in record.epochs]
