"""The machine that a plan is made for: what it computes on, and how much memory a trial has."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict

from sweeper.planning.share import Share

_MIB = 2.0**20
CUDA_CONTEXT_MB = 500.0
"""What CUDA and its libraries take of a GPU besides a trial's tensors, for each process."""


class Place(BaseModel):
    """What a trial runs on, as far as this machine knows."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    device: str
    """`cpu`, or `cuda:0`."""
    title: str
    """What a person calls it."""
    threads: int
    slots: int
    """Trials at once."""
    gpus: float
    """GPUs of one trial."""
    memory_mb: float | None
    """A trial's part of the device's memory, in MiB; None where the device is not in this machine."""
    bf16: bool
    """Whether `precision: auto` means bf16."""

    @property
    def processes(self) -> int:
        """That train one trial together, a GPU each."""
        return max(1, int(self.gpus))

    def runs_bf16(self, precision: str) -> bool:
        """Whether forward passes run in bf16 with a trial's `precision`."""
        return precision == "bf16" or (precision == "auto" and self.bf16)


def this_machine() -> Share:
    """Returns the CPU cores and GPUs that this process may use."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Share(cpus=cpus, gpus=torch.cuda.device_count())


def place_of(share: Share, *, slots: int) -> Place:
    """Describes where each of `slots` trials at once will run."""
    memory: float | None = None
    title, bf16 = f"CPU, {share.cpus:g} a trial", False
    if share.gpus:
        title, bf16 = f"GPU, {share.gpus:g} a trial", True
        if torch.cuda.is_available():
            memory = torch.cuda.get_device_properties(0).total_memory / _MIB * min(share.gpus, 1.0) - CUDA_CONTEXT_MB
            title = f"{torch.cuda.get_device_name(0)}, {share.gpus:g} a trial"
            bf16 = torch.cuda.get_device_capability(0) >= (8, 0)
    elif hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / _MIB / slots
    return Place(
        device=share.device, title=title, threads=share.threads, slots=slots, gpus=share.gpus, memory_mb=memory,
        bf16=bf16,
    )  # fmt: skip


def process_memory_mb() -> float:
    """Returns what of this process lies in memory now, in MiB; 0 where the system does not say."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="ascii").splitlines() if status.exists() else []
    return next((float(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)
