"""What the tests of this folder share: a valid trial of a tiny network, and an empty hub cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from sweeper.paths import CachePaths
from sweeper.spec.trial import TrialConfig

TINY_VIT = {"depth": 4, "embed_dim": 24, "num_heads": 2}


@pytest.fixture
def make_config() -> Callable[..., TrialConfig]:
    """Returns a maker of trials of a tiny ViT at 32 pixels; any field can be given."""

    def make(*, image_size: int = 32, **fields: Any) -> TrialConfig:
        given: dict[str, Any] = {
            "backbone": "vit_tiny_patch16_224",
            "weights": "random",
            "data": {"source": "digits", "image_size": image_size},
        }
        if "backbone" not in fields:
            given["backbone_args"] = TINY_VIT
        return TrialConfig(**(given | fields))

    return make


@pytest.fixture
def cache(tmp_path: Path) -> CachePaths:
    return CachePaths(tmp_path / "cache")


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache in which nothing can be downloaded."""
    folder = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return folder
