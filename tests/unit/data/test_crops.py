from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import RandomResizedCrop

from sweeper.data.crops import Box, center_box, random_resized_box, resized
from sweeper.data.manifest import Pixels


@pytest.mark.parametrize(("height", "width"), [(256, 256), (256, 341), (30, 400), (300, 20), (8, 8), (1, 1)])
def test_boxes_lie_inside_and_are_drawn_as_torchvision_draws_them(height: int, width: int) -> None:
    rng = np.random.default_rng(0)
    boxes = [random_resized_box(height, width, min_scale=0.2, rng=rng) for _ in range(2000)]
    assert all(0 <= box.top <= height - box.height and 0 <= box.left <= width - box.width for box in boxes)
    assert all(box.height > 0 and box.width > 0 for box in boxes)
    torch.manual_seed(0)
    image = torch.empty(3, height, width)
    theirs = [RandomResizedCrop.get_params(image, [0.2, 1.0], [3 / 4, 4 / 3]) for _ in range(2000)]
    ours = np.array([(box.top, box.left, box.height, box.width) for box in boxes], dtype=float)
    # Five standard errors of a mean of 2,000, or nothing where torchvision always returns the same box.
    tolerance = 5 * np.std(theirs, axis=0) / np.sqrt(1000) + 1e-9
    assert np.all(np.abs(ours.mean(axis=0) - np.mean(theirs, axis=0)) <= tolerance)


def test_the_centre_box_is_a_square_in_the_middle() -> None:
    assert center_box(256, 341, share=0.875) == Box(16, 58, 224, 224)
    assert center_box(8, 20, share=1.0) == Box(0, 6, 8, 8)
    assert center_box(1, 1, share=0.2) == Box(0, 0, 1, 1)


def test_a_box_of_the_right_size_is_not_resampled(photo: Pixels) -> None:
    assert np.array_equal(resized(photo, Box(5, 6, 64, 64), size=64), photo[5:69, 6:70])


@pytest.mark.parametrize("box", [Box(0, 0, 90, 120), Box(10, 20, 60, 40), Box(7, 30, 400, 500)])
def test_resizing_agrees_with_pillow(photo: Pixels, box: Box) -> None:
    crop = photo[box.top : box.top + box.height, box.left : box.left + box.width]
    expected = np.asarray(Image.fromarray(crop).resize((100, 100), Image.Resampling.BILINEAR))
    assert np.abs(resized(photo, box, size=100).astype(int) - expected).mean() < 2.5


def test_a_large_reduction_averages_every_pixel() -> None:
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::4] = 200
    shrunk = resized(stripes, Box(0, 0, 400, 400), size=100)
    assert np.all(shrunk == 50)
    assert cv2.resize(stripes, (100, 100)).max() != 50
