"""The operations of `ops` for many images at once, on any device: what a GPU runs.

Every function takes images (N, 3, S, S) uint8 and an argument for each, (N,) float64, and returns images of that
shape, within one grey level of what `ops` gives (but for warps by OpenCV 4, which rounds positions to 1/32 pixel).
Nothing here makes the host wait for the device.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from sweeper.data import ops
from sweeper.data.manifest import Pixels

BatchedOp = Callable[[Tensor, Tensor], Tensor]
_FILL: Final = float(ops.FILL[0])
_WIDEST: Final = 6
"""Pixels from the centre of the widest Gaussian kernel, for a sigma of 2; OpenCV goes to 3 sigma in uint8 images."""


def _levels(values: Tensor) -> Tensor:
    """Returns all grey levels, (256,) float64, on the device of `values`."""
    return torch.arange(256, dtype=torch.float64, device=values.device)


def _rounded(values: Tensor) -> Tensor:
    return values.round().clamp(0, 255).to(torch.uint8)


def _looked_up(images: Tensor, tables: Tensor) -> Tensor:
    """Replaces each level by a table's entry; tables are (N, 256) or (N, 3, 256), uint8."""
    tables = tables[:, None].expand(-1, 3, -1) if tables.ndim == 2 else tables
    return tables.gather(2, images.flatten(2).long()).view_as(images)


def _grey(images: Tensor) -> Tensor:
    """Returns the weighted sum of the channels, (N, 1, S, S) float32."""
    levels = images.float()
    return 0.299 * levels[:, :1] + 0.587 * levels[:, 1:2] + 0.114 * levels[:, 2:]


def brightness(images: Tensor, factors: Tensor) -> Tensor:
    """Blends with black."""
    return _looked_up(images, _rounded((factors[:, None] * _levels(factors)).abs()))


def contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Blends with the mean grey level."""
    sums = images.flatten(2).sum(dim=2, dtype=torch.int64).double()
    luma = torch.stack([sums[:, 0] * 0.299, sums[:, 1] * 0.587, sums[:, 2] * 0.114]).sum(dim=0)
    mean = (luma / images[0, 0].numel()).round()
    return _looked_up(images, _rounded(factors[:, None] * _levels(factors) + ((1 - factors) * mean)[:, None]))


def saturation(images: Tensor, factors: Tensor) -> Tensor:
    """Blends with the grey image."""
    return _rounded(torch.lerp(_grey(images), images.float(), factors.float().view(-1, 1, 1, 1)))


def grayscale(images: Tensor, _: Tensor) -> Tensor:
    """Removes all colour."""
    return _rounded(_grey(images)).expand_as(images)


def sharpness(images: Tensor, factors: Tensor) -> Tensor:
    """Blends with a smoothed image."""
    levels, factor = images.float(), factors.float().view(-1, 1, 1, 1)
    box = F.avg_pool2d(F.pad(levels, (1, 1, 1, 1), mode="reflect"), 3, stride=1).round()
    return _rounded((factor + (1 - factor) * 4 / 13) * levels + (1 - factor) * 9 / 13 * box)


def gaussian_blur(images: Tensor, sigmas: Tensor) -> Tensor:
    """Blurs with a Gaussian of so many pixels, at most 2, as far as OpenCV does for that sigma."""
    number, channels, height, width = images.shape
    offsets = torch.arange(-_WIDEST, _WIDEST + 1, device=images.device)
    reach = ((6 * sigmas + 1).round() / 2).floor()  # OpenCV's size of the kernel is this twice, plus one
    kernels = torch.exp(-(offsets**2) / (2 * sigmas[:, None] ** 2)) * (offsets.abs() <= reach[:, None])
    kernels = (kernels / kernels.sum(dim=1, keepdim=True)).float().repeat_interleave(channels, dim=0)
    rows = images.float().view(1, number * channels, height, width)
    rows = F.pad(rows, (_WIDEST,) * 4, mode="reflect")
    rows = F.conv2d(rows, kernels[:, None, None, :], groups=number * channels)
    rows = F.conv2d(rows, kernels[:, None, :, None], groups=number * channels)
    return _rounded(rows).view_as(images)


def invert(images: Tensor, _: Tensor) -> Tensor:
    """Turns every level into 255 minus it."""
    return 255 - images


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keeps the highest bits of every level."""
    masks = 256 - torch.exp2(8 - bits.trunc())
    return images & masks.to(torch.uint8).view(-1, 1, 1, 1)


def solarize(images: Tensor, thresholds: Tensor) -> Tensor:
    """Inverts the levels at or above a threshold."""
    levels = _levels(thresholds)
    return _looked_up(images, _rounded(torch.where(thresholds[:, None] <= levels, 255 - levels, levels)))


def solarize_add(images: Tensor, added: Tensor) -> Tensor:
    """Adds to the levels below 128."""
    levels = _levels(added)
    return _looked_up(images, _rounded(torch.where(levels < 128, levels + added[:, None].trunc(), levels)))


def autocontrast(images: Tensor, values: Tensor) -> Tensor:
    """Stretches each channel to the whole range."""
    flat, levels = images.flatten(2), _levels(values)
    low, high = flat.amin(dim=2, keepdim=True).double(), flat.amax(dim=2, keepdim=True).double()
    stretched = (levels - low) * (255.0 / (high - low).clamp(min=1.0))
    tables = torch.where(high > low, stretched, levels)
    return _looked_up(images, tables.clamp(0, 255).to(torch.uint8))


def equalize(images: Tensor, _: Tensor) -> Tensor:
    """Makes the levels of each channel equally frequent, rounding as Pillow."""
    flat = images.flatten(2).long()
    histogram = torch.zeros(*flat.shape[:2], 256, dtype=torch.int64, device=flat.device)
    histogram.scatter_add_(2, flat, torch.ones_like(flat))
    brightest = histogram.gather(2, flat.amax(dim=2, keepdim=True))
    step = (flat.shape[2] - brightest) // 255
    below = histogram.cumsum(dim=2) - histogram
    tables = torch.where(step > 0, (below + step // 2) // step.clamp(min=1), torch.arange(256, device=flat.device))
    return _looked_up(images, tables.clamp(0, 255).to(torch.uint8))


def _shear(images: Tensor, factors: Tensor, *, row: int) -> Tensor:
    linear = torch.eye(2, dtype=torch.float64, device=factors.device).repeat(len(factors), 1, 1)
    linear[:, row, 1 - row] = factors
    return _warped(images, linear, torch.zeros_like(linear[:, 0]))


def _shift(images: Tensor, pixels: Tensor, *, axis: int) -> Tensor:
    linear = torch.eye(2, dtype=torch.float64, device=pixels.device).repeat(len(pixels), 1, 1)
    offsets = torch.zeros_like(linear[:, 0])
    offsets[:, axis] = pixels.round()
    return _warped(images, linear, offsets)


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Turns each image counter-clockwise around its centre."""
    cos, sin = torch.cos(torch.deg2rad(degrees)), torch.sin(torch.deg2rad(degrees))
    linear = torch.stack([torch.stack([cos, -sin], dim=1), torch.stack([sin, cos], dim=1)], dim=1)
    centre = images.shape[3] / 2
    return _warped(images, linear, centre - centre * linear.sum(dim=2))


def _warped(images: Tensor, linear: Tensor, offsets: Tensor) -> Tensor:
    """Looks up each output point at linear (N, 2, 2) times it plus an offset (N, 2), bilinearly.

    Points are (x, y) measured from the image's corner, so that a pixel's own middle lies at a half, as in Pillow and
    in torch's `align_corners=False`. What lies beyond the image is grey: 0 once the grey is taken off.
    """
    number, _, height, width = images.shape
    matrices = torch.cat([linear, offsets[:, :, None]], dim=2)
    # affine_grid measures from the centre, in half images.
    half = images.shape[3] / 2
    matrices[:, :, 2] = (matrices[:, :, 2] + half * linear.sum(dim=2)) / half - 1
    grid = F.affine_grid(matrices, [number, 1, height, width], align_corners=False).float()
    levels = images.float() - _FILL
    return _rounded(F.grid_sample(levels, grid, mode="bilinear", padding_mode="zeros", align_corners=False) + _FILL)


BATCHED: Final[dict[Callable[..., Pixels], BatchedOp]] = {
    ops.brightness: brightness,
    ops.contrast: contrast,
    ops.saturation: saturation,
    ops.grayscale: grayscale,
    ops.sharpness: sharpness,
    ops.gaussian_blur: gaussian_blur,
    ops.invert: invert,
    ops.posterize: posterize,
    ops.solarize: solarize,
    ops.solarize_add: solarize_add,
    ops.autocontrast: autocontrast,
    ops.equalize: equalize,
    ops.shear_x: partial(_shear, row=0),
    ops.shear_y: partial(_shear, row=1),
    ops.rotate: rotate,
    ops.translate_x: partial(_shift, axis=0),
    ops.translate_y: partial(_shift, axis=1),
}
"""The batched form of each operation of `ops`."""
