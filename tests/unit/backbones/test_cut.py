"""A model cut behind its frozen stages gives what the whole gives, forward and backward."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from sweeper.backbones import build_backbone
from sweeper.backbones.cut import cut
from sweeper.backbones.heads import attach_head
from sweeper.backbones.stages import find_stages
from sweeper.errors import BackboneError
from sweeper.spec.head import HeadSpec
from sweeper.spec.trial import TrialConfig

TINY_NAT = {"depths": (1, 2, 1, 1), "embed_dim": 16, "num_heads": (1, 2, 4, 8), "kernel_size": 3}
TINY_SWIN = {"depths": [1] * 4, "embed_dim": 24, "num_heads": [1, 2, 2, 4], "img_size": 64, "window_size": 2}
TINY_META = {"img_size": 64, "conv_dims": (8, 8, 16), "attn_dims": (16, 32), "depths": (1, 1, 2, 1), "num_heads": 2}
IMAGES_NEEDED = "what follows its frozen stages needs the images themselves"
MODELS: dict[str, dict[str, Any]] = {
    "test_efficientnet": {},
    "resnet18": {"layers": [1, 1, 1, 1], "channels": (8, 16, 24, 32)},
    "test_vit": {"img_size": 64},
    "convnext_atto": {"depths": [1, 1, 2, 1], "dims": [8, 16, 24, 32]},
    "davit_tiny": {"depths": [1, 1, 1, 1], "embed_dims": [16, 32, 48, 64], "num_heads": [1, 2, 3, 4]},
    "maxvit_tiny_rw_224": {"depths": [1] * 4, "embed_dim": [32, 32, 64, 64], "stem_width": 16, "img_size": 64},
    "swin_tiny_patch4_window7_224": TINY_SWIN,
    "nat_mini": TINY_NAT,
    "dinat_s_tiny": TINY_NAT,
    "metafg_meta_0": TINY_META,
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """These networks are too small to share: several threads take longer."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
    assert not {parameter for parameter, _ in halves.rest.named_parameters()} & frozen  # nothing is computed again
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


@pytest.mark.parametrize("name", MODELS)
def test_of_a_linear_probe_one_vector_an_image_is_kept(name: str) -> None:
    model = made(name)
    halves = cut(model, frozen_of(model, 5))
    with torch.no_grad():
        features = halves.prefix(torch.randn(3, 3, 64, 64))
    assert [feature.ndim for feature in features] == [2]


def test_sizes_and_tables_are_not_kept() -> None:
    class Tabled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
            self.angles = nn.Parameter(torch.arange(4.0))

        def forward(self, x: Tensor) -> Tensor:
            table = torch.cos(self.angles)
            features: Tensor = self.first(x) + table
            turned: Tensor = (self.second(features) * table).view(features.shape[0], 2, 2)
            return turned + features.size(0)

    model = Tabled()
    halves = cut(model, {"first.weight", "first.bias", "angles"})
    for batch in (torch.randn(3, 4), torch.randn(2, 4)):
        features = halves.prefix(batch)
        assert [feature.shape for feature in features] == [batch.shape]
        torch.testing.assert_close(halves.rest(*features), model(batch))


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


@pytest.mark.parametrize("name", ["test_efficientnet", "resnet18", "test_vit", "convnext_atto"])
def test_dropout_before_the_classifier_stays_random(name: str, make_config: Callable[..., TrialConfig]) -> None:
    given = {key: value for key, value in MODELS[name].items() if key != "img_size"}
    config = make_config(backbone=name, backbone_args=given | {"drop_rate": 0.5}, image_size=64)
    backbone = build_backbone(config, num_classes=5, weights=None)
    backbone.freeze(5)
    backbone.train()
    halves = cut(backbone.model, frozen_of(backbone.model, 5))
    images = torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        features, again = halves.prefix(images), halves.prefix(images)
        assert all(torch.equal(one, other) for one, other in zip(features, again, strict=True))
        assert not torch.equal(halves.rest(*features), halves.rest(*features))


def refusal(model: str, reason: str) -> str:
    message = (
        f"`cache_features` needs a backbone that can be cut behind its frozen stages, but `{model}` cannot ({reason}); "
        "set it to 0, or choose another `freeze_depth`."
    )
    return f"^{re.escape(message)}$"


def test_a_model_that_decides_by_its_input_is_refused() -> None:
    class Deciding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            second: Tensor = self.second(x if x.sum() > 0 else -x)
            return second

    reason = "symbolically traced variables cannot be used as inputs to control flow"
    with pytest.raises(BackboneError, match=refusal("Deciding", reason)):
        cut(Deciding(), {"first.weight", "first.bias"})


def test_a_cut_in_front_of_all_is_refused() -> None:
    model = made("test_efficientnet")
    with pytest.raises(BackboneError, match=refusal("EfficientNet", IMAGES_NEEDED)):
        cut(model, ())


def test_features_that_have_no_row_for_each_image_are_refused() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(0, 1), nn.Flatten(), nn.Linear(16, 5))
    halves = cut(model, {"0.weight", "0.bias"})
    with pytest.raises(BackboneError, match=refusal("Sequential", "its frozen stages give [(8, 16)] for 2 images")):
        halves.check(torch.randn(2, 3, 4, 4))


def test_stages_that_exchange_more_than_tensors_are_refused() -> None:
    with torch.device("meta"):
        model: nn.Module = timm.create_model("pit_ti_224", num_classes=5)
        halves = cut(model, frozen_of(model, 3))
        reason = "its frozen stages give ['tuple'] for 2 images"
        with pytest.raises(BackboneError, match=refusal("PoolingVisionTransformer", reason)):
            halves.check(torch.empty(2, 3, 224, 224))
