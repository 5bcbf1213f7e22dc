"""One training image: random resized crop, flips, policy, colour jitter, random erasing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from sweeper.data import ops
from sweeper.data.crops import random_resized_box, resized
from sweeper.data.manifest import Pixels
from sweeper.data.policies import Policy, policy_named
from sweeper.spec.training import AugmentSpec

_THREE_AUGMENT_JITTER: Final = 0.3  # DeiT III, table 1
_JITTERS: Final[tuple[Callable[[Pixels, float], Pixels], ...]] = (
    ops.brightness,
    ops.contrast,
    ops.saturation,
)
_ERASE_AREA: Final = (0.02, 1 / 3)
_ERASE_LOG_RATIO: Final = (math.log(0.3), math.log(1 / 0.3))


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
        box = random_resized_box(*image.shape[:2], min_scale=self.spec.min_scale, rng=rng)
        square = _flip(resized(image, box, size=self.image_size), self.spec, rng)
        square = self.policy(square, rng)
        if self.jitter > 0:
            square = color_jitter(square, self.jitter, rng)
        if self.spec.erase > 0 and rng.random() < self.spec.erase:
            square = erase(square, rng)
        return square


def color_jitter(image: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    """Changes brightness, contrast and saturation, in random order, by factors in [1 - amount, 1 + amount]."""
    for choice in rng.permutation(len(_JITTERS)):
        image = _JITTERS[choice](image, rng.uniform(1.0 - amount, 1.0 + amount))
    return image


def erase(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Fills a random rectangle with random pixels (Zhong et al. 2017; timm's area and aspect ranges).

    The area is 2 % to a third of the image, the aspect ratio 0.3 to 1/0.3; after ten rectangles that do not
    fit the image is left whole.
    """
    height, width = image.shape[:2]
    for _ in range(10):
        area = height * width * rng.uniform(*_ERASE_AREA)
        ratio = math.exp(rng.uniform(*_ERASE_LOG_RATIO))
        box_height, box_width = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < box_height < height and 0 < box_width < width:
            top, left = int(rng.integers(height - box_height + 1)), int(rng.integers(width - box_width + 1))
            erased = image.copy()
            noise = rng.integers(0, 256, (box_height, box_width, 3), dtype=np.uint8)
            erased[top : top + box_height, left : left + box_width] = noise
            return erased
    return image


def _flip(image: Pixels, spec: AugmentSpec, rng: np.random.Generator) -> Pixels:
    across = spec.hflip > 0 and rng.random() < spec.hflip
    down = spec.vflip > 0 and rng.random() < spec.vflip
    if not across and not down:
        return image
    flipped: Pixels = cv2.flip(image, -1 if across and down else int(across))
    return flipped
