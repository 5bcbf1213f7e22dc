"""Where an image is cut, and how the cut becomes a square: one resize from the stored image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from sweeper.data.decode import shrunk
from sweeper.data.manifest import Pixels

_LOG_RATIOS: Final = (math.log(3 / 4), math.log(4 / 3))
_TRIES: Final = 10


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels."""

    top: int
    left: int
    height: int
    width: int


def random_resized_box(height: int, width: int, *, min_scale: float, rng: np.random.Generator) -> Box:
    """Draws the box of a random resized crop (Szegedy et al. 2015, as torchvision's `RandomResizedCrop`).

    Its area is uniform in [`min_scale`, 1] of the image's, its aspect ratio log-uniform in [3/4, 4/3]; after
    ten boxes that do not fit, the largest centred box with a ratio in that range is taken.
    """
    for _ in range(_TRIES):
        area = height * width * rng.uniform(min_scale, 1.0)
        ratio = math.exp(rng.uniform(*_LOG_RATIOS))
        box_width, box_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < box_width <= width and 0 < box_height <= height:
            top = int(rng.integers(height - box_height + 1))
            left = int(rng.integers(width - box_width + 1))
            return Box(top, left, box_height, box_width)
    box_width = min(width, max(1, round(height * math.exp(_LOG_RATIOS[1]))))
    box_height = min(height, max(1, round(width / math.exp(_LOG_RATIOS[0]))))
    return Box((height - box_height) // 2, (width - box_width) // 2, box_height, box_width)


def center_box(height: int, width: int, *, share: float) -> Box:
    """Returns the centred square whose side is `share` of the short side."""
    side = max(1, round(min(height, width) * share))
    return Box((height - side) // 2, (width - side) // 2, side, side)


def resized(image: Pixels, box: Box, *, size: int) -> Pixels:
    """Cuts `box` out and resizes it to (size, size, 3); see `shrunk` for how."""
    cut = image[box.top : box.top + box.height, box.left : box.left + box.width]
    if box.height == size and box.width == size:
        return cut
    return shrunk(cut, (size, size))
