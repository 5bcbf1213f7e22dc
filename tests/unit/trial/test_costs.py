"""What running a model takes: its size and its latency, however it was tuned."""

from __future__ import annotations

import torch

from sweeper.backbones import Backbone, build_backbone, with_lora
from sweeper.spec import TrialConfig
from sweeper.trial.costs import measure_costs
from sweeper.trial.device import find_machine

CPU = find_machine("cpu", precision="fp32")


def make(image_size: int, tune: str = "all") -> Backbone:
    fields = {
        "backbone": "test_vit", "weights": "random", "train": {"tune": tune, "lora_rank": 4},
        "data": {"source": "digits", "image_size": image_size},
    }  # fmt: skip
    config = TrialConfig.model_validate(fields)
    backbone = build_backbone(config, num_classes=10, weights=None)
    return with_lora(backbone, config) if tune == "lora" else backbone


def test_a_larger_image_takes_longer_and_the_model_is_as_large() -> None:
    small, large = measure_costs(make(32), CPU), measure_costs(make(320), CPU)
    assert large.latency_ms > 1.5 * small.latency_ms > 0.0
    assert small.parameters == sum(p.numel() for p in make(32).model.parameters())


def test_low_rank_updates_count_as_merged() -> None:
    assert measure_costs(make(32, "lora"), CPU).parameters == measure_costs(make(32), CPU).parameters


def test_measuring_leaves_the_model_and_the_random_numbers_as_they_were() -> None:
    backbone = make(32)
    before, state = {k: v.clone() for k, v in backbone.model.state_dict().items()}, torch.get_rng_state()
    measure_costs(backbone, CPU)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in backbone.model.state_dict().items())
