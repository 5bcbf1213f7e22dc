"""A real fine-tuning on a CUDA device: bf16, channels-last, exact resume."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sweeper.paths import TrialPaths
from sweeper.records import EpochMetrics
from sweeper.spec import TrialConfig
from sweeper.trial.run import run_trial
from sweeper.trial.runtime import Runtime

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and this machine has none"),
]


def config(**train: object) -> TrialConfig:
    return TrialConfig.model_validate(
        {
            "backbone": "davit_tiny",
            "weights": "random",
            "backbone_args": {"depths": [1, 1, 1, 1], "embed_dims": [16, 32, 48, 64], "num_heads": [1, 2, 3, 4]},
            "data": {"source": "digits", "image_size": 64},
            "train": {"epochs": 3, "batch_size": 128, "lr": 2e-3, **train},
            "augment": {"hflip": 0.0},
        }
    )


def run(folder: Path, settings: TrialConfig, *, epochs: int) -> list[EpochMetrics]:
    stream = run_trial(settings, TrialPaths(folder), runtime=Runtime("cuda:0", threads=2))
    done = [next(stream) for _ in range(epochs)]
    stream.close()
    return done


def test_bf16_learns_and_returns_its_memory(tmp_path: Path) -> None:
    before = torch.cuda.memory_allocated()
    last = run(tmp_path, config(precision="bf16"), epochs=3)[-1]
    assert last.top1 > 0.5
    assert last.peak_memory_mb > 10
    assert torch.cuda.memory_allocated() - before < 2**20


def test_stop_and_resume_equals_an_uninterrupted_run(tmp_path: Path) -> None:
    settings = config(precision="fp32")
    whole = run(tmp_path / "whole", settings, epochs=3)
    run(tmp_path / "parts", settings, epochs=1)
    parts = run(tmp_path / "parts", settings, epochs=3)
    assert [epoch.epoch for epoch in parts] == [1, 2, 3]
    # CUDA kernels may add up in another order from run to run, so not bit for bit.
    assert parts[-1].top1 == pytest.approx(whole[-1].top1, abs=0.05)
