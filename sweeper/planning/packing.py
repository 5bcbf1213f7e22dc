"""How many trials share a GPU: as many as their measured peak memory allows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from sweeper.planning.machine import CUDA_CONTEXT_MB
from sweeper.planning.points import size_names
from sweeper.planning.share import Share
from sweeper.records import EpochMetrics, ParamValue, TrialRecord
from sweeper.spec import SweepSpec

_SAFETY: Final = 0.85
"""Of a GPU's memory; the rest is for what the peak of a trial's tensors leaves out: an allocator's gaps, a library's
working space, and later trials that take somewhat more than the one that was measured."""
_DIGITS: Final = 10_000
"""Ray counts GPUs in ten-thousandths."""


def trials_per_gpu(peak_mb: float, *, gpu_mb: float) -> int:
    """Returns how many trials fit into a GPU side by side, each a process of its own; at least one.

    Args:
        peak_mb: peak memory of one trial's tensors, in MiB.
        gpu_mb: memory of the GPU, in MiB.
    """
    return max(1, min(_DIGITS, int(gpu_mb * _SAFETY / (peak_mb + CUDA_CONTEXT_MB))))


def part_of_gpu(trials: int) -> float:
    """Returns the part of a GPU that each of so many trials gets, rounded down so that all of them fit."""
    return math.floor(_DIGITS / trials) / _DIGITS


class Packing:
    """Settles each trial's part of a GPU from what earlier trials of its configuration took.

    A configuration is the searched settings that change what a trial takes of memory. All that it knows are epochs
    of the ledger, so that a resumed sweep packs as an uninterrupted one would.
    """

    def __init__(self, spec: SweepSpec, share: Share, *, gpu_mb: float | None) -> None:
        """Starts with nothing measured.

        Args:
            spec: the sweep; only one with `gpus_per_trial: auto` is packed.
            share: of a trial that is not measured yet.
            gpu_mb: memory of the smallest GPU that a trial may get, in MiB; None packs nothing.
        """
        self._share = share
        self._gpu_mb = gpu_mb if spec.resources.gpus_per_trial == "auto" and share.gpus else None
        self._names = size_names(spec)
        self._peaks: dict[tuple[ParamValue, ...], float] = {}

    def learn(self, record: TrialRecord) -> str | None:
        """Takes in what a trial has taken so far; returns a sentence where that changes how others are packed."""
        before = self.share(record.params)
        peak = max(map(_taken, record.epochs), default=0.0)
        if self._gpu_mb is None or peak <= 0.0:
            return None
        key = self._key(record.params)
        self._peaks[key] = max(peak, self._peaks.get(key, 0.0))
        now = self.share(record.params)
        if now == before:
            return None
        if now.gpus == 1:
            return (
                f"Trials like trial {record.number} get a GPU of their own from here on: memory ran out beside others."
            )
        trials = trials_per_gpu(self._peaks[key], gpu_mb=self._gpu_mb)
        return (
            f"Trials like trial {record.number} take {self._peaks[key]:.0f} MiB: {trials} of them share a GPU of "
            f"{self._gpu_mb:.0f} MiB from here on."
        )

    def share(self, params: Mapping[str, ParamValue]) -> Share:
        """Returns what a trial gets: the whole share while nothing like it was measured."""
        peak = self._peaks.get(self._key(params))
        return self._share if peak is None else self._packed(peak)

    @property
    def least(self) -> Share:
        """The smallest share that a trial gets so far."""
        return min(map(self._packed, self._peaks.values()), key=lambda one: one.gpus, default=self._share)

    def _packed(self, peak_mb: float) -> Share:
        if self._gpu_mb is None:
            return self._share
        return replace(self._share, gpus=part_of_gpu(trials_per_gpu(peak_mb, gpu_mb=self._gpu_mb)))

    def _key(self, params: Mapping[str, ParamValue]) -> tuple[ParamValue, ...]:
        return tuple(params.get(name) for name in self._names)


def packing_of(spec: SweepSpec, share: Share, records: Sequence[TrialRecord], *, gpu_mb: float | None) -> Packing:
    """Returns the packing that follows from all epochs so far."""
    packing = Packing(spec, share, gpu_mb=gpu_mb)
    for record in records:
        packing.learn(record)
    return packing


def _taken(epoch: EpochMetrics) -> float:
    """Returns the memory that a trial should be given after an epoch; all there is once memory ran out in it."""
    return epoch.peak_memory_mb if epoch.micro_batch is None else math.inf
