"""The parts of a decoded cache: Arrow files of some hundred images, each written whole and checked by itself."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError

from sweeper.data.manifest import Observation, Pixels, Sample
from sweeper.data.quarantine import Quarantined
from sweeper.paths import written_aside

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

PART_BYTES: Final = 64 * 2**20
"""About what a part takes on disk: what a killed build loses, once a core."""
_BATCH_BYTES: Final = 16 * 2**20  # decoded images that a core holds in memory before they are written


class CachePart(BaseModel):
    """What is in a part; it is written after the part, so that a part without it counts as missing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    num_images: int
    quarantined: tuple[Quarantined, ...]
    size_bytes: int
    index_sha256: str
    sha256: str


@dataclass(frozen=True)
class PartFiles:
    """The two files of one part."""

    folder: Path
    number: int

    @property
    def images(self) -> Path:
        """The decoded images, an Arrow IPC file."""
        return self.folder / f"images-{self.number:05d}.arrow"

    @property
    def about(self) -> Path:
        """A `CachePart`, as JSON."""
        return self.folder / f"images-{self.number:05d}.json"


def images_per_part(short_side: int) -> int:
    """Returns how many images a part holds, so that it takes about `PART_BYTES`."""
    return max(1, min(1024, PART_BYTES // (short_side * short_side * 4)))  # 4: three channels at 4:3


def write_part(files: PartFiles, loaded: Iterable[tuple[Sample, Pixels | Quarantined]]) -> CachePart:
    """Writes a part; what of it cannot be read is listed in the result.

    Raises:
        OSError: the part cannot be written; nothing of it is left then.
    """
    quarantined: list[Quarantined] = []
    num_images = 0
    # Parts are flushed together, once all are written: a lost one would be found by its checksum.
    with written_aside(files.images, flush=False) as aside:
        with pa.OSFile(str(aside), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
            for rows in _batches(loaded, quarantined):
                writer.write_batch(_record_batch(rows))
                num_images += len(rows)
        _, batches = map_batches(aside)
        part = CachePart(
            number=files.number,
            num_images=num_images,
            quarantined=tuple(quarantined),
            size_bytes=aside.stat().st_size,
            index_sha256=index_sha256(batches),
            sha256=file_sha256(aside),
        )
    with written_aside(files.about, flush=False) as aside:
        aside.write_text(part.model_dump_json(), encoding="utf-8")
    return part


def whole_part(files: PartFiles) -> CachePart | None:
    """Returns what is in a part if it is there, whole and undamaged; reads all of it."""
    try:
        part = CachePart.model_validate_json(files.about.read_bytes())
        intact = files.images.stat().st_size == part.size_bytes and file_sha256(files.images) == part.sha256
    except (FileNotFoundError, ValidationError):
        return None
    return part if intact else None


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


def _batches(
    loaded: Iterable[tuple[Sample, Pixels | Quarantined]], quarantined: list[Quarantined]
) -> Iterator[list[tuple[Sample, Pixels]]]:
    """Yields the images in batches of about `_BATCH_BYTES`, and adds what could not be read to `quarantined`."""
    rows: list[tuple[Sample, Pixels]] = []
    held = 0
    for sample, image in loaded:
        if isinstance(image, Quarantined):
            quarantined.append(image)
            continue
        rows.append((sample, image))
        held += image.nbytes
        if held >= _BATCH_BYTES:
            yield rows
            rows, held = [], 0
    if rows:
        yield rows


def _record_batch(rows: list[tuple[Sample, Pixels]]) -> Any:
    images = [image for _, image in rows]
    offsets = np.cumsum([0, *(image.size for image in images)], dtype=np.int64)
    flat = np.concatenate([image.reshape(-1) for image in images])
    pixels = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(rows), [None, pa.py_buffer(offsets), pa.py_buffer(flat)]
    )
    places = [sample.observation or Observation() for sample, _ in rows]
    columns = [
        pa.array([sample.key for sample, _ in rows], pa.string()),
        pa.array([sample.label for sample, _ in rows], pa.int64()),
        pa.array([place.latitude for place in places], pa.float64()).fill_null(math.nan),
        pa.array([place.longitude for place in places], pa.float64()).fill_null(math.nan),
        pa.array([place.date for place in places], pa.string()),
        pa.array([image.shape[0] for image in images], pa.int32()),
        pa.array([image.shape[1] for image in images], pa.int32()),
        pixels,
    ]
    return pa.record_batch(columns, schema=SCHEMA)
