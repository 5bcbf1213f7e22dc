"""LoRA: the weights of linear and convolutional layers stay, and a low-rank update of each is learned.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2022. The update is a parametrisation of the
weight, so any model runs unchanged, and merging it in gives back an ordinary model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from torch import Tensor, nn
from torch.nn.utils import parametrize

from sweeper.backbones.stages import Stage

_KEPT: Final = "parametrizations.weight.original"
_UPDATE: Final = "parametrizations.weight.0."


class LowRank(nn.Module):
    """Adds `alpha / rank * b @ a` to a weight (out, in, ...), seen as a matrix (out, in x ...)."""

    def __init__(self, weight: Tensor, *, rank: int, alpha: float) -> None:
        super().__init__()
        rows, columns = weight.shape[0], weight[0].numel()
        rank = min(rank, rows, columns)
        self.a = nn.Parameter(weight.new_empty(rank, columns))
        # Zero, so that training starts from the weight as it is.
        self.b = nn.Parameter(weight.new_zeros(rows, rank))
        self.scale = alpha / rank
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """Returns the weight with its update, in the weight's shape."""
        return weight + self.scale * (self.b @ self.a).view_as(weight)


def add_lora(model: nn.Module, stages: Sequence[Stage], *, depth: int, rank: int, alpha: float) -> tuple[Stage, ...]:
    """Gives the layers of all stages from `depth` on, the head excepted, an update that can be learned, in place.

    Layers are the linear ones and the convolutions that are not grouped: a depthwise kernel has nothing of low
    rank to add. The random half of each update is drawn from torch's global generator.

    Returns:
        The stages with the parameters' new names.
    """
    updated = {name for stage in stages[depth:-1] for name in stage.parameters}
    for path, module in list(model.named_modules()):
        if f"{path}.weight" in updated and _is_layer(module):
            update = LowRank(module.weight, rank=rank, alpha=alpha)
            # Unsafe only in that shape and type are not compared once more, which would run the sum.
            parametrize.register_parametrization(module, "weight", update, unsafe=True)
    names = [name for name, _ in model.named_parameters()]
    home = {name: stage.name for stage in stages for name in stage.parameters}
    return tuple(
        Stage(stage.name, tuple(name for name in names if home[_plain(name)] == stage.name)) for stage in stages
    )


def is_update(name: str) -> bool:
    """Whether a parameter of this name is part of an update."""
    return _UPDATE in name


def merged_state(model: nn.Module) -> dict[str, Tensor]:
    """Returns the weights and buffers of `model` with all updates merged in, under the names it had without them."""
    merged = {}
    for name, tensor in model.state_dict().items():
        if name.endswith(_KEPT):
            weight = model.get_submodule(name.removesuffix(f".{_KEPT}")).weight
            assert isinstance(weight, Tensor)  # a property that computes it, which its type does not say
            merged[_plain(name)] = weight.detach()
        elif not is_update(name):
            merged[name] = tensor
    return merged


def _is_layer(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)


def _plain(name: str) -> str:
    """Returns the name that a parameter, or the one it updates, had before `add_lora`."""
    layer, found, _ = name.partition(".parametrizations.weight.")
    return f"{layer}.weight" if found else name
