from __future__ import annotations

import re
from typing import Any

import pytest
import timm
import torch
from torch import nn

from sweeper.backbones.stages import Stage, find_stages
from sweeper.errors import BackboneError

CUTS: dict[str, dict[str, tuple[str, ...]]] = {
    "davit_tiny": {
        "stem": ("stem",),
        "stage1": ("stages.0",),
        "stage2": ("stages.1",),
        "stage3": ("stages.2",),
        "stage4": ("stages.3", "head.norm"),
        "head": ("head.fc",),
    },
    "maxvit_tiny_rw_224": {
        "stem": ("stem",),
        "stage1": ("stages.0",),
        "stage2": ("stages.1",),
        "stage3": ("stages.2",),
        "stage4": ("stages.3", "norm"),
        "head": ("head.fc",),
    },
    "tf_efficientnet_lite0": {
        "stem": ("conv_stem", "bn1", "blocks.0"),
        "stage1": ("blocks.1",),
        "stage2": ("blocks.2",),
        "stage3": ("blocks.3", "blocks.4"),
        "stage4": ("blocks.5", "blocks.6", "conv_head", "bn2"),
        "head": ("classifier",),
    },
    "vit_tiny_patch16_224": {
        "stem": ("cls_token", "pos_embed", "patch_embed"),
        "stage1": ("blocks.0", "blocks.1", "blocks.2"),
        "stage2": ("blocks.3", "blocks.4", "blocks.5"),
        "stage3": ("blocks.6", "blocks.7", "blocks.8"),
        "stage4": ("blocks.9", "blocks.10", "blocks.11", "norm"),
        "head": ("head",),
    },
    "convnext_atto": {
        "stem": ("stem",),
        "stage1": ("stages.0",),
        "stage2": ("stages.1",),
        "stage3": ("stages.2",),
        "stage4": ("stages.3", "head.norm"),
        "head": ("head.fc",),
    },
    "resnet18": {
        "stem": ("conv1", "bn1"),
        "stage1": ("layer1",),
        "stage2": ("layer2",),
        "stage3": ("layer3",),
        "stage4": ("layer4",),
        "head": ("fc",),
    },
    # Many blocks, cut where the output stride changes.
    "hiera_tiny_224": {
        "stem": ("pos_embed", "patch_embed"),
        "stage1": ("blocks.0",),
        "stage2": ("blocks.1", "blocks.2"),
        "stage3": tuple(f"blocks.{i}" for i in range(3, 10)),
        "stage4": ("blocks.10", "blocks.11", "head.norm"),
        "head": ("head.fc",),
    },
    # Output strides 4, 8 and 16 only: runs of equal length instead. The first two convolutions are the stem.
    "vgg11": {
        "stem": ("features.0", "features.3"),
        "stage1": ("features.6",),
        "stage2": ("features.8", "features.11"),
        "stage3": ("features.13",),
        "stage4": ("features.16", "features.18", "pre_logits"),
        "head": ("head.fc",),
    },
    # Two classifiers.
    "deit_tiny_distilled_patch16_224": {
        "stem": ("cls_token", "pos_embed", "dist_token", "patch_embed"),
        "stage1": ("blocks.0", "blocks.1", "blocks.2"),
        "stage2": ("blocks.3", "blocks.4", "blocks.5"),
        "stage3": ("blocks.6", "blocks.7", "blocks.8"),
        "stage4": ("blocks.9", "blocks.10", "blocks.11", "norm"),
        "head": ("head", "head_dist"),
    },
    # Without a matcher in timm: by the modules of its feature info.
    "caformer_s18": {
        "stem": ("stem",),
        "stage1": ("stages.0",),
        "stage2": ("stages.1",),
        "stage3": ("stages.2",),
        "stage4": ("stages.3", "head.norm", "head.fc.fc1", "head.fc.norm"),
        "head": ("head.fc.fc2",),
    },
    # With a matcher that has no coarse groups.
    "rdnet_tiny": {
        "stem": ("stem",),
        "stage1": ("dense_stages.0",),
        "stage2": tuple(f"dense_stages.{i}" for i in range(1, 5)),
        "stage3": ("dense_stages.5",),
        "stage4": ("dense_stages.6", "head.norm"),
        "head": ("head.fc",),
    },
    # Three blocks are three stages.
    "levit_128s": {
        "stem": ("stem",),
        "stage1": ("stages.0",),
        "stage2": ("stages.1",),
        "stage3": ("stages.2", "head.bn", "head_dist.bn"),
        "head": ("head.linear", "head_dist.linear"),
    },
}


def on_meta(name: str, **args: Any) -> nn.Module:
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=10, **args)
    assert isinstance(model, nn.Module)
    return model


@pytest.mark.parametrize("name", CUTS)
def test_a_network_is_cut_as_documented(name: str) -> None:
    model = on_meta(name)
    stages = find_stages(model)
    assert [stage.name for stage in stages] == list(CUTS[name])
    for stage in stages:
        inside = [f"{module}." for module in CUTS[name][stage.name]]
        expected = {key for key, _ in model.named_parameters() if f"{key}.".startswith(tuple(inside))}
        assert set(stage.parameters) == expected
        assert len(stage.parameters) == len(expected)


@pytest.mark.parametrize(("depth", "lengths"), [(1, [1]), (3, [1, 1, 1]), (5, [1, 1, 1, 2]), (6, [1, 2, 1, 2])])
def test_blocks_are_shared_out_evenly(depth: int, lengths: list[int]) -> None:
    stages = find_stages(on_meta("vit_tiny_patch16_224", depth=depth))
    blocks = [{name.split(".")[1] for name in stage.parameters if name.startswith("blocks.")} for stage in stages]
    assert [len(found) for found in blocks] == [0, *lengths, 0]


def test_stages_compare_by_value() -> None:
    assert find_stages(on_meta("test_vit")) == find_stages(on_meta("test_vit"))
    assert Stage("stem", ("a",)) != Stage("stem", ("b",))


def test_an_encoder_without_a_classifier_is_refused() -> None:
    message = "A backbone must have a classifier, but `Qwen3VitEncoder` has none; choose another one."
    with torch.device("meta"):
        encoder = timm.create_model("qwen3_vit_88m_enc")
    with pytest.raises(BackboneError, match=f"^{re.escape(message)}$"):
        find_stages(encoder)


def test_a_network_without_blocks_is_refused() -> None:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pretrained_cfg = {"classifier": "fc"}
            self.fc = nn.Linear(2, 2)

    message = "A backbone must be divided into blocks, but timm does not say how `Flat` is; choose another one."
    with pytest.raises(BackboneError, match=f"^{re.escape(message)}$"):
        find_stages(Flat())
