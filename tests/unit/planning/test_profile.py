"""What is counted on the meta device is what a real step does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sweeper.backbones import build_backbone
from sweeper.planning.profile import PhaseProfile, profile_phase
from sweeper.spec.trial import TrialConfig
from sweeper.trial.phases import Phase

NAT = {"depths": [1, 1, 1, 1], "embed_dim": 16, "num_heads": [1, 2, 4, 8], "kernel_size": 3}


def config_of(backbone: str = "test_efficientnet", *, size: int = 64, **train: Any) -> TrialConfig:
    return TrialConfig.model_validate(
        {
            "backbone": backbone,
            "backbone_args": NAT if "nat" in backbone else {},
            "data": {"source": "digits", "image_size": size},
            "train": train,
        }
    )


def profiled(*args: Any, bf16: bool = False, **train: Any) -> PhaseProfile:
    return profile_phase(Phase(1, config_of(*args, **train)), num_classes=10, bf16=bf16)


@pytest.mark.parametrize("backbone", ["tf_efficientnet_lite0", "test_vit", "nat_mini"])
def test_operations_are_those_of_the_real_network_and_the_backward_pass_has_about_twice_as_many(backbone: str) -> None:
    model = build_backbone(config_of(backbone, size=96), num_classes=10, weights=None).model
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(2, 3, 96, 96))
    profile = profiled(backbone, size=96)
    counted = counter.get_total_flops() / 2
    # torch counts no attention of its own kernel for CPUs; ours does, and a neighbourhood's products too.
    assert counted <= profile.forward.flops <= 1.3 * counted
    assert 1.6 * profile.forward.flops < profile.backward.flops < 2.4 * profile.forward.flops
    assert profile.parameters == sum(parameter.numel() for parameter in model.parameters())


def test_activations_are_what_the_real_step_keeps_for_its_backward_pass() -> None:
    backbone = build_backbone(config_of(size=96), num_classes=10, weights=None)
    backbone.train()
    weights = {one.untyped_storage().data_ptr() for one in backbone.model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        backbone.model(torch.zeros(4, 3, 96, 96)).sum()
    real = sum(storage.nbytes() for storage in kept.values()) / 4
    assert 0.9 * real < profiled(size=96).activation_bytes < 1.4 * real


def test_a_frozen_stage_keeps_nothing_costs_no_backward_pass_and_needs_no_gradient() -> None:
    free, frozen, probe = (profiled(freeze_depth=depth) for depth in (0, 2, 5))
    assert free.forward.flops == frozen.forward.flops == probe.forward.flops
    assert free.backward.flops > 1.1 * frozen.backward.flops > 10 * probe.backward.flops
    assert free.activation_bytes > 1.5 * frozen.activation_bytes > probe.activation_bytes
    assert free.trained == free.parameters > frozen.trained > probe.trained
    assert free.gradient_bytes > frozen.gradient_bytes > probe.gradient_bytes


def test_what_lies_in_memory_all_the_time_is_weights_optimiser_and_average() -> None:
    weights = 4 * profiled().parameters
    buffers = 0.05 * weights  # of batch norm
    for train, copies in (({}, 3), ({"ema_decay": 0.99}, 4), ({"optimizer": "sgd"}, 2), ({"optimizer": "lion"}, 2)):
        assert copies * weights <= profiled(**train).state_bytes <= (copies + 0.1) * weights + 2 * buffers, train


def test_bf16_halves_most_activations_and_no_weight() -> None:
    full, half = profiled("test_vit", size=160), profiled("test_vit", size=160, bf16=True)
    assert 0.4 * full.activation_bytes < half.activation_bytes < 0.9 * full.activation_bytes
    assert half.state_bytes == full.state_bytes


def test_kept_features_leave_the_frozen_stages_to_the_first_pass() -> None:
    plain, kept = profiled(freeze_depth=3), profiled(freeze_depth=3, cache_features=2)
    assert kept.prefix.flops + kept.forward.flops == pytest.approx(plain.forward.flops)
    assert kept.prefix.flops > 0
    assert kept.feature_bytes > 0
    assert plain.prefix.flops == plain.feature_bytes == 0
