"""The one ordered list of stages that every backbone presents: `stem`, `stage1` .. `stage4`, `head`.

Freeze depth, layer decay and the frozen prefix are counted in these stages, so they mean the same for a
network of 12 equal blocks and for one of 7 uneven ones. The rule, which uses only what timm itself says:

1. `head` is the classifier alone (`pretrained_cfg["classifier"]`; two layers in distilled models).
2. timm's coarse groups (`model.group_matcher(coarse=True)`) are taken in order. The first is the `stem`;
   what shares the last with the classifier (a final norm, a neck) belongs to the last block; those between
   are the blocks. The few models without a matcher are grouped by the modules of their `feature_info`.
3. Blocks whose output stride is below 4 (`feature_info`: EfficientNet's `blocks.0`) belong to the `stem`.
4. Up to four blocks: each is a stage. A network with only three has no `stage4`.
5. More than four blocks: cut where the output stride changes, if that makes four stages (EfficientNet, Hiera);
   otherwise four runs of as equal length as can be (ViT: 12 blocks, three a stage).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, islice, pairwise, takewhile

from timm.models import group_parameters
from torch import nn

from sweeper.errors import BackboneError

_MOST_STAGES = 4
"""Stages between stem and head: the number of resolutions of nearly every hierarchical network."""
_STEM_STRIDE = 4
"""Blocks at a finer output stride than this are early convolutions, not a stage."""

_Block = list[str]


@dataclass(frozen=True)
class Stage:
    """A run of the network, from the input on, that is frozen and scaled as one."""

    name: str
    parameters: tuple[str, ...]
    """Names as in `model.named_parameters()`; every parameter is in exactly one stage."""


def find_stages(model: nn.Module) -> tuple[Stage, ...]:
    """Returns the stages of a timm model, input first, by the rule at the top of this module.

    Raises:
        BackboneError: the model has no classifier, or timm does not say how it is divided.
    """
    head = classifier_parameters(model)
    groups = [[name for name in group if name not in head] for group in _coarse_groups(model)]
    if len(groups) < 3:
        raise BackboneError(
            f"A backbone must be divided into blocks, but timm does not say how `{type(model).__name__}` is; "
            "choose another one."
        )
    stem, *blocks, tail = groups
    strides = _strides(model, blocks)
    early = sum(1 for _ in takewhile(lambda stride: stride < _STEM_STRIDE, strides[:-1]))
    runs = _cut(blocks[early:], strides[early:])
    parts = [[*stem, *chain(*blocks[:early])], *runs[:-1], [*runs[-1], *tail], head]
    names = ["stem", *(f"stage{number}" for number in range(1, len(runs) + 1)), "head"]
    return tuple(Stage(name, tuple(part)) for name, part in zip(names, parts, strict=True))


def classifier_parameters(model: nn.Module) -> tuple[str, ...]:
    """Returns the names of the classifier's parameters, those that another number of classes makes new.

    Raises:
        BackboneError: the model is an encoder without a classifier.
    """
    named = getattr(model, "pretrained_cfg", {}).get("classifier") or ()
    prefixes = tuple(f"{part}." for part in ((named,) if isinstance(named, str) else named))
    found = tuple(name for name, _ in model.named_parameters() if name.startswith(prefixes))
    if not found:
        raise BackboneError(
            f"A backbone must have a classifier, but `{type(model).__name__}` has none; choose another one."
        )
    return found


def _coarse_groups(model: nn.Module) -> list[_Block]:
    grouped = group_parameters(model, _matcher(model))
    return [grouped[index] for index in sorted(grouped)]


def _matcher(model: nn.Module) -> object:
    """Returns what timm's `group_parameters` takes: the model's own coarse matcher, or one by level."""
    own: Callable[..., object] | None = getattr(model, "group_matcher", None)
    if own is None:
        return _by_level(model)
    try:
        return own(coarse=True)
    except AssertionError:  # RDNet: "coarse grouping is not implemented"
        return _by_level(model)


def _by_level(model: nn.Module) -> Callable[[str], float]:
    """Groups by the modules of `feature_info`; what stands before them is the stem, after them the tail."""
    levels = [f"{level['module']}." for level in getattr(model, "feature_info", [])]
    ordinals: dict[str, float] = {}
    current = 0
    for name, _ in model.named_parameters():
        inside = next((number for number, level in enumerate(levels, start=1) if name.startswith(level)), 0)
        current = inside or current
        ordinals[name] = current if inside or current < len(levels) else math.inf
    return ordinals.__getitem__


def _strides(model: nn.Module, blocks: Sequence[_Block]) -> list[int]:
    """Returns the output stride of each block: that of the first feature level that does not end before it.

    timm's `feature_info` names, for each output stride, the module after which the features are taken. Where
    it names modules that do not exist (Twins, MViT), all blocks count as of one stride.
    """
    order = {name: position for position, (name, _) in enumerate(model.named_modules())}
    levels = [(level["module"], int(level["reduction"])) for level in getattr(model, "feature_info", [])]
    if not levels or any(module not in order for module, _ in levels):
        return [_STEM_STRIDE] * len(blocks)
    ends = [
        (max(at for name, at in order.items() if name == module or name.startswith(f"{module}.")), stride)
        for module, stride in levels
    ]
    starts = [min(order[name.rpartition(".")[0]] for name in block) for block in blocks]
    return [next((stride for end, stride in ends if end >= start), ends[-1][1]) for start in starts]


def _cut(blocks: list[_Block], strides: list[int]) -> list[_Block]:
    if len(blocks) <= _MOST_STAGES:
        return list(blocks)
    lengths = [len(list(run)) for _, run in groupby(strides)]
    if len(lengths) != _MOST_STAGES:
        ends = [len(blocks) * number // _MOST_STAGES for number in range(_MOST_STAGES + 1)]
        lengths = [end - start for start, end in pairwise(ends)]
    rest = iter(blocks)
    return [list(chain(*islice(rest, length))) for length in lengths]
