"""Image operations on uint8 RGB arrays, each within rounding of what Pillow and torchvision compute.

Every function takes (height, width, 3) uint8 and returns a new array of that shape.
"""

from __future__ import annotations

import math
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from sweeper.data.manifest import Pixels

FILL: Final = (128, 128, 128)
"""What a geometric operation shows from beyond the image: mid-grey, as augmentation comes before the mean is known."""

_LUMA: Final = np.array([0.299, 0.587, 0.114])  # ITU-R 601-2, as Pillow's mode L
_LEVELS: Final = np.arange(256)


def brightness(image: Pixels, factor: float) -> Pixels:
    """Blends with black: 0 is black, 1 the image."""
    changed: Pixels = cv2.convertScaleAbs(image, alpha=factor)
    return changed


def contrast(image: Pixels, factor: float) -> Pixels:
    """Blends with the mean grey level: 0 is plain grey, 1 the image."""
    mean = round(float(np.dot(cv2.mean(image)[:3], _LUMA)))
    changed: Pixels = cv2.addWeighted(image, factor, image, 0.0, (1.0 - factor) * mean)
    return changed


def saturation(image: Pixels, factor: float) -> Pixels:
    """Blends with the grey image: 0 is grey, 1 the image."""
    matrix = factor * np.eye(3) + (1.0 - factor) * _LUMA[None, :]
    changed: Pixels = cv2.transform(image, matrix)
    return changed


def grayscale(image: Pixels) -> Pixels:
    """Removes all colour."""
    changed: Pixels = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return changed


def sharpness(image: Pixels, factor: float) -> Pixels:
    """Blends with a smoothed image (3 x 3, centre weight 5): 0 is smooth, 1 the image, 2 sharpened."""
    # The smooth image is (9 box + 4 image) / 13: the blend of both is one box filter and one weighted sum.
    box = cv2.blur(image, (3, 3))
    changed: Pixels = cv2.addWeighted(image, factor + (1 - factor) * 4 / 13, box, (1 - factor) * 9 / 13, 0.0)
    return changed


def gaussian_blur(image: Pixels, sigma: float) -> Pixels:
    """Blurs with a Gaussian of `sigma` pixels."""
    changed: Pixels = cv2.GaussianBlur(image, (0, 0), sigma)
    return changed


def invert(image: Pixels) -> Pixels:
    """Turns every level into 255 minus it."""
    changed: Pixels = cv2.bitwise_not(image)
    return changed


def posterize(image: Pixels, bits: float) -> Pixels:
    """Keeps the `bits` highest bits, 1 to 8, of every level."""
    return image & np.uint8(256 - (1 << (8 - int(bits))))


def solarize(image: Pixels, threshold: float) -> Pixels:
    """Inverts the levels at or above `threshold`, 0 to 256."""
    return _lookup(image, np.where(threshold <= _LEVELS, 255 - _LEVELS, _LEVELS))


def solarize_add(image: Pixels, added: float) -> Pixels:
    """Adds `added` to the levels below 128."""
    return _lookup(image, np.where(_LEVELS < 128, np.minimum(255, _LEVELS + int(added)), _LEVELS))


def autocontrast(image: Pixels) -> Pixels:
    """Stretches each channel to the whole range."""
    table = np.empty((256, 3))
    for number, channel in enumerate(cv2.split(image)):
        low, high, *_ = cv2.minMaxLoc(channel)
        scale = 255.0 / (high - low) if high > low else 1.0
        table[:, number] = (_LEVELS - (low if high > low else 0.0)) * scale
    return _lookup(image, table)


def equalize(image: Pixels) -> Pixels:
    """Makes the levels of each channel equally frequent, rounding as Pillow's `ImageOps.equalize`."""
    table = np.empty((256, 3))
    for number in range(3):
        histogram = cv2.calcHist([image], [number], None, [256], [0, 256]).ravel().astype(np.int64)
        used = histogram[histogram > 0]
        step = int(used[:-1].sum()) // 255
        below = np.cumsum(histogram) - histogram
        table[:, number] = (below + step // 2) // step if step else _LEVELS
    return _lookup(image, table)


def shear_x(image: Pixels, factor: float) -> Pixels:
    """Moves each row sideways by `factor` times its distance from the top."""
    return _warp(image, np.array([[1.0, factor], [0.0, 1.0]]), centre=(0.0, 0.0))


def shear_y(image: Pixels, factor: float) -> Pixels:
    """Moves each column up or down by `factor` times its distance from the left."""
    return _warp(image, np.array([[1.0, 0.0], [factor, 1.0]]), centre=(0.0, 0.0))


def rotate(image: Pixels, degrees: float) -> Pixels:
    """Turns the image counter-clockwise around its centre."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    height, width = image.shape[:2]
    return _warp(image, np.array([[cos, -sin], [sin, cos]]), centre=(width / 2, height / 2))


def translate_x(image: Pixels, pixels: float) -> Pixels:
    """Moves the image left by `pixels`, rounded to whole ones, which keeps it sharp."""
    shift = max(-image.shape[1], min(image.shape[1], round(pixels)))
    moved = np.full_like(image, FILL[0])
    if shift >= 0:
        moved[:, : image.shape[1] - shift] = image[:, shift:]
    else:
        moved[:, -shift:] = image[:, :shift]
    return moved


def translate_y(image: Pixels, pixels: float) -> Pixels:
    """Moves the image up by `pixels`, rounded to whole ones, which keeps it sharp."""
    shift = max(-image.shape[0], min(image.shape[0], round(pixels)))
    moved = np.full_like(image, FILL[0])
    if shift >= 0:
        moved[: image.shape[0] - shift] = image[shift:]
    else:
        moved[-shift:] = image[:shift]
    return moved


def _lookup(image: Pixels, table: npt.NDArray[np.floating] | npt.NDArray[np.integer]) -> Pixels:
    """Replaces each level by the table's entry: (256,) for all channels or (256, 3)."""
    levels = np.clip(table, 0, 255).astype(np.uint8)
    changed: Pixels = cv2.LUT(image, levels if levels.ndim == 1 else levels[None])
    return changed


def _warp(image: Pixels, linear: npt.NDArray[np.float64], *, centre: tuple[float, float]) -> Pixels:
    """Looks up each output point at `linear` times its offset from `centre`, bilinearly.

    Points are measured from the image's corner, so a pixel's own middle lies at (x + 0.5, y + 0.5), as in
    Pillow; OpenCV counts from the middle of the first pixel.
    """
    middle = np.array(centre)
    offset = middle + linear @ (0.5 - middle) - 0.5
    height, width = image.shape[:2]
    warped: Pixels = cv2.warpAffine(
        image,
        np.column_stack([linear, offset]),
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=FILL,
    )
    return warped
