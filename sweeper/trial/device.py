"""Where a trial runs: its device, its number format, its seeds and its memory."""

from __future__ import annotations

import gc
import random
import resource
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from sweeper.errors import ResourceError
from sweeper.trial.group import ALONE, Group

_MIB = 2.0**20


@dataclass(frozen=True)
class Machine:
    """A device and the number format of its forward passes."""

    device: torch.device
    bf16: bool
    leave: threading.Event = field(default_factory=threading.Event)
    """Set once it is about to go."""
    group: Group = ALONE
    """The processes that train here together, of which this is one."""

    def must_leave(self) -> bool:
        """Returns whether what runs here must save where it is and end; all of the group are told the same."""
        (leaving,) = self.group.totals(self.leave.is_set())
        return leaving > 0

    def autocast(self) -> torch.autocast:
        """Returns the context in which the model's forward pass runs; without bf16 it changes nothing."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)

    def finish(self) -> None:
        """Waits until the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def reset_peak_memory(self) -> None:
        """Starts `peak_memory_mb` anew: of a GPU, and of a process where Linux lets it forget its peak."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            with suppress(OSError):  # another system, or a container that forbids it
                Path("/proc/self/clear_refs").write_text("5", encoding="ascii")

    def peak_memory_mb(self) -> float:
        """Returns the peak of the device's memory (CUDA) or of the process's (CPU), in MiB."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / _MIB
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        # Linux counts in KiB, macOS in bytes.
        return peak / _MIB if sys.platform == "darwin" else peak / 1024.0


def find_machine(device: str, *, precision: Literal["auto", "fp32", "bf16"]) -> Machine:
    """Finds the device called `device` and settles the number format.

    Args:
        device: `cpu`, `cuda:<index>`, or `auto`: the first CUDA device where there is one, else the CPU.
        precision: `auto` is bf16 on a CUDA device that has it and fp32 elsewhere.

    Raises:
        ResourceError: there is no such device, or it cannot do what `precision` asks for.
    """
    if device == "auto":
        device = "cuda:0" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        return Machine(torch.device("cpu"), bf16=precision == "bf16")
    known = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if device not in known:
        names = ", ".join(f"`{name}`" for name in ["auto", "cpu", *known])
        raise ResourceError(f"A device must be one of {names}, but is `{device}`.")
    has_bf16 = torch.cuda.get_device_capability(device) >= (8, 0)  # emulated, and slow, before Ampere
    if precision == "bf16" and not has_bf16:
        raise ResourceError(f"bf16 needs a GPU that has it, but `{device}` has not; set `precision: fp32`.")
    return Machine(torch.device(device), bf16=has_bf16 and precision != "fp32")


def seed_everything(seed: int, *, epoch: int, rank: int = 0) -> None:
    """Seeds every global generator from a trial's seed, an epoch, and which of the trial's processes this is.

    Done at the start of each epoch, it makes dropout and stochastic depth a function of these numbers,
    so that a checkpoint needs no generator states to go on exactly.
    """
    derived = int(np.random.SeedSequence([seed, epoch, *((rank,) if rank else ())]).generate_state(1)[0])
    random.seed(derived)
    np.random.seed(derived)
    torch.manual_seed(derived)


def generator_states(device: torch.device) -> dict[str, Any]:
    """Returns where every global generator stands, in types that a checkpoint can hold."""
    name, keys, *rest = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def restore_generators(states: dict[str, Any], device: torch.device) -> None:
    """Takes every global generator back to where it stood."""
    name, keys, *rest = states["numpy"]
    random.setstate(states["python"])
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    if device.type == "cuda" and states["cuda"] is not None:
        torch.cuda.set_rng_state(states["cuda"], device)


def release_memory() -> None:
    """Gives back what a finished trial held, so that a warm worker starts the next one empty."""
    gc.collect()
    torch.cuda.empty_cache()  # nothing, where CUDA was not used
