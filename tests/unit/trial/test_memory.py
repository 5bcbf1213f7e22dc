"""Memory that runs out is no bad score: the trial goes on with fewer images in one pass. Under a real limit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sweeper.trial.memory import held_mb, kills_for_memory, ran_out, total_mb

LIMITED = """
import resource, sys, torch
from pathlib import Path
from torch import nn
from sweeper.errors import SweeperError
from sweeper.paths import TrialPaths
from sweeper.spec.trial import TrialConfig
from sweeper.trial.run import Runtime, run_trial
import sweeper.trial.setup as setup

config = TrialConfig.model_validate_json(Path(sys.argv[1]).read_text())
paths = TrialPaths(Path(sys.argv[2]))
torch.set_num_threads(1)
trial = run_trial(config, paths, runtime=Runtime(device="cpu"))
begin = setup.Setup.begin
def limited(self, phase, weights=None):
    training = begin(self, phase, weights=weights)
    used = next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmData")) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (used + int(sys.argv[3]) * 2**20,) * 2)
    return training
setup.Setup.begin = limited
try:
    for epoch in trial:
        print(epoch.epoch, epoch.micro_batch, round(epoch.train_loss, 3))
except SweeperError as error:
    print(type(error).__name__, error)
"""


def train(config: str, folder: Path, *, more_mb: int) -> str:
    """Runs a trial in a process that may take `more_mb` MiB besides what it has when training begins."""
    file = folder / "trial.json"
    file.write_text(config)
    command = [sys.executable, "-c", LIMITED, str(file), str(folder / "trial"), str(more_mb)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_under_a_real_limit_a_trial_goes_on_with_fewer_images_in_one_pass(make_config, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    config = make_config(
        train={"epochs": 1, "batch_size": 40}, data=make_config().data.model_copy(update={"image_size": 128, "store_size": 32})
    )  # fmt: skip
    out = train(config.model_dump_json(), tmp_path, more_mb=48)
    epoch, micro_batch, _ = out.split()
    assert epoch == "1"
    assert int(micro_batch) in (2, 3, 5, 10, 20)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("CUDA error: out of memory"),
        MemoryError(),
    ],
)
def test_every_way_to_say_that_memory_ran_out_is_known(error: Exception) -> None:
    assert ran_out(error)
    assert not ran_out(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not ran_out(ValueError("out of memory"))


def test_a_process_knows_what_it_holds_of_what_there_is() -> None:
    cpu = torch.device("cpu")
    before = held_mb(cpu)
    block = torch.ones(2**23)
    assert 20 < held_mb(cpu) - before < 60
    assert len(block) == 2**23
    assert held_mb(cpu) < total_mb(cpu)
    assert kills_for_memory() >= 0
