"""How the epochs of a trial fall into phases, and that each phase trains what it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from sweeper.paths import TrialPaths
from sweeper.spec.trial import TrialConfig
from sweeper.trial.phases import phases_of, stored_data
from sweeper.trial.run import run_trial
from sweeper.trial.runtime import Runtime

MakeConfig = Callable[..., TrialConfig]
PROBE = {"epochs": 4, "probe": {"epochs": 2}}
FIXRES = {"epochs": 4, "fixres": {"epochs": 2, "image_size": 48}}
ALL = {"epochs": 5, "probe": {"epochs": 2}, "fixres": {"epochs": 2, "image_size": 48}, "ema_decay": 0.5}


def models(config: TrialConfig, root: Path, runtime: Runtime) -> list[dict[str, Tensor]]:
    """The trained model after each epoch."""
    paths = TrialPaths(root)
    return [torch.load(paths.checkpoint, weights_only=True)["model"] for _ in run_trial(config, paths, runtime=runtime)]


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_a_plain_trial_has_one_phase(make_config: MakeConfig) -> None:
    config = make_config(train={"epochs": 7})
    (phase,) = phases_of(config, num_stages=6)
    assert (phase.first, phase.last, phase.config, phase.last_norm) == (1, 7, config, False)


def test_the_phases_follow_on_each_other_and_share_the_epochs(make_config: MakeConfig) -> None:
    train = {"epochs": 10, "probe": {"epochs": 2}, "fixres": {"epochs": 3}, "freeze_depth": 1, "head_lr_scale": 10.0}
    config = make_config(train=train | {"lr": 1e-3, "tune": "norm_bias"}, augment={"policy": "trivial", "mixup": 0.2})
    probe, main, fixres = phases_of(config, num_stages=6)
    assert [(phase.first, phase.last) for phase in (probe, main, fixres)] == [(1, 2), (3, 7), (8, 10)]
    assert [phase.config.train.epochs for phase in (probe, main, fixres)] == [2, 5, 3]
    assert [phase.config.train.freeze_depth for phase in (probe, main, fixres)] == [5, 1, 5]
    assert [phase.config.train.tune for phase in (probe, main, fixres)] == ["all", "norm_bias", "all"]
    assert [phase.last_norm for phase in (probe, main, fixres)] == [False, False, True]
    assert probe.config.train.lr * probe.config.train.head_lr_scale == pytest.approx(1e-2)
    assert fixres.config.train.lr * fixres.config.train.head_lr_scale == pytest.approx(1e-3)
    assert probe.config.augment == main.config.augment == config.augment
    assert (fixres.config.augment.policy, fixres.config.augment.mixup) == ("none", 0.0)


def test_the_rates_of_probe_and_fixres_can_be_given(make_config: MakeConfig) -> None:
    train = {"epochs": 10, "probe": {"epochs": 2, "lr": 0.3}, "fixres": {"epochs": 3, "lr": 1e-4}, "head_lr_scale": 9.0}
    probe, _, fixres = (phase.config.train for phase in phases_of(make_config(train=train), num_stages=6))
    assert (probe.lr * probe.head_lr_scale, fixres.lr * fixres.head_lr_scale) == (0.3, 1e-4)


@pytest.mark.parametrize(("image_size", "grown"), [(224, 288), (128, 160), (32, 32), (384, 480)])
def test_fixres_takes_nine_sevenths_of_the_image_size(make_config: MakeConfig, image_size: int, grown: int) -> None:
    config = make_config(train={"fixres": {"epochs": 1}})
    data = config.data.model_copy(update={"image_size": image_size, "store_size": None})
    config = config.model_copy(update={"data": data})
    fixres = phases_of(config, num_stages=6)[-1]
    assert fixres.config.data.image_size == grown
    assert stored_data(config).stored_short_side == -(-grown * 8 // 7)


def test_a_probe_moves_the_head_alone_and_training_the_rest(
    make_config: MakeConfig, runtime: Runtime, tmp_path: Path
) -> None:
    config = make_config(backbone="test_efficientnet", train=PROBE)
    first, second, third, last = models(config, tmp_path, runtime)
    assert moved(first, second) == {"classifier.weight", "classifier.bias"}
    assert {"conv_stem.weight", "bn1.running_mean", "classifier.weight"} <= moved(second, third)
    assert moved(third, last) == moved(second, third)


def test_fixres_moves_classifier_and_last_norm_alone_at_its_image_size(
    make_config: MakeConfig, runtime: Runtime, tmp_path: Path
) -> None:
    config = make_config(backbone="test_efficientnet", train=FIXRES)
    _, second, third, _ = models(config, tmp_path, runtime)
    expected = {"classifier.weight", "classifier.bias"}
    expected |= {f"bn2.{name}" for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")}
    assert moved(second, third) == expected


def test_the_kept_weights_say_which_image_size_and_classes_they_are_for(
    make_config: MakeConfig, runtime: Runtime, tmp_path: Path
) -> None:
    config = make_config(train={"epochs": 2, "fixres": {"epochs": 1, "image_size": 48}, "lr": 1e-9, "min_lr": 0.0})
    history = list(run_trial(config, TrialPaths(tmp_path), runtime=runtime))
    best = max(history, key=lambda metrics: metrics.top1).epoch
    with safe_open(TrialPaths(tmp_path).best, "pt") as kept:
        assert kept.metadata()["image_size"] == {1: "32", 2: "48"}[best]
        assert kept.metadata()["classes"] == '["digit 0", "digit 1", "digit 2", "digit 3"]'


@pytest.mark.parametrize("backbone", ["test_efficientnet", "test_vit"])  # a vit's position embedding is resized
def test_stop_and_resume_within_and_between_phases_equal_an_uninterrupted_run(
    backbone: str, make_config: MakeConfig, runtime: Runtime, tmp_path: Path
) -> None:
    config = make_config(backbone=backbone, train=ALL)
    whole = models(config, tmp_path / "whole", runtime)
    paths = TrialPaths(tmp_path / "stopped")
    for epoch, expected in enumerate(whole, start=1):  # stopped after every epoch
        attempt = run_trial(config, paths, runtime=runtime)
        while next(attempt).epoch < epoch:  # what the checkpoint knows is told again
            pass
        attempt.close()
        assert moved(expected, torch.load(paths.checkpoint, weights_only=True)["model"]) == set()


@pytest.mark.parametrize("tune", ["norm_bias", "lora"])
@pytest.mark.parametrize("backbone", ["test_efficientnet", "test_vit"])
def test_parameter_efficient_tuning_learns_and_keeps_plain_weights(
    backbone: str, tune: str, make_config: MakeConfig, runtime: Runtime, tmp_path: Path
) -> None:
    train = {"epochs": 12, "tune": tune, "lora_rank": 2, "lr": 2e-2, "weight_decay": 0.0, "ema_decay": 0.5}
    full = make_config(backbone=backbone, train={"epochs": 1})
    list(run_trial(full, TrialPaths(tmp_path / "full"), runtime=runtime))
    history = list(run_trial(make_config(backbone=backbone, train=train), TrialPaths(tmp_path / tune), runtime=runtime))
    assert history[-1].train_loss < 0.97 * history[0].train_loss
    kept, plain = (load_file(tmp_path / root / "best.safetensors") for root in (tune, "full"))
    assert {name: tensor.shape for name, tensor in kept.items()} == {n: tensor.shape for n, tensor in plain.items()}


def test_stop_and_resume_of_low_rank_updates_equal_an_uninterrupted_run(
    make_config: MakeConfig, runtime: Runtime, tmp_path: Path
) -> None:
    config = make_config(backbone="test_vit", train=ALL | {"tune": "lora", "epochs": 6})
    whole = models(config, tmp_path / "whole", runtime)
    stopped = run_trial(config, TrialPaths(tmp_path / "stopped"), runtime=runtime)
    for _ in range(3):
        next(stopped)
    stopped.close()
    resumed = models(config, tmp_path / "stopped", runtime)
    assert moved(whole[-1], resumed[-1]) == set()
