from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch

from sweeper.backbones import build_backbone
from sweeper.errors import SpecError
from sweeper.spec.trial import TrialConfig
from sweeper.trial.optimizer import OPTIMIZERS, create_optimizer

MakeConfig = Callable[..., TrialConfig]


@pytest.mark.parametrize("name", ["adamw", "sgd", "lion", "lamb", "muon"])
def test_an_optimizer_is_created_by_its_name_and_moves_only_what_trains(name: str, make_config: MakeConfig) -> None:
    config = make_config(backbone="test_vit", train={"optimizer": name, "freeze_depth": 1, "lr": 0.1})
    backbone = build_backbone(config, num_classes=4, weights=None)
    backbone.freeze(1)
    optimizer = create_optimizer(backbone, config.train)
    before = {key: tensor.clone() for key, tensor in backbone.model.named_parameters()}
    backbone.model(torch.randn(2, 3, 32, 32)).square().sum().backward()
    optimizer.step()
    moved = {key for key, tensor in backbone.model.named_parameters() if not torch.equal(tensor, before[key])}
    assert moved
    assert moved.isdisjoint(backbone.stages[0].parameters)


def test_only_matrices_are_decayed(make_config: MakeConfig) -> None:
    config = make_config(backbone="test_vit", train={"weight_decay": 0.3})
    backbone = build_backbone(config, num_classes=4, weights=None)
    groups = create_optimizer(backbone, config.train).param_groups
    assert {group["weight_decay"] for group in groups} == {0.0, 0.3}
    assert all(p.ndim > 1 for group in groups if group["weight_decay"] for p in group["params"])


@pytest.mark.parametrize(
    ("name", "rest"),
    [
        ("adamww", "; did you mean `adamw` or `radamw` or `nadamw`?"),
        ("???", "; `adamw`, `sgd`, `lion` and `lamb` are some."),
    ],
)
def test_an_unknown_optimizer_is_refused_with_the_nearest_names(name: str, rest: str, make_config: MakeConfig) -> None:
    config = make_config(backbone="test_vit", train={"optimizer": name})
    backbone = build_backbone(config, num_classes=4, weights=None)
    message = f"An optimizer must be one that timm knows, but is `{name}`{rest}"
    with pytest.raises(SpecError, match=f"^{re.escape(message)}$"):
        create_optimizer(backbone, config.train)


def test_optimizers_that_need_a_package_of_their_own_are_not_offered() -> None:
    assert "adamw" in OPTIMIZERS
    assert not {"bnbadam", "fusedadam", "adahessian"} & set(OPTIMIZERS)
