"""What says that memory ran out, and how much of it is held."""

from __future__ import annotations

import pytest
import torch

from sweeper.trial.memory import held_mb, kills_for_memory, ran_out, total_mb


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
    block = torch.ones(2**25)  # larger than what malloc keeps of memory that was given back
    assert 100 < held_mb(cpu) - before < 180
    assert len(block) == 2**25
    assert held_mb(cpu) < total_mb(cpu)
    assert kills_for_memory() >= 0
