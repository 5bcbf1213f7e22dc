"""Backbone: a timm model that knows its stages, and so what to freeze and how fast each part learns."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import TypedDict

from torch import nn

from sweeper.backbones.stages import Stage
from sweeper.errors import BackboneError
from sweeper.spec.training import TrainSpec


class ParamGroup(TypedDict):
    """One parameter group, as every torch optimiser takes it."""

    params: list[nn.Parameter]
    stage: str
    """Name of the stage all `params` belong to."""
    lr: float
    """`train.lr * lr_scale`: right from the first step, with or without a schedule."""
    lr_scale: float
    """What a schedule multiplies its own value with; timm's convention. A timm scheduler multiplies the `lr`
    above by it once more, so give it a schedule that sets `lr` to `value * lr_scale`."""
    weight_decay: float


@dataclass(frozen=True, eq=False)
class Backbone:
    """A model with its ordered stages and the image statistics it was pretrained with.

    Example:
        backbone = build_backbone(config, num_classes=121, weights=find_weights(...))
        backbone.freeze(config.train.freeze_depth)
        optimizer = torch.optim.AdamW([dict(group) for group in backbone.param_groups(config.train)])
        backbone.train()
    """

    model: nn.Module
    """Takes float images (N, 3, image_size, image_size), gives logits (N, num_classes)."""
    name: str
    stages: tuple[Stage, ...]
    """Input first; the last is `head`."""
    num_classes: int
    image_size: int
    """Side of the square input, in pixels."""
    mean: tuple[float, ...]
    """Of each channel, in units of the 0-to-1 range."""
    std: tuple[float, ...]
    """Of each channel, in units of the 0-to-1 range."""
    crop_pct: float
    """Side of the central crop over the short side, as in the pretraining's evaluation."""

    def freeze(self, depth: int) -> None:
        """Makes the first `depth` stages keep their parameters and all others train.

        Call before `param_groups`, and `train` after it, which also keeps the frozen prefix in eval mode.

        Raises:
            BackboneError: `depth` leaves no stage to train.
        """
        check_freeze_depth(depth, [stage.name for stage in self.stages], name=self.name)
        parameters = dict(self.model.named_parameters())
        for index, stage in enumerate(self.stages):
            for name in stage.parameters:
                parameters[name].requires_grad_(index >= depth)

    def train(self) -> None:
        """Puts the model in train mode, all but its frozen part.

        A module that has parameters, all of them frozen, is put in eval mode with everything in it, so that
        its batch statistics, dropout and drop path do not move. A dropout that stands outside of every such
        module (ViT's `pos_drop`) follows the model.
        """
        self.model.train()
        for module in self.model.modules():
            trains = [parameter.requires_grad for parameter in module.parameters()]
            if trains and not any(trains):
                module.eval()

    def eval(self) -> None:
        """Puts the whole model in eval mode."""
        self.model.eval()

    @property
    def trained_share(self) -> float:
        """Trained parameters over all parameters, 0 to 1."""
        sizes = [(parameter.numel(), parameter.requires_grad) for parameter in self.model.parameters()]
        return sum(size for size, trains in sizes if trains) / sum(size for size, _ in sizes)

    def param_groups(self, train: TrainSpec) -> list[ParamGroup]:
        """Returns the trained parameters in groups of one learning rate and one weight decay.

        The scale of a stage is `layer_decay` to the power of its distance from the last stage (Bao et al.,
        BEiT, 2021, by layer; here by stage); the head's is multiplied by `head_lr_scale`. Parameters of at
        most one dimension, biases and what the model lists in `no_weight_decay()` are not decayed.
        """
        parameters = dict(self.model.named_parameters())
        lister: Callable[[], Collection[str]] = getattr(self.model, "no_weight_decay", tuple)
        listed = lister()
        groups: list[ParamGroup] = []
        for distance, stage in zip(reversed(range(len(self.stages))), self.stages, strict=True):
            trained = [name for name in stage.parameters if parameters[name].requires_grad]
            plain = [name for name in trained if _is_plain(name, parameters[name], listed)]
            decayed = [name for name in trained if name not in set(plain)]
            scale = train.layer_decay**distance * (1.0 if distance else train.head_lr_scale)
            groups += [
                ParamGroup(
                    params=[parameters[name] for name in names],
                    stage=stage.name,
                    lr=train.lr * scale,
                    lr_scale=scale,
                    weight_decay=weight_decay,
                )
                for names, weight_decay in ((decayed, train.weight_decay), (plain, 0.0))
                if names
            ]
        return groups


def check_freeze_depth(depth: int, stages: Sequence[str], *, name: str) -> None:
    """Refuses a freeze depth that leaves nothing to train.

    Raises:
        BackboneError: `depth` is not between 0 and one less than the number of stages.
    """
    if not 0 <= depth < len(stages):
        raise BackboneError(
            f"`freeze_depth` must be 0 to {len(stages) - 1} for `{name}`, whose stages are "
            f"{', '.join(stages)}, but it is `{depth}`."
        )


def _is_plain(name: str, parameter: nn.Parameter, listed: Collection[str]) -> bool:
    """Whether weight decay leaves the parameter out; timm allows patterns in `no_weight_decay()`."""
    return parameter.ndim <= 1 or name.endswith(".bias") or any(fnmatch(name, pattern) for pattern in listed)
