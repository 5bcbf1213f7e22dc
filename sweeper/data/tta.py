"""Test-time augmentation: the views of a test image whose predictions are averaged."""

from __future__ import annotations

from typing import Final

from sweeper.data.augment import Recipe
from sweeper.data.crops import Box, center_box
from sweeper.spec.evaluation import Tta

VIEWS: Final[dict[Tta, int]] = {"none": 1, "flip": 2, "ten_crop": 10}
"""Views of an image, and so how much more an evaluation costs."""


def view_recipes(height: int, width: int, *, share: float, tta: Tta) -> list[Recipe]:
    """Returns what is made of a test image of `height` x `width` pixels, the plain centre crop first.

    `flip` adds its mirror image; `ten_crop` takes four corners as well, each with its mirror image (Krizhevsky et al.
    2012).

    Args:
        height: of the stored image.
        width: of the stored image.
        share: side of a crop over the short side of the image.
        tta: which views.
    """
    centre = center_box(height, width, share=share)
    side, boxes = centre.height, [centre]
    if tta == "ten_crop":
        boxes += [Box(top, left, side, side) for top in (0, height - side) for left in (0, width - side)]
    flips = (False,) if tta == "none" else (False, True)
    return [Recipe(box, hflip=flip, vflip=False, changes=(), erasing=None) for box in boxes for flip in flips]
