"""A search space becomes a plan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeper.paths import CachePaths, SweepPaths
from sweeper.planning.compare import compare
from sweeper.planning.machine import Place
from sweeper.planning.make import PlanOptions, make_plan
from sweeper.planning.plan import BackbonePlan, Plan, read_plan, write_plan
from sweeper.planning.predict import Predictor
from sweeper.records import EpochMetrics, ParamValue, TrialRecord, TrialState
from sweeper.spec import SweepSpec
from sweeper.spec.training import ProgressiveSpec

CPU = Place(device="cpu", title="CPU, 1 a trial", threads=1, slots=2, gpus=0, memory_mb=8192, bf16=False)
Point = dict[str, ParamValue]
MakePlan = Callable[..., tuple[SweepSpec, Plan]]


@pytest.fixture
def make(tmp_path: Path) -> MakePlan:
    """Plans a sweep of tiny trials; fields given win."""

    def _make(*, place: Place = CPU, measure: bool = False, draws: int = 4, **fields: Any) -> tuple[SweepSpec, Plan]:
        base: dict[str, Any] = {
            "name": "tiny",
            "data": {"source": "digits", "image_size": 32},
            "backbone": "test_efficientnet",
            "weights": "random",
            "train": {"epochs": 4, "batch_size": 32},
            "space": {"lr": {"log": [1e-3, 1e-2]}, "freeze_depth": {"int": [0, 2]}},
            "search": {"trials": 8, "sampler": "random"},
        }
        spec = SweepSpec.model_validate({**base, **fields})
        return spec, make_plan(spec, place, CachePaths(tmp_path), PlanOptions(measure=measure, draws=draws))

    return _make


def test_a_plan_says_what_there_is_and_what_it_comes_to(make: MakePlan) -> None:
    spec, plan = make(measure=True, resources={"price_per_hour": 2.0})
    assert plan.problems == ()
    assert plan.measurements.images is not None
    assert (plan.measurements.images.classes, plan.measurements.images.train) == (10, 1438)
    (backbone,) = plan.backbones
    assert backbone.epoch_seconds is not None
    assert 0 < backbone.epoch_seconds.least < backbone.epoch_seconds.mean < backbone.epoch_seconds.most < 300
    assert plan.epochs == 32
    assert plan.trial_hours == pytest.approx(32 * backbone.epoch_seconds.mean / 3600)
    assert plan.hours == pytest.approx((plan.trial_hours or 0) / 2)
    assert plan.price == pytest.approx(2 * (plan.hours or 0))
    assert plan.disk.weights_mb == pytest.approx(8 * 4 * backbone.parameters / 2**20)
    assert spec.name == plan.name


def test_freezing_and_smaller_batches_make_a_point_cheaper_and_more_epochs_do_not_change_an_epoch(
    make: MakePlan,
) -> None:
    spec, plan = make(
        space={"freeze_depth": {"int": [0, 5]}, "batch_size": {"choice": [32, 64]}, "epochs": {"int": [2, 9]}}
    )
    predictor = Predictor(spec, plan.place, plan.measurements, num_classes=10)
    free: Point = {"backbone": "test_efficientnet", "freeze_depth": 0, "batch_size": 64}
    base, frozen = predictor.predict(free), predictor.predict({**free, "freeze_depth": 3})
    smaller = predictor.predict({**free, "batch_size": 32})
    assert (
        predictor.cost(free) > predictor.cost({**free, "freeze_depth": 3}) > predictor.cost({**free, "freeze_depth": 5})
    )
    growing = spec.model_copy(
        update={"train": spec.train.model_copy(update={"progressive": ProgressiveSpec(epochs=3, image_size=16)})}
    )
    assert Predictor(growing, plan.place, plan.measurements, num_classes=10).cost(free) < 0.9 * predictor.cost(free)
    assert base.memory_mb > frozen.memory_mb
    assert base.memory_mb > smaller.memory_mb
    assert predictor.cost({**free, "epochs": 9}) == pytest.approx(predictor.cost({**free, "epochs": 2}))


def test_a_point_that_does_not_fit_is_refused_with_the_largest_batch_that_does(make: MakePlan) -> None:
    gpu = Place(device="cuda:0", title="GPU, 1 a trial", threads=1, slots=1, gpus=1, memory_mb=100, bf16=False)
    _, plan = make(place=gpu, train={"epochs": 1, "batch_size": 4096})
    (problem,) = plan.problems
    fits = plan.backbones[0].largest_batch
    assert fits is not None
    assert 32 < fits < 4096
    needed = plan.backbones[0].memory_mb / 1024
    assert problem == (
        "A trial has 0.1 GiB (GPU, 1 a trial), but `test_efficientnet` takes about "
        f"{needed:.1f} GiB at a `batch_size` of 4096: the largest batch that fits is {fits}; set "
        f"`train.batch_size: {fits}`, and `accumulate` to keep the step."
    )
    assert make(place=gpu, train={"epochs": 1, "batch_size": fits})[1].problems == ()
    assert make(place=gpu, train={"epochs": 1, "batch_size": fits + 1})[1].problems != ()


def test_several_gpus_divide_a_batch_and_its_time(make: MakePlan) -> None:
    def planned(gpus: int) -> BackbonePlan:
        place = Place(device="cuda:0", title="GPU", threads=64, slots=1, gpus=gpus, memory_mb=2**14, bf16=False)
        return make(place=place, train={"epochs": 1, "batch_size": 4096})[1].backbones[0]

    one, four = planned(1), planned(4)
    assert one.largest_batch is not None
    assert four.largest_batch == 4 * one.largest_batch
    assert one.memory_mb / 4 < four.memory_mb < one.memory_mb / 3  # each has the weights


def test_points_that_cannot_run_are_told_all_at_once(make: MakePlan) -> None:
    _, plan = make(space={"freeze_depth": {"int": [0, 9]}, "optimizer": {"choice": ["adamw", "adamm"]}})
    assert plan.problems == (
        "`test_efficientnet` with freeze_depth=9: `freeze_depth` must be 0 to 5 for `test_efficientnet.r160_in1k`, whose "
        "stages are stem, stage1, stage2, stage3, stage4, head, but it is `9`.",
        "`test_efficientnet` with optimizer=adamm: An optimizer must be one that timm knows, but is `adamm`; did you mean "
        "`adam` or `radam` or `nadam`?",
    )


def test_without_images_memory_is_planned_and_time_is_not(make: MakePlan, tmp_path: Path) -> None:
    data = {"source": "folder", "root": str(tmp_path / "nowhere"), "image_size": 32}
    spec, plan = make(data=data, measure=True)
    (note,) = plan.notes
    assert note.startswith("The images are not known, nor how long an epoch is: ")
    assert plan.hours is None
    assert plan.backbones[0].memory_mb > 0
    assert plan.problems == ()
    predictor = Predictor(spec, plan.place, plan.measurements, num_classes=100)
    point: Point = {"backbone": "test_efficientnet", "freeze_depth": 0}
    assert predictor.cost(point) > predictor.cost({**point, "freeze_depth": 2})


def test_a_grid_is_counted(make: MakePlan) -> None:
    space = {"freeze_depth": {"int": [0, 2]}, "lr": {"choice": [1e-3, 1e-2]}}
    _, plan = make(space=space, search={"trials": 4, "sampler": "grid"})
    assert (plan.grid_points, plan.trials) == (6, 4)


def test_a_plan_is_read_back_as_it_was_written_and_stands_beside_what_came(make: MakePlan, tmp_path: Path) -> None:
    spec, plan = make(measure=True, draws=0)
    paths = SweepPaths(tmp_path / "sweep")
    assert read_plan(paths) is None
    write_plan(plan, paths)
    assert read_plan(paths) == plan
    epoch = EpochMetrics(
        epoch=1, top1=0.5, top5=1.0, macro_f1=0.5, balanced_accuracy=0.5, val_loss=1.0, train_loss=1.0,
        lr=1e-3, train_seconds=3.0, eval_seconds=1.0, images_per_second=1.0, peak_memory_mb=900.0,
    )  # fmt: skip
    record = TrialRecord(number=0, state=TrialState.COMPLETE, params={"freeze_depth": 0}, epochs=(epoch,))
    waiting = TrialRecord(number=1, state=TrialState.WAITING, params={})
    (compared,) = compare(spec, plan, [record, waiting])
    assert (compared.trials, compared.measured_seconds, compared.measured_mb) == (1, 4.0, 900.0)
    predicted = Predictor(spec, plan.place, plan.measurements, num_classes=10).predict(
        {"backbone": "test_efficientnet"}
    )
    assert compared.predicted_seconds == pytest.approx(predicted.epoch_seconds)
