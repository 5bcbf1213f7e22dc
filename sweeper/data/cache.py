"""The decoded cache: an uncompressed Arrow file of uint8 images, mapped into memory, shared by all trials."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError

from sweeper.data.manifest import SPLITS, Manifest, Pixels, Split, short_hash
from sweeper.data.metadata import encode
from sweeper.errors import CacheError, DataError

FORMAT_VERSION: Final = 2
"""Part of the cache key: raise it with any change of the file's layout or of how images are prepared."""

SCHEMA: Final = pa.schema(
    [
        ("key", pa.string()),
        ("label", pa.int64()),
        ("latitude", pa.float64()),
        ("longitude", pa.float64()),
        ("date", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("pixels", pa.large_binary()),
    ]
)
"""One row an image; `pixels` is height x width x 3 bytes, RGB, row by row. NaN and an empty date are what is not
known. Splits are not in the file: all splits of a data set share one cache."""


class Quarantined(BaseModel):
    """An image that could not be read, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    reason: str


class CacheManifest(BaseModel):
    """What `manifest.json` says about `images.arrow`; it is written last, so it is there or nothing is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str
    format_version: int
    short_side: int
    classes: tuple[str, ...]
    num_images: int
    quarantined: tuple[Quarantined, ...]
    size_bytes: int
    index_sha256: str
    sha256: str


@dataclass(frozen=True)
class CacheFiles:
    """The files of one cache folder."""

    folder: Path

    @property
    def images(self) -> Path:
        """All decoded images, an Arrow IPC file."""
        return self.folder / "images.arrow"

    @property
    def manifest(self) -> Path:
        """A `CacheManifest`, as JSON."""
        return self.folder / "manifest.json"

    @property
    def lock(self) -> Path:
        """Held by the process that builds the cache."""
        return self.folder / "build.lock"


@dataclass(frozen=True, eq=False)
class ImageSplit:
    """The images of one split, in the order of their keys."""

    labels: npt.NDArray[np.int64]
    keys: tuple[str, ...]
    _file: Pixels
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
        return self._file[start : start + height * width * 3].reshape(height, width, 3)

    def select(self, rows: npt.NDArray[np.int64]) -> ImageSplit:
        """Returns the images at `rows`, in that order; copies no pixels."""
        keys = tuple(self.keys[row] for row in rows.tolist())
        metadata = None if self.metadata is None else self.metadata[rows]
        return ImageSplit(self.labels[rows], keys, self._file, self._starts[rows], self._shapes[rows], metadata)


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
    _splits: Mapping[Split, ImageSplit] = field(default_factory=dict)

    def divided(self, manifest: Manifest) -> ImageCache:
        """Returns the cache with the splits of `manifest`; images that are not in it are in no split."""
        split_of = {sample.key: sample.split for sample in manifest.samples}
        found = np.array([split_of.get(key, "") for key in self.images.keys], dtype=object)
        rows = {split: np.flatnonzero(found == split) for split in SPLITS}
        splits = {split: self.images.select(chosen) for split, chosen in rows.items() if len(chosen)}
        return replace(self, split_fingerprint=manifest.split_fingerprint, _splits=splits)

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
        if name not in self._splits:
            have = ", ".join(f"`{split}`" for split in self._splits)
            raise DataError(f"The data must have a `{name}` split, but it has only {have}.")
        return self._splits[name]

    def verify(self) -> None:
        """Reads the whole file and compares its checksum: seconds a gigabyte.

        Raises:
            CacheError: the file is damaged.
        """
        if file_sha256(CacheFiles(self.folder).images) != self.manifest.sha256:
            raise damaged(self.folder, "its checksum is not the one it was written with")


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
        size_bytes = files.images.stat().st_size
        if size_bytes != manifest.size_bytes:
            raise damaged(folder, f"it has {size_bytes} bytes and should have {manifest.size_bytes}")
        mapped, batches = map_batches(files.images)
    except FileNotFoundError as error:
        raise CacheError(
            f"An image cache must be built first, but `{folder}` holds none; run `sweeper data prepare`."
        ) from error
    except ValidationError as error:
        raise damaged(folder, "its `manifest.json` cannot be read") from error
    except (pa.ArrowException, OSError) as error:
        raise damaged(folder, str(error)) from error
    if index_sha256(batches) != manifest.index_sha256:
        raise damaged(folder, "the checksum of its index is not the one it was written with")
    return ImageCache(folder, manifest, _images(mapped, batches))


def damaged(folder: Path, why: str) -> CacheError:
    """Returns the error for a cache that must be built again."""
    return CacheError(f"The image cache `{folder}` is damaged: {why}. Run `sweeper data prepare` to build it again.")


def map_batches(path: Path) -> tuple[pa.Buffer, list[Any]]:
    """Maps an Arrow file and returns the mapped bytes and the record batches, which point into them."""
    with pa.memory_map(str(path)) as source:
        mapped = source.read_buffer()
    reader = pa.ipc.open_file(mapped)
    return mapped, [reader.get_batch(number) for number in range(reader.num_record_batches)]


def index_sha256(batches: list[Any]) -> str:
    """Returns a checksum of all columns but the pixels themselves: kilobytes, whatever the images weigh."""
    digest = hashlib.sha256()
    for batch in batches:
        *small, pixels = batch.columns
        for column in small:
            for buffer in column.buffers()[1:]:
                digest.update(buffer)
        digest.update(pixels.buffers()[1])  # where each image starts
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """Returns the checksum of a file's content."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _images(mapped: pa.Buffer, batches: list[Any]) -> ImageSplit:
    """Returns all images; each is found by its absolute position in the mapped file."""
    table = pa.Table.from_batches(batches, schema=SCHEMA)
    shapes = np.stack([table["height"].to_numpy(), table["width"].to_numpy()], axis=1).astype(np.int64)
    starts = np.concatenate([np.empty(0, np.int64), *(_starts(mapped, batch) for batch in batches)])
    file: Pixels = np.frombuffer(mapped, dtype=np.uint8)
    keys = tuple(table["key"].to_pylist())
    return ImageSplit(table["label"].to_numpy(), keys, file, starts, shapes, _metadata(table))


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
