"""What every head promises on one small network of each layout of features, built as a trial builds it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from sweeper.backbones import Backbone, build_backbone, describe_backbone
from sweeper.spec.data import DigitsData
from sweeper.spec.head import HeadSpec
from sweeper.spec.training import TrainSpec
from sweeper.spec.trial import TrialConfig

NETWORKS: dict[str, dict[str, Any]] = {
    "convnext_atto": {"depths": [1, 1, 2, 1], "dims": [8, 16, 24, 32]},  # NCHW, a norm in its head
    "davit_tiny": {"depths": [1, 1, 1, 1], "embed_dims": [16, 32, 48, 64], "num_heads": [1, 2, 3, 4]},  # likewise
    "test_efficientnet": {},  # NCHW, batch norm
    "swin_tiny_patch4_window7_224": {"depths": [1, 1, 2, 1], "embed_dim": 24, "num_heads": [1, 2, 3, 4]},  # NHWC
    "vit_tiny_patch16_224": {"depth": 4, "embed_dim": 48, "num_heads": 3},  # NLC, a class token
}
HEADS = (
    HeadSpec(dropout=0.1),
    HeadSpec(type="mlp", hidden=24),
    HeadSpec(type="cosine", blocks=1, block_type="mlp"),
    HeadSpec(type="gem"),
    HeadSpec(type="covariance", channels=8),
    HeadSpec(type="seb", channels=8, blocks=1),
)


def images(count: int) -> Tensor:
    return torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def scores(backbone: Backbone) -> Tensor:
    backbone.eval()
    with torch.no_grad():
        result: Tensor = backbone.model(images(2))
    return result


def losses(backbone: Backbone, *, steps: int) -> list[float]:
    """Trains on six images and returns the loss of each step."""
    torch.manual_seed(0)  # for dropout
    backbone.train()
    groups: list[dict[str, Any]] = [dict(group) for group in backbone.param_groups(TrainSpec(lr=5e-3))]
    optimizer = torch.optim.AdamW(groups)
    batch, labels = images(6), torch.arange(6) % 3
    found = []
    for _ in range(steps):
        loss = cross_entropy(backbone.model(batch), labels)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        found.append(loss.item())
    return found


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.type)
@pytest.mark.parametrize("name", NETWORKS)
class TestHeads:
    @pytest.fixture
    def config(self, name: str, head: HeadSpec) -> TrialConfig:
        data = DigitsData(source="digits", image_size=64)
        return TrialConfig(
            backbone=name,
            weights="random",
            backbone_args=NETWORKS[name],
            data=data,
            head=head,
            train=TrainSpec(),
            seed=7,
        )

    @pytest.fixture
    def backbone(self, config: TrialConfig) -> Backbone:
        return build_backbone(config, num_classes=3, weights=None)

    def test_it_is_the_last_of_six_stages_that_hold_each_parameter_once(
        self, backbone: Backbone, config: TrialConfig
    ) -> None:
        staged = [name for stage in backbone.stages for name in stage.parameters]
        sizes = {name: parameter.numel() for name, parameter in backbone.model.named_parameters()}
        assert sorted(staged) == sorted(sizes)
        assert backbone.stages[-1].parameters == tuple(name for name in sizes if not name.startswith("encoder."))
        described = describe_backbone(config, num_classes=3).stages
        assert [(stage.name, stage.parameters) for stage in described] == [
            (stage.name, sum(sizes[name] for name in stage.parameters)) for stage in backbone.stages
        ]

    def test_it_learns_alone_on_a_frozen_encoder(self, backbone: Backbone) -> None:
        backbone.freeze(5)
        before = {name: tensor.clone() for name, tensor in backbone.model.state_dict().items()}
        found = losses(backbone, steps=8)
        assert found[-1] < found[0]
        moved = {name for name, tensor in backbone.model.state_dict().items() if not torch.equal(before[name], tensor)}
        assert set(backbone.stages[-1].parameters) <= moved
        assert not any(name.startswith("encoder.") for name in moved)

    def test_its_start_is_decided_by_the_seed(self, backbone: Backbone, config: TrialConfig) -> None:
        again = build_backbone(config, num_classes=3, weights=None)
        other = build_backbone(config.model_copy(update={"seed": 8}), num_classes=3, weights=None)
        assert torch.equal(scores(again), scores(backbone))
        assert not torch.equal(scores(other), scores(backbone))

    def test_its_state_round_trips(self, backbone: Backbone, config: TrialConfig) -> None:
        losses(backbone, steps=2)
        other = build_backbone(config.model_copy(update={"seed": 8}), num_classes=3, weights=None)
        other.model.load_state_dict(backbone.model.state_dict())
        assert torch.equal(scores(other), scores(backbone))
