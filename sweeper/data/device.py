"""The last step: a uint8 batch moves to the device and becomes normalised, mixed float images with targets."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch.nn import functional as F

from sweeper.data.loader import Batch
from sweeper.data.mix import Mix


@dataclass(frozen=True, eq=False)
class Preprocessor:
    """Prepares batches for one model on one device.

    Example::

        preprocess = Preprocessor(mean=(0.5,) * 3, std=(0.5,) * 3, num_classes=10, device=torch.device("cpu"))
        images, targets = preprocess(batch)
        loss = cross_entropy(model(images), targets, label_smoothing=0.1)
    """

    mean: tuple[float, float, float]
    """The model's input mean, RGB, on a scale of 0 to 1."""
    std: tuple[float, float, float]
    """The model's input standard deviation, likewise."""
    num_classes: int
    device: torch.device

    def __call__(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns images and targets on the device.

        Images are (B, 3, S, S) float32, channels-last in memory, which costs nothing as they come that way.
        Targets are (B,) int64 labels, or (B, C) float32 class probabilities where the batch is mixed; labels
        are not smoothed here, since `cross_entropy` smooths both kinds.
        """
        pixels = batch.images.to(self.device, non_blocking=True)
        labels = batch.labels.to(self.device, non_blocking=True)
        if batch.mix is None:
            return self._normalised(pixels), labels
        partners = batch.mix.permutation.to(self.device, non_blocking=True)
        targets = F.one_hot(labels, self.num_classes).float()
        targets = torch.lerp(targets[partners], targets, batch.mix.lam)
        return self._mixed(pixels, partners, batch.mix), targets

    def _mixed(self, pixels: torch.Tensor, partners: torch.Tensor, mix: Mix) -> torch.Tensor:
        if mix.kind == "mixup":
            images = self._normalised(pixels)
            return torch.lerp(images[partners], images, mix.lam)
        top, bottom, left, right = mix.box
        pixels = pixels.clone()  # the batch stays as it is: on a CPU it was not copied above
        pixels[:, top:bottom, left:right] = pixels[:, top:bottom, left:right][partners]
        return self._normalised(pixels)

    def _normalised(self, pixels: torch.Tensor) -> torch.Tensor:
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
