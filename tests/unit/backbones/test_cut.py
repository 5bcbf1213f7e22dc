"""A model cut behind its frozen stages gives what the whole gives, forward and backward."""

from __future__ import annotations

import re
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from sweeper.backbones.cut import cut
from sweeper.backbones.heads import attach_head
from sweeper.backbones.stages import find_stages
from sweeper.errors import BackboneError
from sweeper.spec.head import HeadSpec

TINY_NAT = {"depths": (1, 2, 1, 1), "embed_dim": 16, "num_heads": (1, 2, 4, 8), "kernel_size": 3}
TINY_SWIN = {"depths": [1] * 4, "embed_dim": 24, "num_heads": [1, 2, 2, 4], "img_size": 64, "window_size": 2}
TINY_META = {"img_size": 64, "conv_dims": (8, 8, 16), "attn_dims": (16, 32), "depths": (1, 1, 2, 1), "num_heads": 2}
MODELS: dict[str, dict[str, Any]] = {
    "test_efficientnet": {},
    "test_vit": {"img_size": 64},
    "convnext_atto": {"depths": [1, 1, 2, 1], "dims": [8, 16, 24, 32]},
    "davit_tiny": {"depths": [1, 1, 1, 1], "embed_dims": [16, 32, 48, 64], "num_heads": [1, 2, 3, 4]},
    "maxvit_tiny_rw_224": {"depths": [1] * 4, "embed_dim": [32, 32, 64, 64], "stem_width": 16, "img_size": 64},
    "swin_tiny_patch4_window7_224": TINY_SWIN,
    "nat_mini": TINY_NAT,
    "dinat_s_tiny": TINY_NAT,
    "metafg_meta_0": TINY_META,
}


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = timm.create_model(name, num_classes=5, **MODELS[name])
    return model


def frozen_of(model: nn.Module, depth: int) -> set[str]:
    return {name for stage in find_stages(model)[:depth] for name in stage.parameters}


@pytest.mark.parametrize("depth", [1, 3, 5])
@pytest.mark.parametrize("name", MODELS)
def test_the_halves_together_are_the_whole(name: str, depth: int) -> None:
    model = made(name).eval()
    frozen = frozen_of(model, depth)
    halves = cut(model, frozen)
    images = torch.randn(3, 3, 64, 64)
    for batch in (images, images[:2]):  # no size of the first batch is kept
        torch.testing.assert_close(halves.rest(*halves.prefix(batch)), model(batch), atol=1e-5, rtol=1e-5)

    trained = [parameter for parameter_name, parameter in model.named_parameters() if parameter_name not in frozen]
    with torch.no_grad():
        features = halves.prefix(images)
    found = torch.autograd.grad(halves.rest(*features).square().sum(), trained, allow_unused=True)
    expected = torch.autograd.grad(model(images).square().sum(), trained, allow_unused=True)
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


def test_the_halves_share_the_models_modules() -> None:
    model = made("convnext_atto")
    halves = cut(model, frozen_of(model, 3))
    with torch.no_grad():
        features = halves.prefix(torch.randn(2, 3, 64, 64))
        before = halves.rest(*features)
        model.get_submodule("head.fc").weight.add_(1.0)  # type: ignore[operator]
        assert not torch.equal(before, halves.rest(*features))


def test_metadata_goes_into_the_second_half() -> None:
    model = made("metafg_meta_0").eval()
    images, metadata = torch.randn(2, 3, 64, 64), torch.randn(2, 7)
    halves = cut(model, frozen_of(model, 2), metadata=True)
    torch.testing.assert_close(halves.rest(*halves.prefix(images), metadata), model(images, metadata))


def test_a_head_of_ours_can_be_cut_off() -> None:
    model = made("davit_tiny")
    headed, stages = attach_head(
        model, find_stages(model), HeadSpec(type="gem", blocks=1), num_classes=5, image_size=64
    )
    headed.eval()
    halves = cut(headed, {name for stage in stages[:-1] for name in stage.parameters})
    images = torch.randn(2, 3, 64, 64)
    features = halves.prefix(images)
    assert [tuple(feature.shape) for feature in features] == [(2, 4, 64)]
    torch.testing.assert_close(halves.rest(*features), headed(images))


def test_dropout_between_the_halves_stays_random() -> None:
    model: Any = timm.create_model("convnext_atto", num_classes=5, drop_rate=0.5, **MODELS["convnext_atto"])
    halves = cut(model, frozen_of(model, 5))
    model.train()
    features = halves.prefix(torch.randn(4, 3, 64, 64))
    assert not torch.equal(halves.rest(*features), halves.rest(*features))


def test_a_model_that_decides_by_its_input_is_refused() -> None:
    class Deciding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            second: Tensor = self.second(x if x.sum() > 0 else -x)
            return second

    message = (
        "`cache_features` needs a backbone that can be cut behind its frozen stages, but `Deciding` cannot "
        "(symbolically traced variables cannot be used as inputs to control flow); set it to 0, or choose another "
        "`freeze_depth`."
    )
    with pytest.raises(BackboneError, match=f"^{re.escape(message)}$"):
        cut(Deciding(), {"first.weight", "first.bias"})
