"""All images of a data set, decoded or streamed: what a trial opens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sweeper.data.build import prepare_images
from sweeper.data.cache import ImageCache, cache_key
from sweeper.data.decoding import OnProgress
from sweeper.data.manifest import SPLITS, Manifest, Split, short_hash, split_named
from sweeper.data.metadata import encode_observations
from sweeper.data.quarantine import Quarantine, Quarantined
from sweeper.data.readers import read_manifest
from sweeper.data.stream import StreamSplit
from sweeper.paths import CachePaths
from sweeper.spec.data import DataSpec


@dataclass(frozen=True, eq=False)
class ImageStream:
    """A data set that is read and decoded anew in every epoch; to its caller it is an `ImageCache`."""

    manifest: Manifest
    fingerprint: str
    """That of the cache of these images: a stream gives the same pixels."""
    _splits: Mapping[Split, StreamSplit]
    _quarantine: Quarantine

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; a label is an index into them."""
        return self.manifest.classes

    @property
    def split_fingerprint(self) -> str:
        """Changes with which images are in which split."""
        return self.manifest.split_fingerprint

    @property
    def quarantined(self) -> tuple[Quarantined, ...]:
        """The images that could not be read so far."""
        return self._quarantine.images

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits that have images; `test` is often not among them."""
        return tuple(self._splits)

    def split(self, name: Split) -> StreamSplit:
        """Returns the images of one split.

        Raises:
            DataError: the data set has no such split.
        """
        return split_named(name, self._splits)


ImageSet = ImageCache | ImageStream


def open_images(spec: DataSpec, cache: CachePaths, *, on_progress: OnProgress | None = None) -> ImageSet:
    """Opens the images of `spec`: their decoded cache, which is built if need be, or with `stream` a stream.

    Raises:
        DataError: the images cannot be used.
        CacheError: the cache cannot be written.
    """
    return _open_stream(spec) if spec.stream else prepare_images(spec, cache, on_progress=on_progress)


def _open_stream(spec: DataSpec) -> ImageStream:
    manifest, source = read_manifest(spec)
    samples = source.ordered(manifest.samples)
    quarantine = Quarantine(spec, num_images=len(samples))
    metadata = encode_observations([sample.observation for sample in samples])
    number_of = {sample.key: number for number, sample in enumerate(manifest.samples)}
    numbers = np.array([number_of[sample.key] for sample in samples], np.int64)
    whole = StreamSplit(samples, numbers, metadata, source, spec.stored_short_side, quarantine)
    rows = {split: np.flatnonzero([sample.split == split for sample in samples]) for split in SPLITS}
    fingerprint = short_hash([cache_key(manifest, spec.stored_short_side), manifest.split_fingerprint])
    splits = {split: whole.select(chosen) for split, chosen in rows.items() if len(chosen)}
    return ImageStream(manifest, fingerprint, splits, quarantine)
