"""What every backbone promises, whatever its architecture. A subclass gives the `config` and `backbone` fixtures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from sweeper.backbones import Backbone, build_backbone
from sweeper.spec.training import TrainSpec
from sweeper.spec.trial import TrialConfig

STAGES = ("stem", "stage1", "stage2", "stage3", "stage4", "head")


def images(backbone: Backbone, count: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, backbone.image_size, backbone.image_size, generator=generator)


def step(backbone: Backbone, optimizer: torch.optim.Optimizer) -> None:
    batch = images(backbone)
    optimizer.zero_grad()
    loss = cross_entropy(backbone.model(batch), torch.arange(len(batch)) % backbone.num_classes)
    torch.autograd.backward(loss)
    optimizer.step()


def groups(backbone: Backbone, train: TrainSpec) -> list[dict[str, Any]]:
    return [dict(group) for group in backbone.param_groups(train)]


def frozen_outputs(backbone: Backbone) -> dict[str, Tensor]:
    """What every module that is frozen as a whole gives for the same images, with the model in train mode."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
            parts = (output,) if isinstance(output, Tensor) else output
            outputs.update({f"{name}[{number}]": part.detach().clone() for number, part in enumerate(parts)})

        return hook

    hooks = [
        module.register_forward_hook(keep(name)) for name, module in backbone.model.named_modules() if is_frozen(module)
    ]
    with torch.no_grad():
        backbone.model(images(backbone))
    for hook in hooks:
        hook.remove()
    return outputs


def is_frozen(module: nn.Module) -> bool:
    trains = [parameter.requires_grad for parameter in module.parameters()]
    return bool(trains) and not any(trains)


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


class BackboneContract:
    def test_it_presents_the_six_stages_in_order(self, backbone: Backbone) -> None:
        assert tuple(stage.name for stage in backbone.stages) == STAGES
        assert all(stage.parameters for stage in backbone.stages)

    def test_every_parameter_is_in_exactly_one_stage(self, backbone: Backbone) -> None:
        staged = [name for stage in backbone.stages for name in stage.parameters]
        assert sorted(staged) == sorted(name for name, _ in backbone.model.named_parameters())

    def test_the_head_is_the_classifier_alone(self, backbone: Backbone) -> None:
        parameters = dict(backbone.model.named_parameters())
        shapes = [tuple(parameters[name].shape) for name in backbone.stages[-1].parameters]
        assert [shape[0] for shape in shapes] == [backbone.num_classes] * 2

    def test_it_scores_every_class_of_every_image(self, backbone: Backbone) -> None:
        backbone.eval()
        scores = backbone.model(images(backbone, count=2))
        assert scores.shape == (2, backbone.num_classes)
        assert torch.isfinite(scores).all()

    @pytest.mark.parametrize("depth", range(6))
    def test_steps_move_what_is_not_frozen_and_nothing_else(self, backbone: Backbone, depth: int) -> None:
        torch.manual_seed(0)  # for drop path
        backbone.freeze(depth)
        backbone.train()
        optimizer = torch.optim.AdamW(groups(backbone, TrainSpec(lr=1e-2)))
        before, prefix = snapshot(backbone.model), frozen_outputs(backbone)
        for _ in range(2):  # a residual branch that starts at zero lets no gradient through in the first step
            step(backbone, optimizer)
        after = snapshot(backbone.model)

        moved = {name for name in before if not torch.equal(before[name], after[name])}
        trained = {name for stage in backbone.stages[depth:] for name in stage.parameters}
        assert sorted(moved & dict(backbone.model.named_parameters()).keys()) == sorted(trained)
        statistics = {
            f"{name}.{buffer}"
            for name, module in backbone.model.named_modules()
            for buffer, _ in module.named_buffers(recurse=False)
            if buffer.startswith(("running_", "num_batches")) and not is_frozen(module)
        }
        assert moved - trained == statistics
        assert bool(prefix) == (depth > 0)
        assert all(torch.equal(output, prefix[name]) for name, output in frozen_outputs(backbone).items())

    def test_a_smaller_depth_thaws_again(self, backbone: Backbone) -> None:
        backbone.freeze(5)
        assert 0.0 < backbone.trained_share < 0.1
        backbone.freeze(0)
        backbone.train()
        assert backbone.trained_share == 1.0
        assert all(module.training for module in backbone.model.modules())

    def test_the_rates_used_in_the_first_step_decay_from_the_head_down(self, backbone: Backbone) -> None:
        train = TrainSpec(lr=0.5, layer_decay=0.5, head_lr_scale=3.0, weight_decay=0.0)
        backbone.train()
        optimizer = torch.optim.SGD(groups(backbone, train))
        before = snapshot(backbone.model)
        step(backbone, optimizer)
        parameters = dict(backbone.model.named_parameters())
        for stage, scale in zip(backbone.stages, (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 3.0), strict=True):
            for name in stage.parameters:
                gradient = parameters[name].grad
                assert gradient is not None
                expected = before[name] - 0.5 * scale * gradient
                torch.testing.assert_close(parameters[name].detach(), expected, rtol=1e-5, atol=1e-6)

    def test_a_schedule_keeps_the_ratio_of_the_rates(self, backbone: Backbone) -> None:
        train = TrainSpec(lr=1e-3, layer_decay=0.5, head_lr_scale=4.0)
        optimizer = torch.optim.AdamW(groups(backbone, train))
        assert {group["stage"]: group["lr"] for group in optimizer.param_groups} == pytest.approx(
            dict(zip(STAGES, (1e-3 / 32, 1e-3 / 16, 1e-3 / 8, 1e-3 / 4, 1e-3 / 2, 4e-3), strict=True))
        )
        for value in (1e-3, 8e-4, 2e-4):
            for group in optimizer.param_groups:
                group["lr"] = value * group["lr_scale"]
            step(backbone, optimizer)
        assert {group["stage"]: group["lr"] for group in optimizer.param_groups} == pytest.approx(
            dict(zip(STAGES, (2e-4 / 32, 2e-4 / 16, 2e-4 / 8, 2e-4 / 4, 2e-4 / 2, 8e-4), strict=True))
        )

    def test_vectors_and_scalars_are_not_decayed(self, backbone: Backbone) -> None:
        found = backbone.param_groups(TrainSpec(weight_decay=0.1))
        decayed = [parameter for group in found if group["weight_decay"] for parameter in group["params"]]
        plain = [parameter for group in found if not group["weight_decay"] for parameter in group["params"]]
        assert decayed
        assert all(parameter.ndim > 1 for parameter in decayed)
        assert len(decayed) + len(plain) == len(list(backbone.model.parameters()))

    def test_its_state_round_trips(self, backbone: Backbone, config: TrialConfig) -> None:
        other_config = config.model_copy(update={"seed": config.seed + 1})
        other = build_backbone(other_config, num_classes=backbone.num_classes, weights=None)
        backbone.eval()
        other.eval()
        batch = images(backbone, count=2)
        with torch.no_grad():
            assert not torch.equal(other.model(batch), backbone.model(batch))
            other.model.load_state_dict(backbone.model.state_dict())
            assert torch.equal(other.model(batch), backbone.model(batch))

    def test_weights_of_other_classes_load_with_a_new_head_that_the_seed_decides(
        self, backbone: Backbone, config: TrialConfig, tmp_path: Path
    ) -> None:
        file = tmp_path / "model.safetensors"
        save_file({name: tensor.contiguous() for name, tensor in backbone.model.state_dict().items()}, file)
        state = torch.get_rng_state()
        first, again, other = (
            build_backbone(config.model_copy(update={"seed": seed}), num_classes=9, weights=file).model.state_dict()
            for seed in (3, 3, 4)
        )
        assert torch.equal(torch.get_rng_state(), state)
        head = set(backbone.stages[-1].parameters)
        body = first.keys() - head
        assert all(torch.equal(first[name], backbone.model.state_dict()[name]) for name in body)
        assert all(torch.equal(first[name], again[name]) for name in first)
        assert all(torch.equal(first[name], other[name]) for name in body)
        assert not all(torch.equal(first[name], other[name]) for name in head)
