"""Kept features: the training they give is the one without them, and they are computed once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from sweeper.backbones import build_backbone
from sweeper.errors import BackboneError, SpecError
from sweeper.paths import CachePaths, TrialPaths
from sweeper.records import EpochMetrics
from sweeper.spec.evaluation import EvalSpec
from sweeper.spec.trial import TrialConfig
from sweeper.trial.feature_store import FeatureStore, ViewManifest
from sweeper.trial.features import check_cache_features
from sweeper.trial.run import run_trial
from sweeper.trial.runtime import Runtime

MakeConfig = Callable[..., TrialConfig]
BACKBONES = pytest.mark.parametrize("backbone", ["test_efficientnet", "test_vit"])


@pytest.fixture
def runtime(runtime: Runtime, tmp_path: Path) -> Runtime:
    """A cache of the test's own, to count what is computed into it."""
    return replace(runtime, cache=CachePaths(tmp_path / "own cache"))


def run(config: TrialConfig, root: Path, runtime: Runtime) -> list[EpochMetrics]:
    return list(run_trial(config, TrialPaths(root), runtime=runtime))


def views(runtime: Runtime) -> set[str]:
    return {f"{path.parent.name}/{path.stem}" for path in runtime.cache.root.glob("features/*/*.json")}


@BACKBONES
@pytest.mark.parametrize("depth", [1, 3, 5])
def test_with_a_view_for_each_epoch_the_training_is_the_one_without(
    depth: int, backbone: str, make_config: MakeConfig, runtime: Runtime, tmp_path: Path
) -> None:
    train = {"epochs": 3, "freeze_depth": depth, "ema_decay": 0.5, "drop_path": 0.1}
    augment = {"policy": "trivial", "min_scale": 0.4, "hflip": 0.5}
    plain = run(make_config(backbone=backbone, train=train, augment=augment), tmp_path / "plain", runtime)
    kept = make_config(backbone=backbone, train=train | {"cache_features": 3}, augment=augment)
    for without, with_ in zip(plain, run(kept, tmp_path / "kept", runtime), strict=True):
        assert with_.train_loss == pytest.approx(without.train_loss, abs=1e-4)
        assert with_.val_loss == pytest.approx(without.val_loss, abs=1e-4)
    assert {name.partition("/")[2] for name in views(runtime)} == {"train-0001", "train-0002", "train-0003", "val"}


def test_a_sampler_and_views_of_test_images_go_with_kept_features(
    make_config: MakeConfig, runtime: Runtime, tmp_path: Path
) -> None:
    """Four classes of one size: a balanced sampler then shows each image once, as a kept view does."""
    train = {"epochs": 2, "freeze_depth": 2, "sampler": "balanced"}
    plain = make_config(train=train, augment={"policy": "trivial"}, eval=EvalSpec(tta="flip"))
    kept = make_config(train=train | {"cache_features": 2}, augment={"policy": "trivial"}, eval=EvalSpec(tta="flip"))
    pairs = zip(run(plain, tmp_path / "plain", runtime), run(kept, tmp_path / "kept", runtime), strict=True)
    for without, with_ in pairs:
        assert with_.train_loss == pytest.approx(without.train_loss, abs=1e-4)
        assert with_.val_loss == pytest.approx(without.val_loss, abs=1e-4)
    assert "val-flip" in {name.partition("/")[2] for name in views(runtime)}


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of all views that are computed during the test."""
    names: list[str] = []
    write = FeatureStore._write

    def counted(self: FeatureStore, name: str, batches: Iterator[Sequence[Tensor]]) -> ViewManifest:
        names.append(name)
        return write(self, name, batches)

    monkeypatch.setattr(FeatureStore, "_write", counted)
    return names


def test_views_come_round_again_and_trials_share_them(
    make_config: MakeConfig, runtime: Runtime, tmp_path: Path, computed: list[str]
) -> None:
    train = {"epochs": 4, "freeze_depth": 2, "cache_features": 2}
    run(make_config(train=train), tmp_path / "first", runtime)
    assert sorted(computed) == ["train-0001", "train-0002", "val"]
    others = {"lr": 5e-3, "layer_decay": 0.5, "batch_size": 16, "ema_decay": 0.9, "tune": "lora"}
    run(make_config(train=train | others, augment={"hide_metadata": 0.5}), tmp_path / "second", runtime)
    assert len(computed) == 3
    run(make_config(train=train | {"cache_features": 3}), tmp_path / "more", runtime)
    assert computed[3:] == ["train-0003"]


def test_whatever_acts_on_features_keeps_them_apart(
    make_config: MakeConfig, runtime: Runtime, tmp_path: Path, computed: list[str]
) -> None:
    train = {"epochs": 1, "freeze_depth": 2, "cache_features": 1}
    weights = tmp_path / "weights.safetensors"
    config = make_config(train=train)
    save_file(
        build_backbone(config.model_copy(update={"seed": 5}), num_classes=4, weights=None).model.state_dict(), weights
    )
    changes: list[dict[str, Any]] = [
        {},
        {"train": train | {"freeze_depth": 3}},
        {"train": train | {"precision": "bf16"}},
        {"augment": {"hflip": 0.5}},
        {"augment": {"batched": True}},
        {"seed": 1},
        {"weights": str(weights)},
        {"backbone_args": {"act_layer": "gelu"}},
        {"data": config.data.model_copy(update={"image_size": 64})},
    ]
    for number, change in enumerate(changes):
        run(make_config(**{"train": train} | change), tmp_path / str(number), runtime)
        assert len(computed) == 2 * (number + 1), change
    assert len({name.partition("/")[0] for name in views(runtime)}) == len(changes)


@BACKBONES
def test_stop_and_resume_equal_an_uninterrupted_run(
    backbone: str, make_config: MakeConfig, runtime: Runtime, tmp_path: Path
) -> None:
    train = {"epochs": 5, "freeze_depth": 2, "cache_features": 2, "probe": {"epochs": 2}}
    config = make_config(backbone=backbone, train=train)
    whole = run(config, tmp_path / "whole", runtime)
    stopped = run_trial(config, TrialPaths(tmp_path / "stopped"), runtime=runtime)
    next(stopped), next(stopped), next(stopped)
    stopped.close()
    resumed = run(config, tmp_path / "stopped", runtime)
    assert [metrics.train_loss for metrics in resumed] == [metrics.train_loss for metrics in whole]
    last, other = (torch.load(tmp_path / one / "last.ckpt")["model"] for one in ("whole", "stopped"))
    assert all(torch.equal(tensor, other[name]) for name, tensor in last.items())


def test_features_of_trained_weights_are_not_kept_as_those_of_the_first_ones(
    make_config: MakeConfig, runtime: Runtime, tmp_path: Path
) -> None:
    """The last phase freezes stages that were trained before it; a trial that goes on in it starts from a file."""
    train = {"epochs": 4, "freeze_depth": 1, "cache_features": 2, "fixres": {"epochs": 3, "image_size": 32}}
    config = make_config(train=train)
    stopped = run_trial(config, TrialPaths(tmp_path / "stopped"), runtime=runtime)
    next(stopped), next(stopped)
    stopped.close()
    before = views(runtime)
    resumed = run(config, tmp_path / "stopped", runtime)
    assert {name.partition("/")[0] for name in views(runtime)} == {name.partition("/")[0] for name in before}
    whole = run(config, tmp_path / "whole", replace(runtime, cache=CachePaths(tmp_path / "another cache")))
    assert [metrics.train_loss for metrics in resumed] == [metrics.train_loss for metrics in whole]


def test_only_phases_with_frozen_stages_keep_features(
    make_config: MakeConfig, runtime: Runtime, tmp_path: Path
) -> None:
    train = {"epochs": 3, "cache_features": 4, "probe": {"epochs": 2}, "freeze_depth": 0}
    run(make_config(train=train), tmp_path / "trial", runtime)
    assert {name.partition("/")[2] for name in views(runtime)} == {"train-0001", "train-0002", "val"}


@pytest.mark.parametrize(
    ("train", "augment", "message"),
    [
        ({}, {}, "`cache_features` keeps what frozen stages give, but no stage is frozen; raise `freeze_depth`."),
        (
            {"freeze_depth": 1},
            {"mixup": 0.2},
            "`cache_features` keeps features of single images; set `augment.mixup` and `cutmix` to 0.",
        ),
        (
            {"freeze_depth": 1, "teacher": "/models/teacher"},
            {},
            "A teacher needs the images, which `cache_features` leaves out; give up one of the two.",
        ),
    ],
)
def test_what_cannot_be_kept_is_refused(
    train: dict[str, object], augment: dict[str, float], message: str, make_config: MakeConfig
) -> None:
    config = make_config(train=train | {"cache_features": 2}, augment=augment)
    with pytest.raises(SpecError, match=f"^{re.escape(message)}$"):
        check_cache_features(config, num_classes=4, num_stages=6)


def test_a_backbone_that_cannot_be_cut_is_refused(make_config: MakeConfig) -> None:
    config = make_config(backbone="mvitv2_tiny", train={"freeze_depth": 2, "cache_features": 1})
    with pytest.raises(BackboneError, match=r"^`cache_features` needs a backbone that can be cut .*`MultiScaleVit`"):
        check_cache_features(config, num_classes=4, num_stages=6)


def test_mixing_in_a_phase_that_keeps_nothing_is_no_hindrance(make_config: MakeConfig) -> None:
    train = {"cache_features": 1, "fixres": {"epochs": 2, "image_size": 32}}
    check_cache_features(make_config(train=train, augment={"mixup": 0.2}), num_classes=4, num_stages=6)
