"""A frozen prefix costs no backward pass and no memory for one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sweeper.backbones import Backbone, build_backbone
from sweeper.spec.trial import TrialConfig

NAT = {"depths": [1, 1, 1, 1], "embed_dim": 16, "num_heads": [1, 2, 4, 8], "kernel_size": 3}
FAMILIES: dict[str, dict[str, Any]] = {
    "nat_mini": NAT,
    "dinat_mini": NAT,
    "davit_tiny": {"depths": [1, 1, 1, 1], "embed_dims": [16, 32, 48, 64], "num_heads": [1, 2, 3, 4]},
    "maxvit_tiny_rw_224": {"depths": [1, 1, 1, 1], "embed_dim": [32, 32, 64, 64], "stem_width": 16},
    "test_efficientnet": {},
}


def saved_bytes(backbone: Backbone) -> int:
    """What autograd keeps for the backward pass of one batch, parameters not counted."""
    parameters = {parameter.untyped_storage().data_ptr() for parameter in backbone.model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        scores = backbone.model(torch.randn(2, 3, 64, 64))
    assert scores.requires_grad
    return sum(kept.values())


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_kept_for_the_backward_pass_falls_with_every_frozen_stage(
    name: str, make_config: Callable[..., TrialConfig]
) -> None:
    config = make_config(backbone=name, backbone_args=FAMILIES[name], image_size=64)
    kept, shares = [], []
    for depth in range(6):
        backbone = build_backbone(config, num_classes=3, weights=None)
        backbone.freeze(depth)
        backbone.train()
        kept.append(saved_bytes(backbone))
        shares.append(backbone.trained_share)
    assert kept == sorted(kept, reverse=True)
    assert kept[5] < 0.02 * kept[0]
    assert shares == sorted(shares, reverse=True)


@pytest.mark.parametrize("name", FAMILIES)
def test_no_gradient_is_computed_in_frozen_stages(name: str, make_config: Callable[..., TrialConfig]) -> None:
    config = make_config(backbone=name, backbone_args=FAMILIES[name], image_size=64)
    backbone = build_backbone(config, num_classes=3, weights=None)
    backbone.freeze(3)
    backbone.train()
    torch.autograd.backward(backbone.model(torch.randn(2, 3, 64, 64)).sum())
    gradients = {name for name, parameter in backbone.model.named_parameters() if parameter.grad is not None}
    assert not gradients & {name for stage in backbone.stages[:3] for name in stage.parameters}
    assert gradients >= set(backbone.stages[-1].parameters)
