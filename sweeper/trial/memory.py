"""Whether memory ran out, how much a process holds, and whether the kernel ended one for it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch

_MIB: Final = 2.0**20
_SIGNS: Final = (
    "out of memory",  # CUDA, also where it comes as a plain RuntimeError
    "can't allocate memory",  # DefaultCPUAllocator on Linux
    "not enough memory",  # DefaultCPUAllocator elsewhere
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "could not create a memory object",  # oneDNN; the next one too, where its scratch memory is what is missing
    "could not create a primitive",
    "std::bad_alloc",
)


def ran_out(error: BaseException) -> bool:
    """Whether an error says that there is not enough memory, of the device or of the machine."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def held_mb(device: torch.device) -> float:
    """Returns what this process holds now, in MiB: of a GPU, or of the machine's memory, shared files left out."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device) / _MIB
    return _number(Path("/proc/self/status"), "RssAnon:") / 1024.0


def total_mb(device: torch.device) -> float:
    """Returns the memory there is, in MiB: of a GPU, or of the machine or container; 0 where nothing says so."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory / _MIB
    machine = _number(Path("/proc/meminfo"), "MemTotal:") * 1024.0
    limit = _limit(Path("/sys/fs/cgroup/memory.max")) or machine
    return min(machine, limit) / _MIB


def kills_for_memory() -> int:
    """Returns how often the kernel has ended a process for memory so far, in this container or on this machine."""
    return _number(Path("/sys/fs/cgroup/memory.events"), "oom_kill") + _number(Path("/proc/vmstat"), "oom_kill")


def _number(path: Path, key: str) -> int:
    """Returns the number behind a key in one of the kernel's files; 0 where there is none."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(words[1]) for line in lines if (words := line.split()) and words[0] == key), 0)


def _limit(path: Path) -> float | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return float(text) if text.isdigit() else None
