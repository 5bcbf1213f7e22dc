"""Backbone: a timm model that knows its stages, and so what to freeze and how fast each part learns."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Literal, TypedDict

from torch import nn

from sweeper.backbones.lora import is_update
from sweeper.backbones.stages import Stage
from sweeper.errors import BackboneError
from sweeper.spec.training import TrainSpec

Tune = Literal["all", "norm_bias", "lora"]
"""What trains of the stages that are not frozen."""


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

    @property
    def takes_metadata(self) -> bool:
        """Whether the model takes metadata (N, 7), date and place of each image, as a second argument."""
        return bool(getattr(self.model, "takes_metadata", False))

    def freeze(self, depth: int, *, tune: Tune = "all", last_norm: bool = False) -> None:
        """Makes the first `depth` stages keep their parameters and the others train as `tune` says.

        Call before `param_groups`, and `train` after it, which also keeps the frozen prefix in eval mode.

        Args:
            depth: stages that keep their parameters, counted from the input.
            tune: of the other stages, what trains: `all`, only norms and biases (`norm_bias`; Ben Zaken et
                al. 2022), or only low-rank updates (`lora`; see `with_lora`). The head always trains whole.
            last_norm: the last norm before the head trains even so.

        Raises:
            BackboneError: `depth` leaves no stage to train.
        """
        check_freeze_depth(depth, [stage.name for stage in self.stages], name=self.name)
        parameters = dict(self.model.named_parameters())
        norms = self._norms()
        *encoder, head = self.stages
        trained = {name for stage in encoder[depth:] for name in stage.parameters if _is_tuned(name, tune, norms)}
        trained |= set(head.parameters)
        if last_norm and norms:
            trained |= norms[-1].keys()
        for name, parameter in parameters.items():
            parameter.requires_grad_(name in trained)

    def _norms(self) -> list[dict[str, nn.Parameter]]:
        """Returns the named parameters of each norm before the head, in the order of the network."""
        head = set(self.stages[-1].parameters)
        found = []
        for path, module in self.model.named_modules():
            # By the name of the class, as timm has norms of its own; all of them say so.
            if "norm" in type(module).__name__.lower():
                own = {f"{path}.{name}": parameter for name, parameter in module.named_parameters(recurse=False)}
                if own and not own.keys() & head:
                    found.append(own)
        return found

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


def _is_tuned(name: str, tune: Tune, norms: Sequence[Mapping[str, nn.Parameter]]) -> bool:
    """Whether a parameter of a stage that is not frozen trains."""
    if tune == "lora":
        return is_update(name)
    if tune == "norm_bias":
        return name.endswith(".bias") or any(name in norm for norm in norms)
    return True


def _is_plain(name: str, parameter: nn.Parameter, listed: Collection[str]) -> bool:
    """Whether weight decay leaves the parameter out; timm allows patterns in `no_weight_decay()`."""
    return parameter.ndim <= 1 or name.endswith(".bias") or any(fnmatch(name, pattern) for pattern in listed)
