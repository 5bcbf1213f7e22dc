"""One training image: random resized crop, flips, policy, colour jitter, random erasing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from sweeper.data import ops
from sweeper.data.crops import Box, random_resized_box, resized
from sweeper.data.manifest import Pixels
from sweeper.data.policies import Change, Policy, policy_named
from sweeper.spec.training import AugmentSpec

_THREE_AUGMENT_JITTER: Final = 0.3  # DeiT III, table 1
_JITTERS: Final[tuple[Callable[[Pixels, float], Pixels], ...]] = (
    ops.brightness,
    ops.contrast,
    ops.saturation,
)
_ERASE_AREA: Final = (0.02, 1 / 3)
_ERASE_LOG_RATIO: Final = (math.log(0.3), math.log(1 / 0.3))


@dataclass(frozen=True, eq=False)
class Erasing:
    """A rectangle and what fills it."""

    top: int
    left: int
    noise: Pixels
    """(height, width, 3)."""


@dataclass(frozen=True, eq=False)
class Recipe:
    """All that was drawn for one image. Whoever follows it, OpenCV or batched tensors, makes the same image."""

    box: Box
    """What is cut out of the stored image and resized to a square."""
    hflip: bool
    vflip: bool
    changes: tuple[Change, ...]
    """The policy's operations and the colour jitter's, in order."""
    erasing: Erasing | None


@dataclass(frozen=True)
class Augmenter:
    """Turns a stored image into a training image, uint8 all the way; normalising comes last, on the device.

    Example::

        augment = Augmenter.of(spec.augment, image_size=224)
        square = augment(split.image(0), np.random.default_rng(0))  # (224, 224, 3)
    """

    spec: AugmentSpec
    image_size: int
    policy: Policy
    jitter: float
    """Largest relative change of brightness, contrast and saturation, after the policy."""

    @classmethod
    def of(cls, spec: AugmentSpec, *, image_size: int) -> Augmenter:
        """Returns the augmenter of an `augment:` section.

        3-Augment includes a colour jitter of 0.3; `color_jitter` above 0 replaces it.
        """
        paper = _THREE_AUGMENT_JITTER if spec.policy == "3a" else 0.0
        policy = policy_named(spec.policy, image_size=image_size)
        return cls(spec, image_size, policy, spec.color_jitter or paper)

    def __call__(self, image: Pixels, rng: np.random.Generator) -> Pixels:
        """Returns a random variant, (image_size, image_size, 3); a pure function of image and generator.

        Args:
            image: (height, width, 3), not changed.
            rng: where all the randomness comes from.
        """
        return follow(image, self.draw(*image.shape[:2], rng=rng), size=self.image_size)

    def draw(self, height: int, width: int, *, rng: np.random.Generator) -> Recipe:
        """Draws what becomes of one image of `height` x `width` pixels."""
        spec = self.spec
        box = random_resized_box(height, width, min_scale=spec.min_scale, rng=rng)
        across = spec.hflip > 0 and rng.random() < spec.hflip
        down = spec.vflip > 0 and rng.random() < spec.vflip
        changes = self.policy.draw(rng)
        if self.jitter > 0:
            changes += draw_jitter(self.jitter, rng)
        erases = spec.erase > 0 and rng.random() < spec.erase
        return Recipe(box, across, down, changes, draw_erasing(self.image_size, rng) if erases else None)


def follow(image: Pixels, recipe: Recipe, *, size: int) -> Pixels:
    """Follows a recipe with OpenCV.

    Args:
        image: (height, width, 3), not changed.
        recipe: drawn for an image of this height and width.
        size: of the square to make, in pixels.

    Returns:
        The image, (size, size, 3).
    """
    square = _flip(resized(image, recipe.box, size=size), recipe)
    for change in recipe.changes:
        square = change(square)
    return square if recipe.erasing is None else _erased(square, recipe.erasing)


def draw_jitter(amount: float, rng: np.random.Generator) -> tuple[Change, ...]:
    """Draws changes of brightness, contrast and saturation, in random order, by factors in [1 - amount, 1 + amount]."""
    return tuple(
        Change(_JITTERS[one], rng.uniform(1.0 - amount, 1.0 + amount)) for one in rng.permutation(len(_JITTERS))
    )


def draw_erasing(side: int, rng: np.random.Generator) -> Erasing | None:
    """Draws a rectangle of random pixels (Zhong et al. 2017; timm's area and aspect ranges) in a square of `side`.

    The area is 2 % to a third of the image, the aspect ratio 0.3 to 1/0.3; None after ten rectangles that do
    not fit.
    """
    for _ in range(10):
        area = side * side * rng.uniform(*_ERASE_AREA)
        ratio = math.exp(rng.uniform(*_ERASE_LOG_RATIO))
        height, width = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < height < side and 0 < width < side:
            top, left = int(rng.integers(side - height + 1)), int(rng.integers(side - width + 1))
            return Erasing(top, left, rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    return None


def _erased(image: Pixels, erasing: Erasing) -> Pixels:
    height, width = erasing.noise.shape[:2]
    erased = image.copy()
    erased[erasing.top : erasing.top + height, erasing.left : erasing.left + width] = erasing.noise
    return erased


def _flip(image: Pixels, recipe: Recipe) -> Pixels:
    if not recipe.hflip and not recipe.vflip:
        return image
    flipped: Pixels = cv2.flip(image, -1 if recipe.hflip and recipe.vflip else int(recipe.hflip))
    return flipped
