"""A frozen prefix costs no backward pass and no memory for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

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


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """These networks are too small to share: several threads take longer."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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


def passed_backward(backbone: Backbone) -> set[str]:
    """The parameters of all layers whose output a backward pass of one batch comes through."""
    reached: set[str] = set()

    def watch(layer: str, module: nn.Module) -> None:
        own = {f"{layer}.{name}" for name, _ in module.named_parameters(recurse=False)}

        def forward(_: nn.Module, __: object, output: Tensor) -> None:
            if output.requires_grad:
                output.register_hook(lambda _: reached.update(own))  # type: ignore[no-untyped-call]

        module.register_forward_hook(forward)

    for layer, module in backbone.model.named_modules():
        if any(True for _ in module.parameters(recurse=False)):
            watch(layer, module)
    torch.autograd.backward(backbone.model(torch.randn(2, 3, 64, 64)).sum())
    return reached


@pytest.mark.parametrize("name", FAMILIES)
def test_no_backward_pass_goes_through_frozen_stages(name: str, make_config: Callable[..., TrialConfig]) -> None:
    config = make_config(backbone=name, backbone_args=FAMILIES[name], image_size=64)
    backbone = build_backbone(config, num_classes=3, weights=None)
    backbone.train()
    frozen = {name for stage in backbone.stages[:3] for name in stage.parameters}
    assert passed_backward(backbone) & frozen
    backbone.freeze(3)
    backbone.train()
    reached = passed_backward(backbone)
    assert not reached & frozen
    assert reached >= set(backbone.stages[-1].parameters)
