"""The last step: a uint8 batch moves to the device and becomes what a model takes, with its targets."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch.nn import functional as F

from sweeper.data.loader import Batch
from sweeper.data.mix import Mix


@dataclass(frozen=True, eq=False)
class DeviceBatch:
    """A batch on the device, as a model takes it."""

    inputs: tuple[torch.Tensor, ...]
    """What the model is called with, each (B, ...): float images (B, 3, S, S), perhaps metadata (B, 7) after them."""
    targets: torch.Tensor
    """(B,) int64 labels, or (B, C) float32 class probabilities where the batch is mixed."""

    def __len__(self) -> int:
        """Images."""
        return len(self.targets)

    def parts(self, most: int) -> Iterator[DeviceBatch]:
        """Yields the batch in as few parts of at most `most` images as can be, all of nearly equal size.

        Nearly equal, because batch norm cannot train on a last part of one image.
        """
        count = math.ceil(len(self) / most)
        for *inputs, targets in zip(
            *(tensor.tensor_split(count) for tensor in (*self.inputs, self.targets)), strict=True
        ):
            yield DeviceBatch(tuple(inputs), targets)


@dataclass(frozen=True, eq=False)
class Preprocessor:
    """Prepares batches for one model on one device.

    Example::

        preprocess = Preprocessor(mean=(0.5,) * 3, std=(0.5,) * 3, num_classes=10, device=torch.device("cpu"))
        ready = preprocess(batch)
        loss = cross_entropy(model(*ready.inputs), ready.targets, label_smoothing=0.1)
    """

    mean: tuple[float, float, float]
    """The model's input mean, RGB, on a scale of 0 to 1."""
    std: tuple[float, float, float]
    """The model's input standard deviation, likewise."""
    num_classes: int
    device: torch.device
    channels_last: bool = True
    """Leaves images in the memory layout they come in, which costs nothing; False makes them contiguous."""

    def __call__(self, batch: Batch) -> DeviceBatch:
        """Returns the batch on the device, images normalised, mixed as the batch says.

        Labels are not smoothed here, since `cross_entropy` smooths both kinds of targets. A mixed image keeps
        the metadata of the image that it shows more of.
        """
        pixels = batch.images.to(self.device, non_blocking=True)
        targets = batch.labels.to(self.device, non_blocking=True)
        metadata = None if batch.metadata is None else batch.metadata.to(self.device, non_blocking=True)
        if batch.mix is None:
            images = self.normalised(pixels)
        else:
            partners, lam = batch.mix.permutation.to(self.device, non_blocking=True), batch.mix.lam
            images = self._mixed(pixels, partners, batch.mix)
            shares = F.one_hot(targets, self.num_classes).float()
            targets = torch.lerp(shares[partners], shares, lam)
            if metadata is not None and lam < 0.5:
                metadata = metadata[partners]
        if not self.channels_last:
            images = images.contiguous()
        return DeviceBatch((images,) if metadata is None else (images, metadata), targets)

    def _mixed(self, pixels: torch.Tensor, partners: torch.Tensor, mix: Mix) -> torch.Tensor:
        if mix.kind == "mixup":
            images = self.normalised(pixels)
            return torch.lerp(images[partners], images, mix.lam)
        top, bottom, left, right = mix.box
        pixels = pixels.clone()  # the batch stays as it is: on a CPU it was not copied above
        pixels[:, top:bottom, left:right] = pixels[:, top:bottom, left:right][partners]
        return self.normalised(pixels)

    def normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        """Returns uint8 images (B, S, S, 3), on the device, as a model takes them: floats (B, 3, S, S)."""
        batch, height, width, channels = pixels.shape
        scale, shift = self._constants(width)
        # Rows of width x 3 numbers: the innermost loop is long, which is twice as fast as one over 3 channels.
        rows = pixels.view(batch, height, width * channels).float().mul_(scale).sub_(shift)
        return rows.view(batch, height, width, channels).permute(0, 3, 1, 2)

    def _constants(self, width: int) -> tuple[torch.Tensor, torch.Tensor]:
        if width not in self._by_width:
            mean = torch.tensor(self.mean, device=self.device)
            std = torch.tensor(self.std, device=self.device)
            self._by_width[width] = ((1 / (255 * std)).repeat(width), (mean / std).repeat(width))
        return self._by_width[width]

    @cached_property
    def _by_width(self) -> dict[int, tuple[torch.Tensor, torch.Tensor]]:
        """Scale and shift of a row, by the images' width: made once, as each costs a copy to the device."""
        return {}
