from __future__ import annotations

import random
import re

import numpy as np
import pytest
import torch

from sweeper.errors import ResourceError
from sweeper.trial.device import find_machine, seed_everything

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without a GPU")


@no_gpu
def test_auto_is_fp32_on_a_machine_without_a_gpu() -> None:
    machine = find_machine("auto", precision="auto")
    assert machine.device == torch.device("cpu")
    assert not machine.bf16


@no_gpu
def test_a_missing_gpu_is_refused_with_the_devices_there_are() -> None:
    message = "A device must be one of `auto`, `cpu`, but is `cuda:0`."
    with pytest.raises(ResourceError, match=f"^{re.escape(message)}$"):
        find_machine("cuda:0", precision="auto")


def test_bf16_reaches_the_forward_pass_where_it_is_asked_for() -> None:
    linear = torch.nn.Linear(4, 4)
    for precision, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        machine = find_machine("cpu", precision=precision)  # type: ignore[arg-type]
        with machine.autocast():
            assert linear(torch.ones(1, 4)).dtype == dtype


def test_the_peak_memory_of_a_process_is_of_the_right_size() -> None:
    held = torch.ones(64 * 2**20, dtype=torch.uint8)
    peak = find_machine("cpu", precision="auto").peak_memory_mb()
    assert held.nbytes / 2**20 < peak < 2**20


def test_every_epoch_of_every_seed_draws_its_own_numbers_and_the_same_each_time() -> None:
    def draw(seed: int, epoch: int) -> tuple[float, float, float]:
        seed_everything(seed, epoch=epoch)
        return torch.rand(1).item(), float(np.random.rand()), random.random()

    assert draw(3, 1) == draw(3, 1)
    assert len({draw(seed, epoch) for seed in range(4) for epoch in range(4)}) == 16


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_auto_takes_the_gpu_and_its_memory_is_counted_from_the_reset() -> None:
    machine = find_machine("auto", precision="auto")
    assert machine.device == torch.device("cuda:0")
    torch.ones(256 * 2**20, dtype=torch.uint8, device=machine.device)
    machine.reset_peak_memory()
    assert machine.peak_memory_mb() < 256
