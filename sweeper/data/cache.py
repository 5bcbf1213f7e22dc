"""The decoded cache: uncompressed Arrow files of uint8 images, mapped into memory, shared by all trials."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError

from sweeper.data.manifest import SPLITS, Manifest, Pixels, Split, short_hash, split_named
from sweeper.data.metadata import encode
from sweeper.data.parts import SCHEMA, CachePart, PartFiles, index_sha256, map_batches, whole_part
from sweeper.data.quarantine import Quarantined
from sweeper.errors import CacheError

FORMAT_VERSION: Final = 3
"""Part of the cache key: raise it with any change of the file's layout or of how images are prepared."""


class CacheManifest(BaseModel):
    """What `manifest.json` says about the parts; it is written last, so it is there or nothing is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str
    format_version: int
    short_side: int
    classes: tuple[str, ...]
    predicted_bytes: int
    """What the images were expected to take before the first was decoded."""
    parts: tuple[CachePart, ...]

    @property
    def num_images(self) -> int:
        """Images that could be read."""
        return sum(part.num_images for part in self.parts)

    @property
    def size_bytes(self) -> int:
        """What they take on disk."""
        return sum(part.size_bytes for part in self.parts)

    @property
    def quarantined(self) -> tuple[Quarantined, ...]:
        """Images that could not."""
        return tuple(image for part in self.parts for image in part.quarantined)


@dataclass(frozen=True)
class CacheFiles:
    """The files of one cache folder."""

    folder: Path

    def part(self, number: int) -> PartFiles:
        """Returns the files of part `number`: decoded images."""
        return PartFiles(self.folder, number)

    @property
    def manifest(self) -> Path:
        """A `CacheManifest`, as JSON."""
        return self.folder / "manifest.json"

    @property
    def quarantined(self) -> Path:
        """The images that are left out, a CSV with their keys and the reasons; there are some or it is not there."""
        return self.folder / "quarantined.csv"

    @property
    def duplicates(self) -> Path:
        """Which images are there twice, once somebody has asked."""
        return self.folder / "duplicates.npz"

    @property
    def lock(self) -> Path:
        """Held by the process that builds the cache."""
        return self.folder / "build.lock"

    @property
    def builder(self) -> Path:
        """Names the process that builds the cache, for those that wait for it."""
        return self.folder / "builder.txt"


@dataclass(frozen=True, eq=False)
class ImageSplit:
    """The images of one split, in the order in which their source is read fastest: for files that of their keys."""

    labels: npt.NDArray[np.int64]
    keys: tuple[str, ...]
    numbers: npt.NDArray[np.int64]
    """(N,): where each image stands in the data set's manifest; in the cache, before there are splits."""
    _files: tuple[Pixels, ...]
    _parts: npt.NDArray[np.int64]
    _starts: npt.NDArray[np.int64]
    _shapes: npt.NDArray[np.int64]
    metadata: npt.NDArray[np.float32] | None = None
    """(N, 7): month, hour and place of each image, zeros for what is missing; None where no image of the data set,
    in whatever split, has any."""

    def __len__(self) -> int:
        return len(self.keys)

    def image(self, index: int) -> Pixels:
        """Returns image `index` as (height, width, 3) uint8 RGB: a read-only view of the file, no copy."""
        height, width = self._shapes[index].tolist()
        start = int(self._starts[index])
        file: Pixels = self._files[self._parts[index]]
        return file[start : start + height * width * 3].reshape(height, width, 3)

    def select(self, rows: npt.NDArray[np.int64]) -> ImageSplit:
        """Returns the images at `rows`, in that order; copies no pixels."""
        keys = tuple(self.keys[row] for row in rows.tolist())
        metadata = None if self.metadata is None else self.metadata[rows]
        return replace(
            self, labels=self.labels[rows], keys=keys, numbers=self.numbers[rows], metadata=metadata,
            _parts=self._parts[rows], _starts=self._starts[rows], _shapes=self._shapes[rows],
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class ImageCache:
    """A decoded data set on this machine, as `prepare_images` or `open_cache` returns it.

    Example::

        cache = prepare_images(spec.data, CachePaths.default())
        train = cache.split("train")
        first, label = train.image(0), cache.classes[train.labels[0]]
    """

    folder: Path
    manifest: CacheManifest
    images: ImageSplit
    """All images, whatever their split."""
    split_fingerprint: str = ""
    """`Manifest.split_fingerprint` of the splits; empty before there are any."""
    notes: tuple[str, ...] = ()
    """`Manifest.notes` of what was listed."""
    _splits: Mapping[Split, ImageSplit] = field(default_factory=dict)

    def divided(self, manifest: Manifest, *, listed: Manifest | None = None) -> ImageCache:
        """Returns the cache with the splits of `manifest`; images that are not in it are in no split.

        Args:
            manifest: which image is in which split.
            listed: the whole manifest, by which images are numbered, where some were left out of `manifest`.
        """
        number_of = {sample.key: number for number, sample in enumerate((listed or manifest).samples)}
        numbers = np.array([number_of.get(key, -1) for key in self.images.keys], np.int64)
        images = replace(self.images, numbers=numbers)
        split_of = {sample.key: sample.split for sample in manifest.samples}
        found = np.array([split_of.get(key, "") for key in self.images.keys], dtype=object)
        rows = {split: np.flatnonzero(found == split) for split in SPLITS}
        splits = {split: images.select(chosen) for split, chosen in rows.items() if len(chosen)}
        return replace(self, split_fingerprint=manifest.split_fingerprint, notes=manifest.notes, _splits=splits)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; a label is an index into them."""
        return self.manifest.classes

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change with the images, the split or the way they are stored."""
        return short_hash([self.manifest.fingerprint, self.split_fingerprint])

    @property
    def quarantined(self) -> tuple[Quarantined, ...]:
        """The images that are left out because they could not be read."""
        return self.manifest.quarantined

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits that have images; `test` is often not among them."""
        return tuple(self._splits)

    def split(self, name: Split) -> ImageSplit:
        """Returns the images of one split.

        Raises:
            DataError: the data set has no such split.
        """
        return split_named(name, self._splits)

    def verify(self) -> None:
        """Reads all files and compares their checksums: about a second a gigabyte and core.

        Raises:
            CacheError: a file is damaged.
        """
        files = CacheFiles(self.folder)
        with ThreadPoolExecutor(num_cores(), thread_name_prefix="verify") as pool:
            found = pool.map(whole_part, [files.part(part.number) for part in self.manifest.parts])
            for part, whole in zip(self.manifest.parts, found, strict=True):
                if whole != part:
                    why = f"the checksum of `{files.part(part.number).images.name}` is not the one it was written with"
                    raise damaged(self.folder, why)


def open_cache(folder: Path) -> ImageCache:
    """Maps an existing cache into memory; reads no pixels.

    Size and the checksum of everything but the pixels are compared; `ImageCache.verify` checks all of it.
    The images are in no split until `ImageCache.divided` puts them there.

    Raises:
        CacheError: there is no complete cache in `folder`, or it is damaged.
    """
    files = CacheFiles(folder)
    try:
        manifest = CacheManifest.model_validate_json(files.manifest.read_bytes())
    except FileNotFoundError as error:
        raise CacheError(
            f"An image cache must be built first, but `{folder}` holds none; run `sweeper data prepare`."
        ) from error
    except ValidationError as error:
        raise damaged(folder, "its `manifest.json` cannot be read") from error
    return ImageCache(folder, manifest, _images([_open_part(files, part) for part in manifest.parts]))


def cache_key(manifest: Manifest, short_side: int) -> str:
    """Returns what names the cache of these images at this size."""
    return short_hash([FORMAT_VERSION, manifest.fingerprint, short_side])


def num_cores() -> int:
    """Returns the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _open_part(files: CacheFiles, part: CachePart) -> tuple[pa.Buffer, list[Any]]:
    path = files.part(part.number).images
    try:
        size_bytes = path.stat().st_size
        if size_bytes != part.size_bytes:
            raise damaged(files.folder, f"`{path.name}` has {size_bytes} bytes and should have {part.size_bytes}")
        mapped, batches = map_batches(path)
    except (pa.ArrowException, OSError) as error:
        raise damaged(files.folder, str(error)) from error
    if index_sha256(batches) != part.index_sha256:
        raise damaged(files.folder, f"the checksum of the index of `{path.name}` is not the one it was written with")
    return mapped, batches


def damaged(folder: Path, why: str) -> CacheError:
    """Returns the error for a cache that must be built again."""
    return CacheError(f"The image cache `{folder}` is damaged: {why}. Run `sweeper data prepare` to build it again.")


def _images(parts: list[tuple[pa.Buffer, list[Any]]]) -> ImageSplit:
    """Returns all images; each is found by its part and its position in the mapped file."""
    table = pa.Table.from_batches([batch for _, batches in parts for batch in batches], schema=SCHEMA)
    shapes = np.stack([table["height"].to_numpy(), table["width"].to_numpy()], axis=1).astype(np.int64)
    starts = [_starts(mapped, batch) for mapped, batches in parts for batch in batches]
    lengths = [sum(batch.num_rows for batch in batches) for _, batches in parts]
    return ImageSplit(
        labels=table["label"].to_numpy(),
        keys=tuple(table["key"].to_pylist()),
        numbers=np.arange(table.num_rows),
        _files=tuple(np.frombuffer(mapped, dtype=np.uint8) for mapped, _ in parts),
        _parts=np.repeat(np.arange(len(parts)), lengths),
        _starts=np.concatenate([np.empty(0, np.int64), *starts]),
        _shapes=shapes,
        metadata=_metadata(table),
    )


def _metadata(table: pa.Table) -> npt.NDArray[np.float32] | None:
    """Returns place and date of each image, None where no image has any."""
    latitudes, longitudes = table["latitude"].to_numpy(), table["longitude"].to_numpy()
    dates = table["date"].to_pylist()
    if np.isnan(latitudes).all() and np.isnan(longitudes).all() and not any(dates):
        return None
    return encode(latitudes, longitudes, dates)


def _starts(mapped: pa.Buffer, batch: Any) -> npt.NDArray[np.int64]:
    _, offsets, data = batch.column("pixels").buffers()
    first: int = data.address - mapped.address
    return np.frombuffer(offsets, dtype=np.int64)[: batch.num_rows] + first
