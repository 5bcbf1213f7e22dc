"""Trials that share a real GPU: the first epoch is measured, the rest packed by what it took."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sweeper.driver.run import run_sweep
from sweeper.records import TrialState
from sweeper.spec import SweepSpec

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and this machine has none"),
]


def test_trials_share_a_gpu_once_one_of_them_is_measured(tmp_path: Path) -> None:
    spec = SweepSpec.model_validate(
        {
            "name": "packed",
            "data": {"source": "digits", "image_size": 32},
            "backbone": "test_efficientnet",
            "weights": "random",
            "train": {"epochs": 3, "batch_size": 128},
            "space": {"lr": {"log": [1e-3, 1e-2]}},
            "search": {"trials": 3, "sampler": "random"},
        }
    )
    outcome = run_sweep(spec, root=tmp_path)
    assert outcome.finished
    assert [record.state for record in outcome.records] == [TrialState.COMPLETE] * 3
    first, *later = (record.epochs for record in outcome.records)
    assert first[0].gpus == 1.0
    assert all(epochs[-1].gpus is not None and epochs[-1].gpus < 1.0 for epochs in (first, *later))
