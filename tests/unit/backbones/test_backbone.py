from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from torch import nn

from sweeper.backbones import Backbone, build_backbone
from sweeper.errors import BackboneError
from sweeper.spec.training import TrainSpec
from sweeper.spec.trial import TrialConfig


@pytest.fixture
def backbone(make_config: Callable[..., TrialConfig]) -> Backbone:
    return build_backbone(make_config(), num_classes=3, weights=None)


@pytest.mark.parametrize("depth", [6, -1])
def test_a_freeze_depth_without_a_stage_to_train_is_refused(backbone: Backbone, depth: int) -> None:
    message = (
        "`freeze_depth` must be 0 to 5 for `vit_tiny_patch16_224.augreg_in21k_ft_in1k`, whose stages are stem, "
        f"stage1, stage2, stage3, stage4, head, but it is `{depth}`."
    )
    with pytest.raises(BackboneError, match=f"^{re.escape(message)}$"):
        backbone.freeze(depth)


def test_the_trained_share_counts_parameters(backbone: Backbone) -> None:
    assert backbone.trained_share == 1.0
    backbone.freeze(5)
    head = 24 * 3 + 3
    total = sum(parameter.numel() for parameter in backbone.model.parameters())
    assert backbone.trained_share == head / total


def test_frozen_parameters_are_in_no_group(backbone: Backbone) -> None:
    backbone.freeze(4)
    groups = backbone.param_groups(TrainSpec())
    assert [group["stage"] for group in groups] == ["stage4", "stage4", "head", "head"]
    assert all(parameter.requires_grad for group in groups for parameter in group["params"])


def test_what_the_model_lists_is_not_decayed(backbone: Backbone) -> None:
    groups = backbone.param_groups(TrainSpec(weight_decay=0.1))
    plain = {id(parameter) for group in groups if group["weight_decay"] == 0.0 for parameter in group["params"]}
    parameters = dict(backbone.model.named_parameters())
    assert parameters["pos_embed"].ndim == 3
    assert id(parameters["pos_embed"]) in plain
    assert id(parameters["blocks.0.attn.qkv.bias"]) in plain
    assert id(parameters["blocks.0.attn.qkv.weight"]) not in plain


def test_the_last_stage_trains_at_the_given_rate(backbone: Backbone) -> None:
    rates = {group["stage"]: group["lr"] for group in backbone.param_groups(TrainSpec(lr=1e-3, layer_decay=0.9))}
    assert rates["head"] == 1e-3
    assert rates["stage4"] == pytest.approx(9e-4)
    assert rates["stem"] == pytest.approx(1e-3 * 0.9**5)


def test_dropout_in_a_frozen_block_rests_and_in_a_trained_one_works(
    make_config: Callable[..., TrialConfig],
) -> None:
    config = make_config(
        backbone_args={"depth": 4, "embed_dim": 24, "num_heads": 2, "proj_drop_rate": 0.5},
        train={"drop_path": 0.5},
    )
    backbone = build_backbone(config, num_classes=3, weights=None)
    backbone.freeze(3)  # stem, and the first two of four blocks
    backbone.train()
    training = {name: module.training for name, module in backbone.model.named_modules()}
    assert not any(training[f"blocks.{i}.{part}"] for i in (0, 1) for part in ("mlp.drop1", "drop_path1", "attn"))
    assert all(training[f"blocks.{i}.{part}"] for i in (2, 3) for part in ("mlp.drop1", "drop_path1", "attn"))
    assert training[""]
    backbone.eval()
    assert not any(module.training for module in backbone.model.modules())


def test_the_frozen_prefix_keeps_nothing_for_a_backward_pass(backbone: Backbone) -> None:
    backbone.freeze(3)
    backbone.train()
    seen: dict[int, bool] = {}
    blocks = backbone.model.get_submodule("blocks")
    assert isinstance(blocks, nn.Sequential)
    for index, block in enumerate(blocks):
        block.register_forward_hook(lambda _, __, output, at=index: seen.__setitem__(at, output.requires_grad))
    backbone.model(torch.zeros(1, 3, 32, 32))
    assert seen == {0: False, 1: False, 2: True, 3: True}


def trained(backbone: Backbone) -> set[str]:
    return {name for name, parameter in backbone.model.named_parameters() if parameter.requires_grad}


def test_norms_and_biases_can_train_alone_with_the_head(backbone: Backbone) -> None:
    backbone.freeze(3, tune="norm_bias")
    assert {name for name in trained(backbone) if name.startswith("blocks.2.")} == {
        "blocks.2.norm1.weight", "blocks.2.norm1.bias", "blocks.2.attn.qkv.bias", "blocks.2.attn.proj.bias",
        "blocks.2.norm2.weight", "blocks.2.norm2.bias", "blocks.2.mlp.fc1.bias", "blocks.2.mlp.fc2.bias",
    }  # fmt: skip
    assert not any(
        name.startswith(("blocks.0.", "blocks.1.", "patch_embed", "pos_embed")) for name in trained(backbone)
    )
    assert {"norm.weight", "head.weight", "head.bias"} < trained(backbone)


@pytest.mark.parametrize(
    ("name", "norm"), [("vit_tiny_patch16_224", "norm"), ("resnet18", "layer4.1.bn2"), ("convnext_atto", "head.norm")]
)
def test_the_last_norm_can_train_with_the_classifier(
    name: str, norm: str, make_config: Callable[..., TrialConfig]
) -> None:
    backbone = build_backbone(make_config(backbone=name, image_size=64), num_classes=3, weights=None)
    backbone.freeze(5, last_norm=True)
    assert trained(backbone) == {f"{norm}.weight", f"{norm}.bias", *backbone.stages[-1].parameters}
    backbone.train()
    assert backbone.model.get_submodule(norm).training
