"""What the images are before any of them is decoded: a manifest, and the source that gives their pixels."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass
from functools import cached_property, partial
from typing import Any, Final, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from sweeper.errors import DataError

Split = Literal["train", "val", "test"]

SPLITS: Final[tuple[Split, ...]] = ("train", "val", "test")

Part = TypeVar("Part")

Pixels = npt.NDArray[np.uint8]
"""One image: (height, width, 3), RGB, 0 to 255."""


@dataclass(frozen=True)
class Observation:
    """Where and when an image was taken, as far as that is known."""

    latitude: float | None = None
    """Degrees north, -90 to 90."""
    longitude: float | None = None
    """Degrees east, -180 to 180."""
    date: str = ""
    """ISO 8601: `2017-05-31`, or `2017-05-31T14:30` where the hour is known; empty where nothing is."""


@dataclass(frozen=True)
class Sample:
    """One image that a source can give."""

    key: str
    """Names the image within its source, the same on every machine: for files the path below the root."""
    label: int
    """Index into the manifest's classes."""
    split: Split
    stamp: str
    """Changes when the image's content does, and costs nothing to have: for files size and time of change."""
    group: str = ""
    """Images of one group (an observer, a place) must not be torn apart by a split; empty where none is known."""
    observation: Observation | None = None


@dataclass(frozen=True)
class Manifest:
    """All images of a data set with their labels and splits."""

    classes: tuple[str, ...]
    """Class names, sorted; a label is an index into them."""
    samples: tuple[Sample, ...]
    notes: tuple[str, ...] = ()
    """Sentences on what the reader noticed, for people; not part of the fingerprint."""

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change with any image, label, place or date; not with the splits."""
        rows = sorted((one.key, one.label, one.stamp, _as_list(one.observation)) for one in self.samples)
        return short_hash([self.classes, rows])

    @cached_property
    def split_fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change with which keys are in which split, and with nothing else."""
        return short_hash(sorted((sample.split, sample.key) for sample in self.samples))


def split_named(name: Split, splits: Mapping[Split, Part]) -> Part:
    """Returns one of the splits of a data set.

    Raises:
        DataError: it has no such split.
    """
    if name not in splits:
        have = ", ".join(f"`{split}`" for split in splits)
        raise DataError(f"The data must have a `{name}` split, but it has only {have}.")
    return splits[name]


def short_hash(value: Any) -> str:
    """Returns sixteen hexadecimal digits of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(value, separators=(",", ":")).encode()).hexdigest()[:16]


def _as_list(observation: Observation | None) -> list[str]:
    return [] if observation is None else [str(value) for value in astuple(observation)]


class Encoded(Protocol):
    """An image that was read and is not decoded yet; can be called in any thread."""

    def __call__(self, *, short_side: int) -> Pixels:
        """Decodes the image as `ImageSource.read` does.

        Raises:
            DataError: it cannot be read; the message is the reason, without the key.
        """


class ImageSource(ABC):
    """Gives the pixels of the samples of one manifest; safe to call from several threads."""

    @abstractmethod
    def read(self, sample: Sample, *, short_side: int) -> Pixels:
        """Returns the decoded image, upright, (height, width, 3) uint8 RGB.

        Args:
            sample: which image.
            short_side: pixels that are enough; a source may return a smaller version of the image whose
                short side is still at least this long, where that is cheaper.

        Raises:
            DataError: the image cannot be read; the message is the reason, without the key.
        """

    @abstractmethod
    def size(self, sample: Sample) -> tuple[int, int]:
        """Returns width and height of the upright image in pixels, without decoding it.

        Raises:
            DataError: the image cannot be read; the message is the reason, without the key.
        """

    def place(self, sample: Sample) -> tuple[str, int]:
        """Returns the shard that holds an image and where in it: in this order a source is read fastest.

        A source without shards leaves this as it is: each image is a shard of its own.
        """
        return sample.key, 0

    def ordered(self, samples: Iterable[Sample]) -> tuple[Sample, ...]:
        """Returns the samples in the order in which they are read fastest."""
        return tuple(sorted(samples, key=self.place))

    def stream(self, samples: Iterable[Sample]) -> Iterator[tuple[Sample, Encoded]]:
        """Reads images in the given order, as long as the caller asks for more.

        A source of shards reads them here one after another, since the samples of a shard come in a run and in the
        order of `place`, perhaps with gaps; what it yields then holds the bytes of the image. By default nothing is
        read before an image is decoded.

        Args:
            samples: drawn one by one, not ahead of what is yielded.
        """
        for sample in samples:
            yield sample, partial(self.read, sample)
