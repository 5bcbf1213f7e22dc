"""One point of a sweep becomes a Backbone, or is refused for a reason that can be acted on."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import timm
import torch
from timm.data import resolve_model_data_config
from torch import nn

from sweeper.backbones.backbone import Backbone, check_freeze_depth
from sweeper.backbones.catalog import look_up
from sweeper.backbones.heads import attach_head
from sweeper.backbones.load import load_weights
from sweeper.backbones.lora import add_lora
from sweeper.backbones.stages import Stage, find_stages
from sweeper.errors import BackboneError
from sweeper.spec.head import HeadSpec
from sweeper.spec.trial import TrialConfig

_RESERVED = {
    "num_classes": "the data decides it",
    "in_chans": "images have three channels",
    "img_size": "set `data.image_size`",
    "drop_path_rate": "set `train.drop_path`",
    "pretrained": "set `weights`",
    "pretrained_cfg": "set `weights`",
    "pretrained_cfg_overlay": "set `weights`",
    "checkpoint_path": "set `weights`",
    "cache_dir": "set `weights`",
    "features_only": "a trial needs the classifier",
}
_REFUSALS = (AssertionError, AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError, ArithmeticError)
"""What timm's constructors and forward passes raise for arguments and sizes that do not go together."""


@dataclass(frozen=True)
class StageInfo:
    """How large one stage is."""

    name: str
    parameters: int


@dataclass(frozen=True)
class BackboneInfo:
    """What is known of a backbone without building it in memory."""

    name: str
    """`architecture.tag`, the tag filled in where the user left it out."""
    parameters: int
    stages: tuple[StageInfo, ...]
    """Input first; `freeze_depth` counts these."""
    pretrained: bool
    """Whether timm knows of pretrained weights."""
    licence: str | None
    """Licence of the weights, where timm states it."""
    drop_path: bool
    """Whether the architecture has stochastic depth."""


@dataclass(frozen=True)
class _Request:
    """What of a TrialConfig decides the architecture; hashable, so that it is tried once a process."""

    name: str
    args: str
    """The `backbone_args` as JSON."""
    image_size: int
    num_classes: int
    head: HeadSpec


def describe_backbone(config: TrialConfig, *, num_classes: int) -> BackboneInfo:
    """Returns the size and the stages of the backbone a trial asks for, and refuses what cannot run.

    Builds it and passes one image through it on torch's meta device: no memory, no arithmetic, no weights.

    Raises:
        BackboneError: an unknown name, wrong `backbone_args`, an image size, a freeze depth or a drop path
            that the architecture cannot have.
    """
    info = _describe(_request(config, num_classes))
    check_freeze_depth(config.train.freeze_depth, [stage.name for stage in info.stages], name=info.name)
    if config.train.drop_path > 0.0 and not info.drop_path:
        raise BackboneError(
            f"`drop_path` must be 0 for `{info.name}`, which has no stochastic depth, but it is "
            f"`{config.train.drop_path}`."
        )
    return info


def takes_image_size(config: TrialConfig, *, num_classes: int) -> bool:
    """Whether the backbone can be built for the trial's image size; nothing is built in memory."""
    return _runs(_request(config, num_classes))


def build_backbone(config: TrialConfig, *, num_classes: int, weights: Path | None) -> Backbone:
    """Returns the backbone a trial asks for, all of it trainable, on the CPU.

    `config.seed` decides whatever `weights` does not: the new head, or all of it. The caller's random state
    stays as it was.

    Args:
        config: the trial.
        num_classes: size of the head.
        weights: the file that `find_weights` returned; None leaves the random initialisation.

    Raises:
        BackboneError: as `describe_backbone`, or the file does not fit.
    """
    info = describe_backbone(config, num_classes=num_classes)
    request = _request(config, num_classes)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        plain = _create(request, drop_path=config.train.drop_path if info.drop_path else None)
        if weights is not None:
            load_weights(plain, weights)
        data = resolve_model_data_config(plain)
        model, stages = _with_head(plain, request)
    return Backbone(
        model=model,
        name=info.name,
        stages=stages,
        num_classes=num_classes,
        image_size=config.data.image_size,
        mean=tuple(data["mean"]),
        std=tuple(data["std"]),
        crop_pct=float(data["crop_pct"]),
    )


def with_lora(backbone: Backbone, config: TrialConfig) -> Backbone:
    """Returns the backbone with low-rank updates in the stages that are not frozen; its model is changed.

    As with the head, `config.seed` decides how they start.
    """
    train = config.train
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        stages = add_lora(
            backbone.model, backbone.stages, depth=train.freeze_depth, rank=train.lora_rank, alpha=train.lora_alpha
        )
    return dataclasses.replace(backbone, stages=stages)


def _request(config: TrialConfig, num_classes: int) -> _Request:
    for key, instead in _RESERVED.items():
        if key in config.backbone_args:
            raise BackboneError(f"`backbone_args` must not set `{key}`: {instead}.")
    for key, value in config.backbone_args.items():
        # timm leaves such arguments out, whatever their name; `{depth:4}` without a blank is one too.
        if value is None:
            raise BackboneError(
                f"`backbone_args` must give each argument a value, but `{key}` has none; write `name: value`, with a "
                "blank, or leave it out."
            )
    args = json.dumps(config.backbone_args, sort_keys=True)
    return _Request(config.backbone, args, config.data.image_size, num_classes, config.head)


@lru_cache(maxsize=64)
def _describe(request: _Request) -> BackboneInfo:
    entry = look_up(request.name)
    try:
        model, stages, drop_path = _tried(request)
    except _REFUSALS as error:
        raise _explained(request, error) from error
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    return BackboneInfo(
        name=entry.name,
        parameters=sum(sizes.values()),
        stages=tuple(StageInfo(stage.name, sum(sizes[name] for name in stage.parameters)) for stage in stages),
        pretrained=entry.pretrained,
        licence=entry.licence,
        drop_path=drop_path,
    )


def _tried(request: _Request) -> tuple[nn.Module, tuple[Stage, ...], bool]:
    """Returns the model on the meta device, its stages and whether it has drop path; one image went through it."""
    with torch.device("meta"), torch.no_grad():
        drop_path = True
        try:
            model = _create(request, drop_path=0.0)
        except TypeError as error:
            # VGG, DenseNet, GhostNet and others have no such argument; the message is all that says so.
            if "drop_path_rate" not in str(error):
                raise
            drop_path = False
            model = _create(request, drop_path=None)
        model, stages = _with_head(model, request)
        scores = model.eval()(torch.empty(1, 3, request.image_size, request.image_size))
    if not isinstance(scores, torch.Tensor) or scores.shape != (1, request.num_classes):
        raise ValueError("its output is not one score a class")
    return model, stages, drop_path


def _with_head(model: nn.Module, request: _Request) -> tuple[nn.Module, tuple[Stage, ...]]:
    """Returns the model with the head asked for, and its stages."""
    stages = find_stages(model)
    if request.head.is_plain:
        return model, stages
    return attach_head(model, stages, request.head, num_classes=request.num_classes, image_size=request.image_size)


def _create(request: _Request, *, drop_path: float | None) -> nn.Module:
    # timm drops arguments that are None before it calls the constructor.
    size = request.image_size if look_up(request.name).fixed_image_size else None
    model = timm.create_model(
        request.name,
        pretrained=False,
        num_classes=request.num_classes,
        drop_path_rate=drop_path,
        img_size=size,
        **json.loads(request.args),
    )
    if not isinstance(model, nn.Module):
        raise TypeError(f"it is a `{type(model).__name__}`, not a model")
    return model


def _explained(request: _Request, error: Exception) -> BackboneError:
    """Returns the error to show: a matter of the image size if another size runs, else of the arguments."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    reason = lines[0].rstrip(".")
    sizes = [size for size in _sizes_to_offer(request) if _runs(dataclasses.replace(request, image_size=size))]
    if sizes:
        return BackboneError(
            f"`image_size` must suit the backbone, but `{request.name}` cannot take `{request.image_size}` "
            f"({reason}); it takes, among others, {' and '.join(f'`{size}`' for size in sizes)}."
        )
    return BackboneError(
        f"`backbone_args` must be arguments of the backbone, but `{request.name}` cannot be built with "
        f"`{request.args}` ({reason}); correct or remove them."
    )


def _sizes_to_offer(request: _Request) -> list[int]:
    """Returns the neighbouring multiples of 32, the output stride of most networks, and the model's own size."""
    below = request.image_size // 32 * 32
    return sorted({below, below + 32, look_up(request.name).image_size} - {0, request.image_size})


def _runs(request: _Request) -> bool:
    try:
        _tried(request)
    except _REFUSALS:
        return False
    return True
