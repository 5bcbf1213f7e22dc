"""The backbone contract, kept by one small network of each family."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from sweeper.backbones import Backbone, build_backbone
from sweeper.spec.data import DigitsData
from sweeper.spec.training import TrainSpec
from sweeper.spec.trial import TrialConfig
from tests.contracts.backbone_contract import BackboneContract


@dataclass(frozen=True)
class Family:
    name: str
    args: dict[str, Any] = field(default_factory=dict)
    image_size: int = 64
    drop_path: float = 0.3


FAMILIES = (
    Family("davit_tiny", {"depths": [1, 1, 1, 1], "embed_dims": [16, 32, 48, 64], "num_heads": [1, 2, 3, 4]}),
    Family("maxvit_tiny_rw_224", {"depths": [1, 1, 1, 1], "embed_dim": [32, 32, 64, 64], "stem_width": 16}),
    Family("tf_efficientnet_lite0"),
    Family("vit_tiny_patch16_224", {"depth": 6, "embed_dim": 48, "num_heads": 3}),
    Family("convnext_atto", {"depths": [1, 1, 2, 1], "dims": [8, 16, 24, 32]}),
    Family("resnet18", {"channels": [16, 32, 48, 64]}),
    Family("nat_mini", {"depths": [1, 1, 2, 1], "embed_dim": 16, "num_heads": [1, 2, 4, 8], "kernel_size": 3}),
    Family("dinat_mini", {"depths": [1, 2, 2, 1], "embed_dim": 16, "num_heads": [1, 2, 4, 8], "kernel_size": 3}),
    Family("dinat_s_tiny", {"depths": [1, 1, 2, 1], "embed_dim": 16, "num_heads": [1, 2, 4, 8], "kernel_size": 3}),
    Family("metafg_0", {"depths": [1, 2, 2, 1], "conv_dims": [8, 8, 16], "attn_dims": [16, 32], "num_heads": 2}),
    # Two more shapes: windows fixed by the image size, and no stochastic depth.
    Family("swin_tiny_patch4_window7_224", {"depths": [1, 1, 2, 1], "embed_dim": 24, "num_heads": [1, 2, 3, 4]}),
    Family("densenet121", {"growth_rate": 4, "block_config": [2, 2, 2, 2]}, drop_path=0.0),
)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
class TestBackbones(BackboneContract):
    @pytest.fixture
    def config(self, family: Family) -> TrialConfig:
        return TrialConfig(
            backbone=family.name,
            weights="random",
            backbone_args=family.args,
            data=DigitsData(source="digits", image_size=family.image_size),
            train=TrainSpec(drop_path=family.drop_path),
            seed=7,
        )

    @pytest.fixture
    def backbone(self, config: TrialConfig) -> Backbone:
        return build_backbone(config, num_classes=5, weights=None)
