"""Where the batches of a phase come from, and what of the model they go through."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sweeper.backbones import Backbone
from sweeper.data import (
    Batch,
    DeviceBatch,
    EvalLoader,
    EvalStream,
    ImageSet,
    Preprocessor,
    StreamSplit,
    TrainLoader,
    TrainStream,
)
from sweeper.data.batched import resident_bank
from sweeper.spec.training import AugmentSpec
from sweeper.trial.device import Machine
from sweeper.trial.phases import Phase

_RESIDENT_SHARE: Final = 0.25
"""Of a GPU's free memory, for the training images; if they need more, those of each batch are sent."""


@dataclass(frozen=True, eq=False)
class Pending:
    """A batch in the CPU's memory, on its way to the device."""

    num_images: int
    indices: npt.NDArray[np.int64]
    """(num_images,): where each image stands in its split."""
    to_device: Callable[[], DeviceBatch]
    """Brings the batch to the device; can be called again, after the device ran out of memory."""


class Feed(ABC):
    """The batches of one phase."""

    @property
    @abstractmethod
    def batches_per_epoch(self) -> int:
        """Training batches in an epoch."""

    @property
    def views(self) -> int:
        """Rows of a validation batch that show one image, one behind the other."""
        return 1

    @abstractmethod
    def epoch(self, epoch: int, *, skip: int = 0) -> Generator[Pending, None, None]:
        """Yields the training batches of the trial's epoch `epoch`; closing the generator frees its threads.

        Args:
            epoch: 1 or more.
            skip: batches that are left out at its start.
        """

    @abstractmethod
    def validation(self) -> Iterator[Pending]:
        """Yields all validation images, each once, in all of its views."""

    @abstractmethod
    def network(self, model: nn.Module) -> Callable[..., Tensor]:
        """Returns the part of `model` that takes the inputs of these batches and gives logits (B, C).

        Args:
            model: the one in training, or an average of it.
        """


@final
@dataclass(frozen=True, eq=False)
class ImageFeed(Feed):
    """Images through the whole model."""

    train: TrainLoader
    val: EvalLoader
    preprocess: Preprocessor

    @property
    def batches_per_epoch(self) -> int:
        """Training batches in an epoch."""
        return len(self.train)

    @property
    def views(self) -> int:
        """Rows of a validation image."""
        return self.val.views

    def epoch(self, epoch: int, *, skip: int = 0) -> Generator[Pending, None, None]:
        """Yields the augmented batches of epoch `epoch`."""
        batches = self.train.epoch(epoch, skip=skip)
        try:
            for batch in batches:
                yield self._pending(batch)
        finally:
            batches.close()

    def validation(self) -> Iterator[Pending]:
        """Yields centre crops, or other views, of all validation images."""
        return map(self._pending, self.val)

    def network(self, model: nn.Module) -> Callable[..., Tensor]:
        """Returns the model itself."""
        return model

    def _pending(self, batch: Batch) -> Pending:
        return Pending(len(batch), batch.indices.numpy(), partial(self.preprocess, batch))


def open_image_feed(phase: Phase, images: ImageSet, backbone: Backbone, *, machine: Machine, threads: int) -> ImageFeed:
    """Opens the images of a phase.

    Args:
        phase: which epochs.
        images: the data set.
        backbone: what the images are for: its statistics, its crop, and whether it takes metadata.
        machine: where the batches go.
        threads: that prepare batches ahead.
    """
    config = phase.config
    train, val = images.split("train"), images.split("val")
    device = _batched_on(config.augment, machine)
    train_loader = TrainLoader(
        train,
        config.augment,
        image_size=backbone.image_size,
        batch_size=config.train.batch_size,
        seed=config.seed,
        threads=threads,
        metadata=train.metadata if backbone.takes_metadata else None,
        epochs=phase.last,
        sampler=config.train.sampler,
        progressive=config.train.progressive,
        device=device,
        rank=machine.group.rank,
        ranks=machine.group.size,
    )
    val_loader = EvalLoader(
        val,
        image_size=backbone.image_size,
        batch_size=config.train.batch_size,
        crop_pct=backbone.crop_pct,
        threads=threads,
        metadata=val.metadata if backbone.takes_metadata else None,
        tta=config.eval.tta,
        device=device,
        rank=machine.group.rank,
        ranks=machine.group.size,
    )
    if isinstance(train, StreamSplit) and isinstance(val, StreamSplit):
        train_loader = TrainStream.of(train_loader, train, shuffle_buffer=config.data.shuffle_buffer)
        val_loader = EvalStream.of(val_loader, val)
    elif device is not None:
        train_loader = replace(train_loader, bank=resident_bank(train, device, share=_RESIDENT_SHARE))
    preprocess = Preprocessor(
        mean=rgb(backbone.mean),
        std=rgb(backbone.std),
        num_classes=len(images.classes),
        device=machine.device,
        channels_last=config.train.channels_last,
    )
    return ImageFeed(train_loader, val_loader, preprocess)


def _batched_on(augment: AugmentSpec, machine: Machine) -> torch.device | None:
    """Returns where whole batches are augmented, None where each image is, with OpenCV."""
    batched = machine.device.type == "cuda" if augment.batched is None else augment.batched
    return machine.device if batched else None


def rgb(values: tuple[float, ...]) -> tuple[float, float, float]:
    """Returns the statistics of three channels as a preprocessor wants them."""
    red, green, blue = values
    return red, green, blue
