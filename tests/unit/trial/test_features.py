"""Kept features: the training they give is the one without them, and they are computed once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sweeper.errors import ResourceError, SpecError
from sweeper.paths import CachePaths, TrialPaths
from sweeper.records import EpochMetrics
from sweeper.spec.trial import TrialConfig
from sweeper.trial.feature_store import FeatureStore, Rows
from sweeper.trial.features import check_cache_features
from sweeper.trial.run import Runtime, run_trial

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


def test_views_come_round_again_and_trials_share_them(
    make_config: MakeConfig, runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[str] = []
    write = FeatureStore._write

    def counted(self: FeatureStore, name: str, num_images: int, batches: Iterator[Rows]) -> None:
        computed.append(name)
        write(self, name, num_images, batches)

    monkeypatch.setattr(FeatureStore, "_write", counted)
    train = {"epochs": 4, "freeze_depth": 2, "cache_features": 2}
    run(make_config(train=train), tmp_path / "first", runtime)
    assert sorted(computed) == ["train-0001", "train-0002", "val"]
    run(make_config(train=train | {"lr": 5e-3, "layer_decay": 0.5, "batch_size": 16}), tmp_path / "second", runtime)
    assert len(computed) == 3
    run(make_config(train=train | {"freeze_depth": 3}), tmp_path / "deeper", runtime)
    assert len(computed) == 6
    run(make_config(train=train, augment={"hflip": 0.5}), tmp_path / "flipped", runtime)
    assert len(computed) == 9
    run(make_config(train=train, seed=1), tmp_path / "seeded", runtime)
    assert len(computed) == 12


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


def test_only_phases_with_frozen_stages_keep_features(
    make_config: MakeConfig, runtime: Runtime, tmp_path: Path
) -> None:
    train = {"epochs": 3, "cache_features": 4, "probe": {"epochs": 2}, "freeze_depth": 0}
    run(make_config(train=train), tmp_path / "trial", runtime)
    assert {name.partition("/")[2] for name in views(runtime)} == {"train-0001", "train-0002", "val"}


def batches(*, seed: int = 0) -> Iterator[Rows]:
    generator = torch.Generator().manual_seed(seed)
    for first in (0, 3):
        rows = torch.randn(3, 2, 4, generator=generator)
        yield np.arange(first, first + 3), (rows, rows[:, 0].bfloat16())


def test_a_store_gives_back_what_it_was_given_in_its_type(tmp_path: Path) -> None:
    features = FeatureStore(tmp_path).get("val", num_images=6, compute=batches())
    given = [torch.cat(tensors) for tensors in zip(*(tensors for _, tensors in batches()), strict=True)]
    for kept, expected in zip(features.rows(np.array([5, 0, 3])), given, strict=True):
        assert kept.dtype == expected.dtype
        assert torch.equal(kept, expected[[5, 0, 3]])


@pytest.mark.parametrize("damage", ["cut", "missing", "unfinished"])
def test_a_view_that_is_not_whole_is_computed_again(tmp_path: Path, damage: str) -> None:
    store = FeatureStore(tmp_path)
    store.get("val", num_images=6, compute=batches(seed=1))
    file = tmp_path / "val-0.npy"
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-1])
    elif damage == "missing":
        file.unlink()
    else:
        (tmp_path / "val.json").unlink()
    again = store.get("val", num_images=6, compute=batches())
    assert torch.equal(again.rows(np.arange(3))[0], next(batches())[1][0])


def test_a_view_that_is_whole_is_not_computed_again(tmp_path: Path) -> None:
    FeatureStore(tmp_path).get("val", num_images=6, compute=batches())

    def never() -> Iterator[Rows]:
        raise AssertionError
        yield

    FeatureStore(tmp_path).get("val", num_images=6, compute=never())


def test_a_disk_without_room_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 100

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
    message = (
        f"A view of the frozen stages' features needs 0.0 GiB, but `{tmp_path}` has 0.0 GiB free; freeze more stages, "
        "set `cache_features: 0`, or move `SWEEPER_CACHE`."
    )
    with pytest.raises(ResourceError, match=f"^{re.escape(message)}$"):
        FeatureStore(tmp_path).get("val", num_images=6, compute=batches())
    assert not list(tmp_path.glob("*.npy"))


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
