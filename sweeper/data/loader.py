"""Batches: stored images -> augmented uint8 batches, prepared ahead, the same for any number of threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import partial
from itertools import islice
from typing import Final, Protocol, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import torch

from sweeper.data.augment import Augmenter, Recipe, follow
from sweeper.data.batched import PixelBank, squares_of
from sweeper.data.manifest import Pixels
from sweeper.data.mix import Mix, draw_mix
from sweeper.data.sampling import draw_order, repeats
from sweeper.data.tta import VIEWS, view_recipes
from sweeper.spec.evaluation import Tta
from sweeper.spec.long_tail import Sampler
from sweeper.spec.training import AugmentSpec, ProgressiveSpec

Made = TypeVar("Made")
SIZE_STEP: Final = 32
"""Progressive resizing grows in these steps, in pixels: the output stride of most networks."""


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
    """(B, S, S, 3) uint8 RGB; on the device already, where they were made there."""
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
    progressive: ProgressiveSpec = field(default_factory=ProgressiveSpec)
    """Smaller images in the first epochs of the trial."""
    device: torch.device | None = None
    """Where batches are augmented as one; None augments each image by itself, with OpenCV."""
    bank: PixelBank | None = None
    """The split's images on that device; None sends those of each batch."""
    rank: int = 0
    """Which of the processes that share each batch this one is: it makes every `ranks`-th image, from this one on."""
    ranks: int = 1

    def __len__(self) -> int:
        """Batches in an epoch."""
        return max(1, len(self.split) // self.batch_size)

    def epoch(self, epoch: int, *, skip: int = 0) -> Generator[Batch, None, None]:
        """Yields the batches of epoch `epoch`, 1 or more; closing the generator stops its threads.

        Args:
            epoch: which one.
            skip: batches that are left out at its start: nothing is made of them.
        """
        order = self._order(epoch)
        parts = zip(self._parts(order), self._parts(repeats(order)), strict=True)
        steps = islice(enumerate(parts), skip, None)
        jobs = (partial(self.batch, epoch, indices, step, before) for step, (indices, before) in steps)
        return ahead(jobs, self.threads)

    def view(self, number: int) -> Generator[Batch, None, None]:
        """Yields every image once, in the split's order, augmented as in epoch `number` and not mixed."""
        batches = self._cut(np.arange(len(self.split)))
        return ahead((partial(self.batch, number, indices, None) for indices in batches), self.threads)

    def batches(self, epoch: int) -> list[npt.NDArray[np.int64]]:
        """Returns which images of the split each batch of epoch `epoch` holds, as far as this process makes them."""
        return self._parts(self._order(epoch))

    def size_in(self, epoch: int) -> int:
        """Returns the side of the training images of an epoch, in pixels: it grows in steps of 32."""
        first, grows_for = self.progressive.image_size, self.progressive.epochs
        if grows_for == 0 or epoch > grows_for:
            return self.image_size
        return first + (self.image_size - first) * (epoch - 1) // grows_for // SIZE_STEP * SIZE_STEP

    def _order(self, epoch: int) -> npt.NDArray[np.int64]:
        return draw_order(self.split.labels, self.sampler, self._order_rng(epoch))

    def _order_rng(self, epoch: int) -> np.random.Generator:
        return self._rng(_Stream.ORDER, epoch)

    def _parts(self, values: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
        return [batch[self.rank :: self.ranks] for batch in self._cut(values)[: len(self)]]

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
        size = self.size_in(epoch)
        images = self._augmented(indices, self._image_rngs(epoch, indices, before), size=size)
        batch = _as_batch(self.split, images, indices, metadata=self.metadata_of(epoch, indices))
        if step is None:
            return batch
        mix_rng = self._rng(_Stream.MIX, epoch, step)
        return replace(batch, mix=draw_mix(self.augment, batch=len(batch), image_size=size, rng=mix_rng))

    def _augmented(
        self, indices: npt.NDArray[np.int64], rngs: Iterator[np.random.Generator], *, size: int
    ) -> torch.Tensor:
        augmenter = Augmenter.of(self.augment, image_size=size)
        images = [self.split.image(index) for index in indices.tolist()]
        recipes = [augmenter.draw(*image.shape[:2], rng=rng) for image, rng in zip(images, rngs, strict=True)]
        if self.bank is not None:
            return self.bank.squares(indices.tolist(), recipes, size=size)
        return _made(images, recipes, size=size, device=self.device)

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
    """All images of a split, in order, each a centre crop; can be iterated any number of times.

    With test-time augmentation an image is as many rows of a batch as it has views, one behind the other.
    """

    split: Images
    image_size: int
    batch_size: int
    """Rows in a batch."""
    crop_pct: float = 0.875
    """Side of the crop over the short side of the image, as in timm's data configuration of a model."""
    threads: int = 1
    """Threads that prepare batches ahead; 0 prepares them in the caller."""
    metadata: npt.NDArray[np.float32] | None = None
    """(N, 7): date and place of each image of the split; None where the model takes none."""
    tta: Tta = "none"
    """Which views of an image are made."""
    device: torch.device | None = None
    """Where batches are made as one; None makes each image by itself, with OpenCV."""
    rank: int = 0
    """Which of the processes that share each batch this one is, as in a `TrainLoader`."""
    ranks: int = 1

    @property
    def views(self) -> int:
        """Rows of an image."""
        return VIEWS[self.tta]

    def __len__(self) -> int:
        """Batches in one pass, the last one perhaps smaller."""
        return -(-len(self.split) // self._images_a_batch)

    def __iter__(self) -> Iterator[Batch]:
        return ahead((partial(self.batch, indices) for indices in self.batches()), self.threads)

    def batches(self) -> list[npt.NDArray[np.int64]]:
        """Returns which images of the split each batch holds; the part of the last one may be empty."""
        indices = np.arange(len(self.split))
        batches = np.split(indices, range(self._images_a_batch, len(indices), self._images_a_batch))
        return [batch[self.rank :: self.ranks] for batch in batches]

    def batch(self, indices: npt.NDArray[np.int64]) -> Batch:
        """Makes a batch from the images at `indices`."""
        images, recipes = [], []
        for index in indices.tolist():
            image = self.split.image(index)
            images += [image] * self.views
            recipes += view_recipes(*image.shape[:2], share=self.crop_pct, tta=self.tta)
        squares = _made(images, recipes, size=self.image_size, device=self.device)
        rows = np.repeat(indices, self.views)
        return _as_batch(self.split, squares, rows, metadata=None if self.metadata is None else self.metadata[rows])

    @property
    def _images_a_batch(self) -> int:
        return max(1, self.batch_size // self.views)


def _made(
    images: Sequence[Pixels], recipes: Sequence[Recipe], *, size: int, device: torch.device | None
) -> torch.Tensor:
    """Follows recipes, on a device or with OpenCV; returns (B, size, size, 3) uint8."""
    if device is not None and images:
        return squares_of(images, recipes, size=size, device=device)
    squares = torch.empty((len(images), size, size, 3), dtype=torch.uint8)
    for row, image, recipe in zip(squares.numpy(), images, recipes, strict=True):
        row[:] = follow(image, recipe, size=size)
    return squares


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
