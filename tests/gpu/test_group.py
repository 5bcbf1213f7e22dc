"""One trial on two GPUs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sweeper.paths import TrialPaths
from sweeper.trial.run import run_trial
from sweeper.trial.runtime import Runtime
from tests.gpu.test_trial import config

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices, and this machine has fewer"),
]


def test_two_gpus_train_what_one_does(tmp_path: Path) -> None:
    found = {}
    for processes in (1, 2):
        runtime = Runtime("cuda:0", threads=2, processes=processes)
        found[processes] = list(
            run_trial(config(precision="fp32"), TrialPaths(tmp_path / str(processes)), runtime=runtime)
        )
    alone, together = found[1], found[2]
    assert together[0].train_loss == pytest.approx(alone[0].train_loss, rel=1e-2)
    assert together[-1].top1 == pytest.approx(alone[-1].top1, abs=0.1)
    assert together[-1].peak_memory_mb < alone[-1].peak_memory_mb
