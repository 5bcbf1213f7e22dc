"""Batches: stored images -> augmented uint8 batches, prepared ahead, the same for any number of threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import partial
from typing import Protocol, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import torch

from sweeper.data.augment import Augmenter
from sweeper.data.crops import center_box, resized
from sweeper.data.manifest import Pixels
from sweeper.data.mix import Mix, draw_mix
from sweeper.data.sampling import draw_order, repeats
from sweeper.spec.long_tail import Sampler
from sweeper.spec.training import AugmentSpec

Made = TypeVar("Made")


class Images(Protocol):
    """The images of a split as a loader sees them: an `ImageSplit`, or the part of a stream that was read."""

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """(N,): the label of each image."""

    def __len__(self) -> int: ...

    def image(self, index: int) -> Pixels:
        """Returns image `index` as (height, width, 3) uint8 RGB, not to be written to."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Images and labels as they leave the loader, in CPU memory."""

    images: torch.Tensor
    """(B, S, S, 3) uint8 RGB."""
    labels: torch.Tensor
    """(B,) int64."""
    indices: torch.Tensor
    """(B,) int64: positions in the split."""
    mix: Mix | None = None
    """How the images are to be mixed on the device; None leaves them as they are."""
    metadata: torch.Tensor | None = None
    """(B, 7) float32: date and place, zeros where they are missing; None where the data set has none."""

    def __len__(self) -> int:
        """Images."""
        return len(self.labels)


class _Stream(IntEnum):
    """Keeps the generators of one seed apart."""

    ORDER = 1
    IMAGE = 2
    MIX = 3
    METADATA = 4


@dataclass(frozen=True, eq=False)
class TrainLoader:
    """Shuffled, augmented training batches.

    The order is a pure function of the seed and the epoch, the augmentation of an image one of the seed, the
    epoch and the image (and of how often the epoch showed it before, where the sampler repeats images): any
    epoch can be asked for directly, and neither threads nor an interruption change what it holds. The last,
    incomplete batch is dropped unless it is the only one.

    Example::

        loader = TrainLoader(cache.split("train"), spec.augment, image_size=224, batch_size=64, seed=0)
        for batch in loader.epoch(3):
            ...
    """

    split: Images
    augment: AugmentSpec
    image_size: int
    batch_size: int
    seed: int
    threads: int = 1
    """Threads that prepare batches ahead; 0 prepares them in the caller."""
    metadata: npt.NDArray[np.float32] | None = None
    """(N, 7): date and place of each image of the split; None where the model takes none."""
    epochs: int = 1
    """Epochs of the trial, over which the share of hidden metadata falls to 0."""
    sampler: Sampler = "natural"
    """How often each class is shown."""

    def __len__(self) -> int:
        """Batches in an epoch."""
        return max(1, len(self.split) // self.batch_size)

    def epoch(self, epoch: int) -> Generator[Batch, None, None]:
        """Yields the batches of epoch `epoch`, 1 or more; closing the generator stops its threads."""
        order = self._order(epoch)
        parts = zip(self._cut(order)[: len(self)], self._cut(repeats(order)), strict=False)
        jobs = (partial(self.batch, epoch, indices, step, before) for step, (indices, before) in enumerate(parts))
        return ahead(jobs, self.threads)

    def view(self, number: int) -> Generator[Batch, None, None]:
        """Yields every image once, in the split's order, augmented as in epoch `number` and not mixed."""
        batches = self._cut(np.arange(len(self.split)))
        return ahead((partial(self.batch, number, indices, None) for indices in batches), self.threads)

    def batches(self, epoch: int) -> list[npt.NDArray[np.int64]]:
        """Returns which images of the split each batch of epoch `epoch` holds."""
        return self._cut(self._order(epoch))[: len(self)]

    def _order(self, epoch: int) -> npt.NDArray[np.int64]:
        return draw_order(self.split.labels, self.sampler, self._order_rng(epoch))

    def _order_rng(self, epoch: int) -> np.random.Generator:
        return self._rng(_Stream.ORDER, epoch)

    def _cut(self, values: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
        return np.split(values, range(self.batch_size, len(values), self.batch_size))

    def batch(
        self,
        epoch: int,
        indices: npt.NDArray[np.int64],
        step: int | None,
        before: npt.NDArray[np.int64] | None = None,
    ) -> Batch:
        """Makes batch `step` of an epoch.

        Args:
            epoch: 1 or more.
            indices: (B,): which images.
            step: which batch of the epoch it is; None leaves it unmixed.
            before: (B,): how often the epoch showed each image before; None says never.
        """
        augmenter = Augmenter.of(self.augment, image_size=self.image_size)
        images = torch.empty((len(indices), self.image_size, self.image_size, 3), dtype=torch.uint8)
        pixels = images.numpy()
        for row, (index, rng) in enumerate(
            zip(indices.tolist(), self._image_rngs(epoch, indices, before), strict=True)
        ):
            pixels[row] = augmenter(self.split.image(index), rng)
        batch = _as_batch(self.split, images, indices, metadata=self.metadata_of(epoch, indices))
        if step is None:
            return batch
        mix_rng = self._rng(_Stream.MIX, epoch, step)
        return replace(batch, mix=draw_mix(self.augment, batch=len(batch), image_size=self.image_size, rng=mix_rng))

    def _image_rngs(
        self, epoch: int, indices: npt.NDArray[np.int64], before: npt.NDArray[np.int64] | None
    ) -> Iterator[np.random.Generator]:
        times = np.zeros_like(indices) if before is None else before
        for index, time in zip(indices.tolist(), times.tolist(), strict=True):
            yield self._rng(_Stream.IMAGE, epoch, index, *((time,) if time else ()))

    def metadata_of(self, epoch: int, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.float32] | None:
        """Returns the metadata of the images at `indices`, some of it hidden, less with every epoch."""
        if self.metadata is None:
            return None
        share = self.augment.hide_metadata * (1.0 - (epoch - 1) / max(self.epochs - 1, 1))
        draws = [self._rng(_Stream.METADATA, epoch, index).random() for index in indices.tolist()]
        return np.where(np.less(draws, share)[:, None], np.float32(0.0), self.metadata[indices])

    def _rng(self, stream: _Stream, *position: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, stream, *position))


@dataclass(frozen=True, eq=False)
class EvalLoader:
    """All images of a split, in order, each a centre crop; can be iterated any number of times."""

    split: Images
    image_size: int
    batch_size: int
    crop_pct: float = 0.875
    """Side of the crop over the short side of the image, as in timm's data configuration of a model."""
    threads: int = 1
    """Threads that prepare batches ahead; 0 prepares them in the caller."""
    metadata: npt.NDArray[np.float32] | None = None
    """(N, 7): date and place of each image of the split; None where the model takes none."""

    def __len__(self) -> int:
        """Batches in one pass, the last one perhaps smaller."""
        return -(-len(self.split) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        return ahead((partial(self.batch, indices) for indices in self.batches()), self.threads)

    def batches(self) -> list[npt.NDArray[np.int64]]:
        """Returns which images of the split each batch holds."""
        indices = np.arange(len(self.split))
        return np.split(indices, range(self.batch_size, len(indices), self.batch_size))

    def batch(self, indices: npt.NDArray[np.int64]) -> Batch:
        """Makes a batch from the images at `indices`."""
        images = torch.empty((len(indices), self.image_size, self.image_size, 3), dtype=torch.uint8)
        pixels = images.numpy()
        for row, index in enumerate(indices.tolist()):
            image = self.split.image(index)
            box = center_box(*image.shape[:2], share=self.crop_pct)
            pixels[row] = resized(image, box, size=self.image_size)
        metadata = None if self.metadata is None else self.metadata[indices]
        return _as_batch(self.split, images, indices, metadata=metadata)


def _as_batch(
    split: Images,
    images: torch.Tensor,
    indices: npt.NDArray[np.int64],
    *,
    metadata: npt.NDArray[np.float32] | None,
) -> Batch:
    return Batch(
        images,
        labels=torch.from_numpy(split.labels[indices]),
        indices=torch.from_numpy(indices),
        metadata=None if metadata is None else torch.from_numpy(metadata),
    )


def ahead(jobs: Iterable[Callable[[], Made]], threads: int) -> Generator[Made, None, None]:
    """Yields the jobs' results in order, with one more than `threads` of them under way or waiting.

    Args:
        jobs: drawn one by one, in the caller's thread.
        threads: that run them; 0 runs them in the caller.
    """
    cv2.setNumThreads(1)  # a 224 px image is too small to share; batches are the unit of parallel work
    if threads == 0:
        for job in jobs:
            yield job()
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="batches")
    pending: deque[Future[Made]] = deque()
    try:
        for job in jobs:
            pending.append(pool.submit(job))
            if len(pending) > threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
