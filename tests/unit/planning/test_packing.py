"""As many trials share a GPU as their measured memory allows, and never more."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.planning.machine import CUDA_CONTEXT_MB
from sweeper.planning.packing import Packing, packing_of, part_of_gpu, trials_per_gpu
from sweeper.planning.share import Share
from sweeper.records import EpochMetrics, TrialRecord, TrialState
from sweeper.spec import SweepSpec

GPU = Share(cpus=1, gpus=1)


def spec(**resources: Any) -> SweepSpec:
    return SweepSpec.model_validate(
        {"name": "s", "data": {"source": "digits"}, "backbone": "b", "resources": resources,
         "space": {"lr": {"log": [1e-3, 1e-2]}, "batch_size": {"choice": [32, 64]}}}
    )  # fmt: skip


def trial(number: int, batch_size: int, peak_mb: float, *, micro_batch: int | None = None) -> TrialRecord:
    epoch = EpochMetrics(
        epoch=1, top1=0.5, top5=0.9, macro_f1=0.5, balanced_accuracy=0.5, val_loss=1.0, train_loss=1.0, lr=1e-3,
        train_seconds=1.0, eval_seconds=1.0, images_per_second=1.0, peak_memory_mb=peak_mb, micro_batch=micro_batch,
    )  # fmt: skip
    params = {"backbone": "b", "lr": 1e-3 * (number + 1), "batch_size": batch_size}
    return TrialRecord(number=number, state=TrialState.RUNNING, params=params, epochs=(epoch,), attempts=1)


@given(peak=st.floats(0, 1e6), gpu=st.floats(1, 1e6))
def test_what_shares_a_gpu_fits_into_it_and_ray_can_place_it(peak: float, gpu: float) -> None:
    trials = trials_per_gpu(peak, gpu_mb=gpu)
    part = part_of_gpu(trials)
    assert trials == 1 or trials * (peak + CUDA_CONTEXT_MB) <= gpu
    assert math.isclose(part * 10_000, round(part * 10_000), abs_tol=1e-6)  # Ray's unit
    assert 0 < trials * round(part * 10_000) <= 10_000
    assert int(1 / part + 1e-9) >= trials


def test_the_first_trial_of_a_configuration_has_a_gpu_and_the_rest_share() -> None:
    packing = Packing(spec(), GPU, gpu_mb=24_000)
    first = trial(0, 32, 4_600)
    assert packing.share(first.params) == packing.least == GPU
    assert packing.learn(first) == "Trials like trial 0 take 4600 MiB: 4 of them share a GPU of 24000 MiB from here on."
    assert packing.learn(first) is None
    assert packing.share(trial(1, 32, 0).params) == packing.least == Share(cpus=1, gpus=0.25)
    assert packing.share(trial(1, 64, 0).params) == GPU  # another batch size takes another memory: to be measured


def test_trials_that_ran_out_of_memory_beside_others_get_a_gpu_of_their_own() -> None:
    packing = packing_of(spec(), GPU, [trial(0, 32, 4_600)], gpu_mb=24_000)
    squeezed = trial(1, 32, 4_700, micro_batch=16)
    told = "Trials like trial 1 get a GPU of their own from here on: memory ran out beside others."
    assert packing.learn(squeezed) == told
    assert packing.share(squeezed.params) == GPU


def test_a_resumed_sweep_packs_as_it_did() -> None:
    records = [trial(0, 32, 4_600), trial(1, 64, 9_000), trial(2, 32, 5_100)]
    packing = packing_of(spec(), GPU, records, gpu_mb=24_000)
    assert [packing.share(record.params).gpus for record in records] == [0.3333, 0.5, 0.3333]


@pytest.mark.parametrize(
    ("resources", "share", "gpu_mb"),
    [({"gpus_per_trial": 1}, GPU, 24_000), ({}, Share(cpus=1, gpus=0), 24_000), ({}, GPU, None)],
    ids=["a number was asked for", "no GPU", "its memory is not known"],
)
def test_nothing_is_packed_where(resources: dict[str, Any], share: Share, gpu_mb: float | None) -> None:
    packing = packing_of(spec(**resources), share, [trial(0, 32, 4_600)], gpu_mb=gpu_mb)
    assert packing.share(trial(1, 32, 0).params) == packing.least == share
