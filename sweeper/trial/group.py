"""The processes that train one trial together: each has a device of its own and its part of every batch.

All of them run the same steps on the same weights, and add their gradients up before each step, as
`torch.nn.parallel.DistributedDataParallel` does. That sums while it computes, and so hangs when memory runs out in one
process only; here each process says first whether it has its part (docs/decisions/0022-one-trial-many-gpus.md).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from typing import Any, Final, TypeVar, final

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import FileStore
from torch.nn.modules.batchnorm import _BatchNorm

Value = TypeVar("Value")

_PATIENCE: Final = timedelta(days=1)
"""A process that ended is noticed at once; one that hangs is the watchdog's, which ends the first of them."""
_UNTIL_ENDED: Final = 60.0
"""Seconds."""
_LEAVE_SECONDS: Final = 30.0


class Group:
    """A process that trains alone; the base of those that do not."""

    rank: int = 0
    """Which of them it is; 0 leads: it reports, and writes the trial's files."""
    size: int = 1

    def start_epoch(self) -> None:
        """Begins an epoch when the leading process does."""

    def totals(self, *numbers: int) -> tuple[int, ...]:
        """Returns the sums of the numbers of all processes, without waiting for a device."""
        return numbers

    def add(self, tensors: Iterable[Tensor]) -> None:
        """Makes each tensor the sum of those of all processes."""

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Makes each tensor the mean of those of all processes."""

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Makes each tensor the leading process's."""

    def gathered(self, value: Value) -> list[Value]:
        """Returns the values of all processes, by rank."""
        return [value]


ALONE: Final = Group()


@final
class Together(Group):
    """One of several processes on one machine."""

    def __init__(self, rank: int, size: int, starts: Callable[[], object]) -> None:
        self.rank = rank
        self.size = size
        self._starts = starts

    @classmethod
    def join(cls, rank: int, size: int, *, meeting: Path, starts: Callable[[], object]) -> Together:
        """Waits until all have joined.

        Args:
            rank: which of them this one is; 0 leads.
            size: how many they are.
            meeting: a file through which they find each other; there is none before.
            starts: tells the others that an epoch begins, or waits until it does.
        """
        # They are on one machine, and nobody else is to reach them.
        os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = "lo"
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        store = FileStore(str(meeting), size)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_PATIENCE)
        return cls(rank, size, starts)

    def start_epoch(self) -> None:
        """Begins an epoch when the leading process does."""
        self._starts()

    def totals(self, *numbers: int) -> tuple[int, ...]:
        """Returns the sums of the numbers of all processes."""
        sums = torch.tensor(numbers)
        self._reached(dist.all_reduce, sums)
        return tuple(sums.tolist())

    def add(self, tensors: Iterable[Tensor]) -> None:
        """Sums up as few messages as there are types of tensors."""
        self._by_kind(tensors, dist.all_reduce)

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Makes each tensor the mean of those of all processes."""
        averaged = list(tensors)
        self.add(averaged)
        for tensor in averaged:
            tensor.div_(self.size)

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Sends as few messages as there are types of tensors."""
        self._by_kind(tensors, lambda flat: dist.broadcast(flat, src=0))

    def gathered(self, value: Value) -> list[Value]:
        """Returns the values of all processes, by rank."""
        found: list[Any] = [None] * self.size
        self._reached(dist.all_gather_object, found, value)
        return found

    def leave(self, *, seconds: float = _LEAVE_SECONDS) -> None:
        """Ends the connection, as the others do at the same time: on GPUs it takes all of them.

        Args:
            seconds: how long that may take; a connection to a process that is gone is broken off.
        """
        leaving = threading.Thread(target=dist.destroy_process_group, daemon=True)
        leaving.start()
        leaving.join(seconds)
        if leaving.is_alive():
            dist.distributed_c10d._abort_process_group()

    def _by_kind(self, tensors: Iterable[Tensor], exchange: Callable[[Tensor], Any]) -> None:
        for _, same in groupby(sorted(tensors, key=_kind), key=_kind):
            self._at_once(list(same), exchange)

    def _at_once(self, tensors: Sequence[Tensor], exchange: Callable[[Tensor], Any]) -> None:
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
        self._reached(exchange, flat)
        for tensor, part in zip(tensors, flat.split_with_sizes([tensor.numel() for tensor in tensors]), strict=True):
            tensor.detach().copy_(part.view(tensor.shape))

    def _reached(self, exchange: Callable[..., Any], *arguments: Any) -> None:
        try:
            exchange(*arguments)
        except RuntimeError:
            time.sleep(_UNTIL_ENDED)  # of a process that ended all end, which whoever started it sees to
            raise


def moving_statistics(model: nn.Module) -> list[Tensor]:
    """Returns what batch norm keeps of the images it has seen: other ones in each process."""
    norms = [layer for layer in model.modules() if isinstance(layer, _BatchNorm) and layer.training]
    kept = [statistic for norm in norms for statistic in (norm.running_mean, norm.running_var)]
    return [statistic for statistic in kept if statistic is not None]


def _kind(tensor: Tensor) -> str:
    return f"{tensor.device} {tensor.dtype}"
