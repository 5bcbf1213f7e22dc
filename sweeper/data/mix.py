"""Mixup and cutmix, one draw a batch: drawn where the batch is made, applied on the device."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from sweeper.spec.training import AugmentSpec


@dataclass(frozen=True, eq=False)
class Mix:
    """How the images of one batch are mixed with each other."""

    kind: Literal["mixup", "cutmix"]
    lam: float
    """Share of an image's own label in its target, 0 to 1; its partner has the rest."""
    permutation: torch.Tensor
    """(B,) int64: the partner of each image."""
    box: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Cutmix only: top, bottom, left, right of what is taken from the partner, in pixels."""


def draw_mix(spec: AugmentSpec, *, batch: int, image_size: int, rng: np.random.Generator) -> Mix | None:
    """Draws how a batch is mixed, None where it is not.

    Mixup: Zhang et al. 2017. Cutmix: Yun et al. 2019; the box is cut off at the image's border, and `lam` is
    set to the share of pixels that really stay. With both on, each batch takes one of them, as in timm.

    Args:
        spec: the Beta parameters, and the share of batches that are mixed.
        batch: number of images.
        image_size: side of the images in pixels.
        rng: where the randomness comes from.
    """
    if (spec.mixup == 0 and spec.cutmix == 0) or rng.random() >= spec.mix_prob:
        return None
    cuts = spec.cutmix > 0 and (spec.mixup == 0 or rng.random() < 0.5)
    alpha = spec.cutmix if cuts else spec.mixup
    lam = float(rng.beta(alpha, alpha))
    permutation = torch.from_numpy(rng.permutation(batch))
    if not cuts:
        return Mix("mixup", lam, permutation)
    top, bottom = _cut(lam, image_size, rng)
    left, right = _cut(lam, image_size, rng)
    kept = 1.0 - (bottom - top) * (right - left) / image_size**2
    return Mix("cutmix", kept, permutation, (top, bottom, left, right))


def _cut(lam: float, image_size: int, rng: np.random.Generator) -> tuple[int, int]:
    """Draws the box's extent along one axis: its centre is anywhere, its length sqrt(1 - lam) of the side."""
    length = int(image_size * math.sqrt(1.0 - lam))
    start = int(rng.integers(image_size)) - length // 2
    return max(0, start), min(image_size, start + length)
