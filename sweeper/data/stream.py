"""Images that are never all in one place: read in the order of their shards and decoded anew for every epoch."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt

from sweeper.data.decode import fit
from sweeper.data.loader import Batch, EvalLoader, Images, TrainLoader, ahead
from sweeper.data.manifest import Encoded, ImageSource, Pixels, Sample
from sweeper.data.quarantine import Quarantine
from sweeper.errors import DataError

Rows = npt.NDArray[np.int64]
"""Positions in a split."""


@dataclass(frozen=True, eq=False)
class StreamSplit:
    """The images of one split, in the order in which their source is read fastest: those of a shard in a run."""

    samples: tuple[Sample, ...]
    numbers: Rows
    """(N,): where each image stands in the data set's manifest."""
    metadata: npt.NDArray[np.float32] | None
    """(N, 7): month, hour and place of each image; None where no image of the data set has any."""
    source: ImageSource
    short_side: int
    """Pixels of the short side that an image is shrunk to, as if it were stored."""
    quarantine: Quarantine

    @cached_property
    def labels(self) -> npt.NDArray[np.int64]:
        """(N,): the label of each image."""
        return np.array([sample.label for sample in self.samples], np.int64)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """(N,): what names each image."""
        return tuple(sample.key for sample in self.samples)

    @cached_property
    def shards(self) -> list[Rows]:
        """The images of each shard."""
        names = np.array([self.source.place(sample)[0] for sample in self.samples], dtype=object)
        return np.split(np.arange(len(names)), np.flatnonzero(names[1:] != names[:-1]) + 1)

    def __len__(self) -> int:
        return len(self.samples)

    def select(self, rows: Rows) -> StreamSplit:
        """Returns the images at `rows`, in that order."""
        metadata = None if self.metadata is None else self.metadata[rows]
        samples = tuple(self.samples[row] for row in rows.tolist())
        return replace(self, samples=samples, numbers=self.numbers[rows], metadata=metadata)

    def image(self, index: int) -> Pixels:
        """Reads a single image, out of order; one that cannot be read is black, and counted.

        Raises:
            DataError: too many images cannot be read.
        """
        read = partial(self.source.read, self.samples[index])
        pixels = self.decoded(index, read)
        return np.zeros((self.short_side, self.short_side, 3), np.uint8) if pixels is None else pixels

    def decoded(self, index: int, encoded: Encoded) -> Pixels | None:
        """Decodes an image as a cache would store it; one that cannot be read is None, and counted.

        Raises:
            DataError: too many images cannot be read.
        """
        try:
            return fit(encoded(short_side=self.short_side), short_side=self.short_side)
        except DataError as error:
            self.quarantine.add(self.samples[index].key, str(error))
            return None

    def read(self, order: Sequence[int], batches: Sequence[Rows]) -> Iterator[dict[int, Encoded]]:
        """Yields what was read of the images of each batch.

        Args:
            order: in which the images are read.
            batches: the images of each; what is read ahead of its batch waits in memory.
        """
        files = self.source.stream(self.samples[index] for index in order)
        incoming = zip(order, files, strict=False)
        waiting: dict[int, Encoded] = {}
        for batch in batches:
            wanted = set(batch.tolist()) - waiting.keys()
            while wanted:
                index, (_, encoded) = next(incoming)
                waiting[index] = encoded
                wanted.discard(index)
            yield {index: waiting.pop(index) for index in batch.tolist()}


@dataclass(frozen=True, eq=False)
class _Decoded:
    """The images of a batch, as a loader sees those of a split."""

    labels: npt.NDArray[np.int64]
    pixels: dict[int, Pixels]

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> Pixels:
        """Returns one of the images of the batch."""
        return self.pixels[index]


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainStream(TrainLoader):
    """Augmented training batches from shards, which are drawn in random order and read one after another.

    As with a `TrainLoader` the order is a pure function of the seed and the epoch, and an image is augmented as it is
    there. Images that cannot be read are missing from their batch.
    """

    files: StreamSplit
    """What is read; the same as `split`."""
    shuffle_buffer: int
    """Images that are read ahead, as the bytes of their files, for the next to be drawn from."""

    @classmethod
    def of(cls, loader: TrainLoader, files: StreamSplit, *, shuffle_buffer: int) -> TrainStream:
        """Returns a loader that does the same, but for the order."""
        return cls(**vars(loader), files=files, shuffle_buffer=shuffle_buffer)

    def epoch(self, epoch: int, *, skip: int = 0) -> Generator[Batch, None, None]:
        """Yields the batches of epoch `epoch`, 1 or more; closing the generator stops its threads.

        Those that are skipped are made all the same: only who reads an image knows whether it is one, and so which
        batches there are.
        """

        def make(step: int, indices: Rows, images: Images) -> Batch:
            return replace(self, split=images).batch(epoch, indices, step)

        made = _batches(self.files, self._reading(epoch), self.batches(epoch), make=make, threads=self.threads)
        for _ in range(skip):
            next(made, None)
        return made

    def _reading(self, epoch: int) -> Rows:
        """Returns the order in which images are read: shards drawn at random, each as it lies there."""
        shards = self.files.shards
        return np.concatenate([shards[number] for number in self._order_rng(epoch).permutation(len(shards))])

    def _order(self, epoch: int) -> Rows:
        return shuffled(self._reading(epoch), self.shuffle_buffer, self._order_rng(epoch))


@dataclass(frozen=True, eq=False, kw_only=True)
class EvalStream(EvalLoader):
    """All images of a split that can be read, in the order of their shards, each a centre crop."""

    files: StreamSplit
    """What is read; the same as `split`."""

    @classmethod
    def of(cls, loader: EvalLoader, files: StreamSplit) -> EvalStream:
        """Returns a loader that does the same."""
        return cls(**vars(loader), files=files)

    def __iter__(self) -> Iterator[Batch]:
        def make(_step: int, indices: Rows, images: Images) -> Batch:
            return replace(self, split=images).batch(indices)

        return _batches(self.files, np.arange(len(self.files)), self.batches(), make=make, threads=self.threads)


def shuffled(order: Rows, buffer: int, rng: np.random.Generator) -> Rows:
    """Returns a random order that never needs more than `buffer` of the values of `order` at a time.

    Each next value is drawn from the first `buffer` that were not drawn yet, as a shuffle buffer does.
    """
    held, rest = order[:buffer].tolist(), order[buffer:].tolist()
    shown = []
    for value, drawn in zip(rest, rng.integers(0, max(1, len(held)), len(rest)).tolist(), strict=True):
        shown.append(held[drawn])
        held[drawn] = value
    return np.concatenate([np.array(shown, np.int64), rng.permutation(np.array(held, np.int64))])


def _batches(
    files: StreamSplit,
    reading: Rows,
    batches: list[Rows],
    *,
    make: Callable[[int, Rows, Images], Batch],
    threads: int,
) -> Generator[Batch, None, None]:
    """Yields batches of the images that can be read; one thread reads, `threads` decode and augment."""

    def decode(step: int, indices: Rows, read: dict[int, Encoded]) -> Batch | None:
        pixels = {index: files.decoded(index, encoded) for index, encoded in read.items()}
        good = {index: image for index, image in pixels.items() if image is not None}
        rows = np.array([index for index in indices.tolist() if index in good], np.int64)
        return make(step, rows, _Decoded(files.labels, good)) if len(rows) else None

    reads = files.read(reading.tolist(), batches)
    with closing(ahead((partial(next, reads) for _ in batches), min(threads, 1))) as fetched:
        asked = enumerate(zip(batches, fetched, strict=True))
        jobs = (partial(decode, step, indices, read) for step, (indices, read) in asked)
        with closing(ahead(jobs, threads)) as made:
            yield from (batch for batch in made if batch is not None)
