"""Progressive resizing: what size an epoch has, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.models import EfficientNet
from torch import nn

from sweeper.errors import BackboneError, SpecError
from sweeper.paths import TrialPaths
from sweeper.spec.data import FolderData
from sweeper.spec.trial import TrialConfig
from sweeper.trial.run import run_trial
from sweeper.trial.runtime import Runtime
from sweeper.trial.setup import check_trial

MakeConfig = Callable[..., TrialConfig]


def at_96(few_digits: Path) -> FolderData:
    return FolderData(source="folder", root=few_digits, image_size=96, store_size=32)


def sizes_seen(config: TrialConfig, root: Path, runtime: Runtime, *, epochs: int) -> list[set[tuple[bool, int]]]:
    """Runs some epochs; returns for each whether the model trained and the sides of the images it saw."""
    seen: set[tuple[bool, int]] = set()
    found = []

    def note(module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        if isinstance(module, EfficientNet):
            seen.add((module.training, inputs[0].shape[-1]))

    hook = nn.modules.module.register_module_forward_pre_hook(note)
    trial = run_trial(config, TrialPaths(root), runtime=runtime)
    try:
        for _ in range(epochs):
            next(trial)
            found.append(set(seen))
            seen.clear()
    finally:
        hook.remove()
        trial.close()
    return found


def test_images_grow_over_the_first_epochs_and_a_trial_goes_on_at_the_size_where_it_was(
    few_digits: Path, make_config: MakeConfig, runtime: Runtime, tmp_path: Path
) -> None:
    train = {"epochs": 4, "batch_size": 40, "progressive": {"epochs": 3, "image_size": 32}}
    config = make_config(data=at_96(few_digits), train=train, augment={"mixup": 0.5, "policy": "rand-m9"})
    whole = sizes_seen(config, tmp_path / "whole", runtime, epochs=4)
    # 32 px at first, 64 px more over 3 epochs in steps of 32; evaluated at 96 px all along
    assert whole == [{(True, size), (False, 96)} for size in (32, 32, 64, 96)]
    sizes_seen(config, tmp_path / "parts", runtime, epochs=2)
    assert sizes_seen(config, tmp_path / "parts", runtime, epochs=4) == [set(), set(), *whole[2:]]
    one, other = (torch.load(tmp_path / name / "last.ckpt")["model"] for name in ("whole", "parts"))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"backbone": "test_vit", "train": {"progressive": {"epochs": 2, "image_size": 32}}},
            "`progressive` needs a backbone that takes images of any size, but `test_vit` is built for one; set "
            "`progressive.epochs` to 0.",
        ),
        (
            {"train": {"progressive": {"epochs": 2, "image_size": 128}}},
            "`progressive.image_size` must be at most `data.image_size`, 96, but it is `128`.",
        ),
        (
            {"train": {"epochs": 4, "fixres": {"epochs": 2}, "progressive": {"epochs": 3, "image_size": 32}}},
            "`progressive.epochs` must leave room for `fixres`, but 3 and 2 epochs are more than the trial's 4.",
        ),
        (
            {"train": {"freeze_depth": 1, "cache_features": 1, "progressive": {"epochs": 1, "image_size": 32}}},
            "`cache_features` keeps features of one image size; set `progressive.epochs` to 0.",
        ),
    ],
)
def test_what_cannot_grow_is_refused(
    change: dict[str, Any], message: str, few_digits: Path, make_config: MakeConfig
) -> None:
    config = make_config(data=at_96(few_digits), **change)
    with pytest.raises(SpecError, match=f"^{re.escape(message)}$"):
        check_trial(config, classes=("a", "b"))


def test_every_size_on_the_way_must_suit_the_backbone(few_digits: Path, make_config: MakeConfig) -> None:
    train = {"progressive": {"epochs": 2, "image_size": 16}}
    config = make_config(backbone="vgg11", data=at_96(few_digits), train=train)
    with pytest.raises(BackboneError, match=r"^`image_size` must suit the backbone, but `vgg11` cannot take `16`"):
        check_trial(config, classes=("a", "b"))
