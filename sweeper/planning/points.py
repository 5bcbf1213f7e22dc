"""Points of a search space to look at beforehand: its corners, and random ones."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

from sweeper.records import ParamValue
from sweeper.spec import SweepSpec
from sweeper.spec.space import Choice, Fixed, IntUniform, LogInt, LogUniform, Parameter

_STRUCTURAL = (
    "freeze_depth", "drop_path", "optimizer", "weights", "tune", "cache_features", "teacher", "data.", "backbone_args.",
    "head.", "probe.", "fixres.", "progressive.", "train.", "augment.mixup", "augment.cutmix", "loss",
    "label_smoothing",
)  # fmt: skip
"""Parameters that can make a model impossible to build; the rest are checked by their own ranges."""
_SIZES = (
    "batch_size", "accumulate", "epochs", "freeze_depth", "tune", "lora_rank", "cache_features", "ema_decay",
    "optimizer", "precision", "teacher", "data.", "backbone_args.", "head.", "probe.epochs", "fixres.epochs",
    "fixres.image_size", "progressive.", "train.", "augment.policy",
)  # fmt: skip
"""Parameters that change what an epoch costs, or how much memory it takes."""


def corners(spec: SweepSpec, backbone: str) -> Iterator[dict[str, ParamValue]]:
    """Yields a backbone's plain settings, then those settings with one structural parameter at one end."""
    base: dict[str, ParamValue] = {"backbone": backbone}
    yield base
    for scoped in spec.parameters(backbone):
        if scoped.name.startswith(_STRUCTURAL):
            for value in scoped.parameter.ends:
                yield {**base, scoped.name: value}


def draws(spec: SweepSpec, backbone: str, *, count: int) -> Iterator[dict[str, ParamValue]]:
    """Yields random points of a backbone, always the same ones, conditions respected."""
    rng = random.Random(spec.seed)
    for _ in range(count):
        point: dict[str, ParamValue] = {"backbone": backbone}
        for scoped in spec.parameters(backbone):
            if scoped.name != "backbone" and scoped.parameter.applies(point):
                point[scoped.name] = _draw(scoped.parameter, rng)
        yield point


def size_names(spec: SweepSpec) -> tuple[str, ...]:
    """Returns the names of the searched parameters that change what an epoch costs, the backbone first."""
    names = {scoped.name for backbone in spec.backbones for scoped in spec.parameters(backbone)}
    return ("backbone", *sorted(name for name in names if name.startswith(_SIZES)))


def _draw(parameter: Parameter, rng: random.Random) -> ParamValue:
    match parameter:
        case Choice() | Fixed():
            return rng.choice(parameter.ends)
        case LogInt(bounds=(low, high)):
            return min(high, int(math.exp(rng.uniform(math.log(low), math.log(high + 1)))))
        case IntUniform(bounds=(low, high)):
            return rng.randint(low, high)
        case LogUniform(bounds=(low, high)):
            return math.exp(rng.uniform(math.log(low), math.log(high)))
        case _:
            low, high = parameter.ends
            return rng.uniform(low, high)
