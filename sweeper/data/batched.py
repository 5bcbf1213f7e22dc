"""Recipes followed for a whole batch at once, on any device: what a GPU runs instead of OpenCV.

A batch needs three uploads: its pixels (none where the split lies on the device), the numbers of its crops, and the
arguments of its operations. They are pinned and do not wait, so that the device goes on training meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sweeper.data.augment import Recipe
from sweeper.data.batched_ops import BATCHED, BatchedOp
from sweeper.data.crops import Box
from sweeper.data.manifest import Pixels
from sweeper.data.policies import Change

_MOST_IMAGES: Final = 64
"""Prepared in one go: bounds the memory that crops in floating point take, to about 0.3 GB for 224 px."""


class Stored(Protocol):
    """Stored images in the CPU's memory."""

    def __len__(self) -> int: ...

    def image(self, index: int) -> Pixels:
        """Returns image `index` as (height, width, 3) uint8 RGB."""


@dataclass(frozen=True, eq=False)
class PixelBank:
    """Images of any size on a device, one after the other."""

    pixels: Tensor
    """(P, 3) uint8: the pixels of all images, row by row."""
    starts: npt.NDArray[np.int64]
    """(N,): where in `pixels` each image begins."""
    widths: npt.NDArray[np.int64]
    """(N,): of the images."""

    @classmethod
    def of(cls, images: Sequence[Pixels], device: torch.device) -> PixelBank:
        """Brings images, each (height, width, 3), to a device."""
        flat = torch.from_numpy(np.concatenate([image.reshape(-1, 3) for image in images]))
        sizes = np.array([image.shape[0] * image.shape[1] for image in images])
        widths = np.array([image.shape[1] for image in images])
        return cls(_sent(flat, device), np.cumsum(sizes) - sizes, widths)

    def squares(self, rows: Sequence[int], recipes: Sequence[Recipe], *, size: int) -> Tensor:
        """Follows recipes; returns images (B, size, size, 3) uint8 on the device.

        Args:
            rows: B images of the bank, in any order.
            recipes: what becomes of each.
            size: of the squares, in pixels.
        """
        parts = [
            self._squares(rows[first : first + _MOST_IMAGES], recipes[first : first + _MOST_IMAGES], size)
            for first in range(0, len(rows), _MOST_IMAGES)
        ]
        return torch.cat(parts)

    def _squares(self, rows: Sequence[int], recipes: Sequence[Recipe], size: int) -> Tensor:
        squares = self._cropped(rows, recipes, size)
        changes = [recipe.changes for recipe in recipes]
        for turn in _turns(changes, self.pixels.device):
            for op, images, values in turn:
                squares[images] = op(squares[images], values)
        _erase(squares, recipes)
        return squares.permute(0, 2, 3, 1).contiguous()

    def _cropped(self, rows: Sequence[int], recipes: Sequence[Recipe], size: int) -> Tensor:
        """Cuts the boxes out, resizes and flips them; returns (B, 3, size, size) uint8.

        A resize is a matrix product for each axis, of how much each source pixel counts for each target pixel: what
        `cv2.resize` computes, with every box another size, and with all source pixels averaged where that does.
        """
        boxes = [recipe.box for recipe in recipes]
        tall, wide = max(box.height for box in boxes), max(box.width for box in boxes)
        numbers = [
            (self.starts[row], self.widths[row], box.top, box.height, recipe.vflip, box.left, box.width, recipe.hflip)
            for row, box, recipe in zip(rows, boxes, recipes, strict=True)
        ]
        sent = _sent(torch.from_numpy(np.array(numbers, dtype=np.int64)), self.pixels.device)
        start, width, top, height, vflip, left, across, hflip = sent[:, :, None].unbind(1)
        # Beyond a box its last row or column is read; it does not count.
        ys = top + torch.minimum(_range(tall, sent), height - 1)
        xs = left + torch.minimum(_range(wide, sent), across - 1)
        crops = self.pixels[(start + ys * width)[:, :, None] + xs[:, None, :]].permute(0, 3, 1, 2).float()
        averaged = torch.maximum(height, across) >= 2 * size
        down = _weights(height, vflip.bool(), averaged, shape=(size, tall))
        over = _weights(across, hflip.bool(), averaged, shape=(size, wide))
        squares = down[:, None] @ crops @ over[:, None].mT
        return squares.round().clamp(0, 255).to(torch.uint8)


def resident_bank(images: Stored, device: torch.device, *, share: float) -> PixelBank | None:
    """Brings all images to a CUDA device if they fit into a share of its free memory; None if not, or elsewhere.

    Args:
        images: a split.
        device: where they go.
        share: of the free memory that they may take, 0 to 1.
    """
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    every = [images.image(index) for index in range(len(images))]  # views of a mapped file
    sizes = np.array([image.shape[0] * image.shape[1] for image in every])
    starts = np.cumsum(sizes) - sizes
    if 3 * sizes.sum() > share * free:
        return None
    pixels = torch.empty((int(sizes.sum()), 3), dtype=torch.uint8, device=device)
    for first in range(0, len(every), _MOST_IMAGES):
        part = np.concatenate([image.reshape(-1, 3) for image in every[first : first + _MOST_IMAGES]])
        pixels[starts[first] : starts[first] + len(part)] = torch.from_numpy(part)
    return PixelBank(pixels, starts, np.array([image.shape[1] for image in every]))


def squares_of(images: Sequence[Pixels], recipes: Sequence[Recipe], *, size: int, device: torch.device) -> Tensor:
    """Follows recipes for images in the CPU's memory; no more than their boxes goes to the device.

    Args:
        images: B images, each (height, width, 3).
        recipes: what becomes of each.
        size: of the squares, in pixels.
        device: where they are made, and stay: (B, size, size, 3) uint8.
    """
    cuts, whole = [], []
    for image, recipe in zip(images, recipes, strict=True):
        box = recipe.box
        cuts.append(image[box.top : box.top + box.height, box.left : box.left + box.width])
        whole.append(replace(recipe, box=Box(0, 0, box.height, box.width)))
    return PixelBank.of(cuts, device).squares(range(len(cuts)), whole, size=size)


def _turns(changes: Sequence[tuple[Change, ...]], device: torch.device) -> list[list[tuple[BatchedOp, Tensor, Tensor]]]:
    """Groups the images' changes: a turn has one of each image, by operation, with images and arguments.

    An image's changes stay in order; images do not see each other. All numbers are sent in one piece.
    """
    turns: list[dict[BatchedOp, list[tuple[int, float]]]] = []
    for turn in zip_longest(*changes):
        grouped: dict[BatchedOp, list[tuple[int, float]]] = {}
        for image, change in enumerate(turn):
            if change is not None and change.op is not np.copy:
                grouped.setdefault(BATCHED[change.op], []).append((image, change.value or 0.0))
        turns.append(grouped)
    numbers = [pair for grouped in turns for pairs in grouped.values() for pair in pairs]
    if not numbers:
        return []
    sent = _sent(torch.tensor(numbers, dtype=torch.float64), device)
    found: list[list[tuple[BatchedOp, Tensor, Tensor]]] = []
    first = 0
    for grouped in turns:
        found.append([])
        for op, pairs in grouped.items():
            images, values = sent[first : first + len(pairs)].unbind(1)
            found[-1].append((op, images.long(), values))
            first += len(pairs)
    return found


def _erase(squares: Tensor, recipes: Sequence[Recipe]) -> None:
    """Fills the rectangles to erase with their noise, in place."""
    chosen = [(image, recipe.erasing) for image, recipe in enumerate(recipes) if recipe.erasing is not None]
    if not chosen:
        return
    noise = np.concatenate([erasing.noise.reshape(-1) for _, erasing in chosen])
    sent, first = _sent(torch.from_numpy(noise), squares.device), 0
    for image, erasing in chosen:
        height, width, _ = erasing.noise.shape
        filling = sent[first : first + erasing.noise.size].view(height, width, 3).permute(2, 0, 1)
        squares[image, :, erasing.top : erasing.top + height, erasing.left : erasing.left + width] = filling
        first += erasing.noise.size


def _weights(length: Tensor, flip: Tensor, averaged: Tensor, *, shape: tuple[int, int]) -> Tensor:
    """Returns how much each source pixel counts for each target pixel of one axis, (B, target, source) float32.

    Args:
        length: (B, 1): source pixels of each image; those beyond it do not count.
        flip: (B, 1): whether the target runs backwards.
        averaged: (B, 1): whether a target pixel is the mean of the source that it covers, and not bilinear.
        shape: target and source.
    """
    size, longest = shape
    forwards = _range(size, length)
    target = torch.where(flip, size - 1 - forwards, forwards).float()
    scale = length.float() / size
    source = _range(longest, length).float()
    middle = torch.minimum(((target + 0.5) * scale - 0.5).clamp(min=0.0), length.float() - 1.0)
    bilinear = (1.0 - (middle[:, :, None] - source).abs()).clamp(min=0.0)
    low, high = (target * scale)[:, :, None], ((target + 1.0) * scale)[:, :, None]
    covered = (torch.minimum(high, source + 1.0) - torch.maximum(low, source)).clamp(min=0.0) / scale[:, :, None]
    return torch.where(averaged[:, :, None], covered, bilinear)


def _range(length: int, like: Tensor) -> Tensor:
    return torch.arange(length, device=like.device)


def _sent(values: Tensor, device: torch.device) -> Tensor:
    """Brings values to a device without waiting for what it is doing."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)
