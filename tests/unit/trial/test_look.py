"""A first look: a linear probe on frozen features ranks backbones without fine-tuning any."""

from __future__ import annotations

from typing import Any

import pytest

from sweeper.errors import DataError
from sweeper.paths import CachePaths
from sweeper.records import BackboneLook
from sweeper.spec import TrialConfig
from sweeper.trial.look import look_at


def look(backbone: str = "tf_efficientnet_lite0", **fields: Any) -> BackboneLook:
    base: dict[str, Any] = {"backbone": backbone, "data": {"source": "digits", "image_size": 32}, **fields}
    return look_at(TrialConfig.model_validate(base), device="cpu", threads=1, cache=CachePaths.default())


def test_pretrained_features_tell_digits_apart_better_than_random_ones() -> None:
    pretrained, random = look(weights="pretrained"), look(weights="random")
    assert pretrained.top1 > random.top1 + 0.05
    assert pretrained.images == 10 * (30 + 20)


def test_the_head_asked_for_changes_nothing() -> None:
    assert look("test_vit", weights="random").top1 == look("test_vit", weights="random", head={"type": "cosine"}).top1


def test_images_that_are_not_there_are_the_users_input() -> None:
    with pytest.raises(DataError, match="/no/photos"):
        look(data={"source": "folder", "root": "/no/photos"})
