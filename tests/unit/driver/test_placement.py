"""What Tune is told to ask the cluster for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ray import cloudpickle, tune

from sweeper.driver.attempts import Attempts, Sweep
from sweeper.driver.engine import placed
from sweeper.driver.worker import TrialWorker
from sweeper.planning.share import Share
from sweeper.records import EpochMetrics

MakeSweep = Callable[..., Sweep]
H100 = Share(cpus=2, gpus=1, kinds=frozenset({"H100"}))


def asked(sweep: Sweep) -> dict[str, float]:
    """What Tune makes of it for the sweep's next attempt, after the way to the workers and back."""
    trainable: Any = cloudpickle.loads(cloudpickle.dumps(tune.with_resources(TrialWorker, placed(sweep))))
    attempt = Attempts(sweep, slots=lambda: 9).next("a")
    assert attempt is not None
    resources: dict[str, float] = trainable.default_resource_request(attempt.to_ray()).required_resources
    return resources


def test_trials_are_placed_on_a_gpu_of_their_kind(make_sweep: MakeSweep) -> None:
    sweep = replace(make_sweep(), share=H100)
    whole = {"CPU": 2.0, "GPU": 1.0, "accelerator_type:H100": 0.001}
    assert asked(sweep) == whole
    assert asked(replace(sweep, gpu_mb=80_000.0)) == whole


def test_a_packed_trial_asks_for_its_own_part_of_a_gpu(make_sweep: MakeSweep) -> None:
    sweep = replace(make_sweep(), share=H100, gpu_mb=80_000.0)
    Attempts(sweep, slots=lambda: 1).next("measured")
    epoch = EpochMetrics(
        epoch=1, top1=0.5, top5=0.9, macro_f1=0.5, balanced_accuracy=0.5, val_loss=1.0, train_loss=1.0, lr=1e-3,
        train_seconds=1.0, eval_seconds=1.0, images_per_second=1.0, peak_memory_mb=13_000.0,
    )  # fmt: skip
    sweep.packing.learn(sweep.ledger.record(0).model_copy(update={"epochs": (epoch,)}))
    assert asked(sweep) == {"CPU": 2.0, "GPU": 0.2, "accelerator_type:H100": 0.001}
