"""Low-rank updates: nothing changes at first, only the updates learn, and merging gives an ordinary model."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from sweeper.backbones import Backbone, build_backbone, merged_state, restore_weights, with_lora
from sweeper.spec.trial import TrialConfig

MakeConfig = Callable[..., TrialConfig]
LORA = {"tune": "lora", "lora_rank": 2, "lora_alpha": 4.0}
BACKBONES = pytest.mark.parametrize("name", ["test_vit", "test_efficientnet"])


def scores(backbone: Backbone) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, backbone.image_size, backbone.image_size, generator=generator)
    backbone.eval()
    with torch.no_grad():
        logits: Tensor = backbone.model(images)
    return logits


def learned(config: TrialConfig) -> Backbone:
    """A backbone with updates that are no longer zero."""
    backbone = with_lora(build_backbone(config, num_classes=3, weights=None), config)
    torch.manual_seed(0)
    for name, parameter in backbone.model.named_parameters():
        if name.endswith(".0.b"):
            nn.init.normal_(parameter, std=0.1)
    return backbone


@BACKBONES
def test_an_update_changes_nothing_before_it_has_learned(name: str, make_config: MakeConfig) -> None:
    config = make_config(backbone=name, train=LORA)
    plain = scores(build_backbone(config, num_classes=3, weights=None))
    assert torch.equal(scores(with_lora(build_backbone(config, num_classes=3, weights=None), config)), plain)
    assert not torch.allclose(scores(learned(config)), plain)


@BACKBONES
def test_updates_and_head_train_and_nothing_else(name: str, make_config: MakeConfig) -> None:
    config = make_config(backbone=name, train=LORA | {"freeze_depth": 2})
    backbone = learned(config)
    backbone.freeze(2, tune="lora")
    trained = {n for n, parameter in backbone.model.named_parameters() if parameter.requires_grad}
    head = set(backbone.stages[-1].parameters)
    assert head < trained
    assert all(".parametrizations.weight.0." in name for name in trained - head)
    frozen = {name for stage in backbone.stages[:2] for name in stage.parameters}
    assert not any("parametrizations" in name for name in frozen)
    assert backbone.trained_share < 0.5


@BACKBONES
def test_the_stages_still_hold_every_parameter_once(name: str, make_config: MakeConfig) -> None:
    backbone = learned(make_config(backbone=name, train=LORA))
    staged = [name for stage in backbone.stages for name in stage.parameters]
    assert sorted(staged) == sorted(name for name, _ in backbone.model.named_parameters())


@BACKBONES
def test_merged_weights_are_those_of_an_ordinary_model_with_the_same_scores(name: str, make_config: MakeConfig) -> None:
    config = make_config(backbone=name, train=LORA)
    backbone = learned(config)
    plain = build_backbone(config, num_classes=3, weights=None)
    restore_weights(plain, merged_state(backbone.model), source="the updates")
    assert sorted(merged_state(backbone.model)) == sorted(plain.model.state_dict())
    torch.testing.assert_close(scores(plain), scores(backbone))


def test_the_seed_decides_how_updates_start(make_config: MakeConfig) -> None:
    first, again, other = (learned(make_config(train=LORA, seed=seed)).model.state_dict() for seed in (1, 1, 2))
    names = [name for name in first if name.endswith(".0.a")]
    assert names
    assert all(torch.equal(first[name], again[name]) for name in names)
    assert not any(torch.equal(first[name], other[name]) for name in names)


def test_the_update_is_alpha_over_rank_times_the_product(make_config: MakeConfig) -> None:
    backbone = learned(make_config(train=LORA | {"lora_rank": 3, "lora_alpha": 6.0}))
    state = backbone.model.state_dict()
    layer = "blocks.0.attn.qkv"
    prefix = f"{layer}.parametrizations.weight"
    expected = state[f"{prefix}.original"] + 2.0 * state[f"{prefix}.0.b"] @ state[f"{prefix}.0.a"]
    assert state[f"{prefix}.0.a"].shape[0] == 3
    torch.testing.assert_close(merged_state(backbone.model)[f"{layer}.weight"], expected)
