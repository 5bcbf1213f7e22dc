"""The decoded cache: an uncompressed Arrow file of uint8 images, mapped into memory, shared by all trials."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError

from sweeper.data.manifest import Pixels, Split
from sweeper.errors import CacheError, DataError

FORMAT_VERSION: Final = 2
"""Part of the cache key: raise it with any change of the file's layout or of how images are prepared."""

SCHEMA: Final = pa.schema(
    [
        ("key", pa.string()),
        ("label", pa.int64()),
        ("split", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("pixels", pa.large_binary()),
    ]
)
"""One row an image; `pixels` is height x width x 3 bytes, RGB, row by row."""


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
    counts: dict[Split, int]
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

    def __len__(self) -> int:
        return len(self.keys)

    def image(self, index: int) -> Pixels:
        """Returns image `index` as (height, width, 3) uint8 RGB: a read-only view of the file, no copy."""
        height, width = self._shapes[index].tolist()
        start = int(self._starts[index])
        return self._file[start : start + height * width * 3].reshape(height, width, 3)


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
    _splits: dict[Split, ImageSplit]

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; a label is an index into them."""
        return self.manifest.classes

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change with the images, the split or the way they are stored."""
        return self.manifest.fingerprint

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
    return ImageCache(folder, manifest, _splits(mapped, batches, manifest))


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


def _splits(mapped: pa.Buffer, batches: list[Any], manifest: CacheManifest) -> dict[Split, ImageSplit]:
    """Groups the rows by split; an image is found by its absolute position in the mapped file."""
    table = pa.Table.from_batches(batches, schema=SCHEMA)
    keys = np.array(table["key"].to_pylist(), dtype=object)
    split_of = np.array(table["split"].to_pylist(), dtype=object)
    labels = table["label"].to_numpy()
    shapes = np.stack([table["height"].to_numpy(), table["width"].to_numpy()], axis=1).astype(np.int64)
    starts = np.concatenate([np.empty(0, np.int64), *(_starts(mapped, batch) for batch in batches)])
    file: Pixels = np.frombuffer(mapped, dtype=np.uint8)
    splits: dict[Split, ImageSplit] = {}
    for name in manifest.counts:
        rows = np.flatnonzero(split_of == name)
        splits[name] = ImageSplit(labels[rows], tuple(keys[rows]), file, starts[rows], shapes[rows])
    return splits


def _starts(mapped: pa.Buffer, batch: Any) -> npt.NDArray[np.int64]:
    _, offsets, data = batch.column("pixels").buffers()
    first: int = data.address - mapped.address
    return np.frombuffer(offsets, dtype=np.int64)[: batch.num_rows] + first
