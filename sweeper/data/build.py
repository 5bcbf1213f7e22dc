"""Builds the decoded cache: once a machine, however many processes ask for it at the same time."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import pyarrow as pa
from filelock import FileLock

from sweeper.data.cache import (
    FORMAT_VERSION,
    SCHEMA,
    CacheFiles,
    CacheManifest,
    ImageCache,
    Quarantined,
    file_sha256,
    index_sha256,
    map_batches,
    open_cache,
)
from sweeper.data.decode import fit
from sweeper.data.manifest import ImageSource, Manifest, Observation, Pixels, Sample
from sweeper.data.readers import read_manifest
from sweeper.errors import CacheError, DataError
from sweeper.paths import CachePaths, written_aside
from sweeper.spec.data import DataSpec

OnProgress = Callable[[int, int], None]
"""Called with the number of images done and the number of all."""

_BATCH_BYTES: Final = 64 * 2**20  # decoded images held in memory before they are written
_NAMED_IMAGES: Final = 3  # how many unreadable images an error names

_log = logging.getLogger(__name__)


def prepare_images(
    spec: DataSpec, cache: CachePaths, *, verify: bool = False, on_progress: OnProgress | None = None
) -> ImageCache:
    """Opens the decoded cache of `spec`, building it first where it is missing or damaged.

    Several processes may call this at once: one builds, the others wait and open. Listing the images takes
    a moment in a large data set, so a process calls this once and keeps the result.

    Args:
        spec: which images, and how large they are stored.
        cache: where caches lie.
        verify: compare the checksum of the whole file, not of its index only.
        on_progress: called for every decoded image; never, where the cache is there already.

    Raises:
        DataError: the images cannot be used, or too many of them cannot be read.
        CacheError: the cache cannot be written.
    """
    manifest, source = read_manifest(spec)
    for note in manifest.notes:
        _log.info(note)
    folder = cache.images(_cache_key(manifest, spec.stored_short_side))
    opened = _open_intact(folder, verify=verify)
    if opened is None:
        try:
            opened = _build_once(folder, manifest, source, spec, on_progress or _no_progress)
        except OSError as error:
            # Arrow's errors carry the number, but a text of its own.
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise CacheError(
                f"The image cache `{folder}` cannot be written: {reason}. "
                f"Make room there, or set SWEEPER_CACHE to another folder."
            ) from error
    divided = opened.divided(manifest)
    _refuse_too_many_unreadable(divided, spec)
    return divided


def _cache_key(manifest: Manifest, short_side: int) -> str:
    canonical = json.dumps([FORMAT_VERSION, manifest.fingerprint, short_side])
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _no_progress(done: int, total: int) -> None:
    """Shows nothing."""


def _open_intact(folder: Path, *, verify: bool) -> ImageCache | None:
    """Returns the cache in `folder`, None where it is missing or damaged."""
    if not CacheFiles(folder).manifest.exists():
        return None
    try:
        opened = open_cache(folder)
        if verify:
            opened.verify()
    except CacheError as error:
        _log.warning("%s It is built again now.", error)
        return None
    return opened


def _build_once(
    folder: Path, manifest: Manifest, source: ImageSource, spec: DataSpec, on_progress: OnProgress
) -> ImageCache:
    """Builds under the lock, unless another process has done so meanwhile."""
    files = CacheFiles(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(files.lock):
        # A full check: a file that was found damaged before the lock must not pass by its index alone.
        opened = _open_intact(folder, verify=True)
        if opened is not None:
            return opened
        for leftover in folder.glob(".*.part"):  # of a process that was killed while it held the lock
            leftover.unlink()
        with suppress(FileNotFoundError):
            files.manifest.unlink()
        quarantined: list[Quarantined] = []
        with written_aside(files.images) as aside:
            _write_images(aside, _decoded(manifest, source, spec, on_progress), quarantined)
        content = _describe_file(files.images, manifest, spec.stored_short_side, quarantined)
        with written_aside(files.manifest) as aside:
            aside.write_text(content.model_dump_json(indent=2), encoding="utf-8")
        return open_cache(folder)


def _decoded(
    manifest: Manifest, source: ImageSource, spec: DataSpec, on_progress: OnProgress
) -> Iterator[list[tuple[Sample, Pixels | Quarantined]]]:
    """Yields the images in chunks of about `_BATCH_BYTES`, each chunk decoded by all cores."""
    short_side = spec.stored_short_side

    def load(sample: Sample) -> tuple[Sample, Pixels | Quarantined]:
        try:
            return sample, fit(source.read(sample, short_side=short_side), short_side=short_side)
        except DataError as error:
            return sample, Quarantined(key=sample.key, reason=str(error))

    size = max(1, min(1024, _BATCH_BYTES // (short_side * short_side * 4)))  # 4: three channels at 4:3
    total = len(manifest.samples)
    cv2.setNumThreads(1)  # images are decoded side by side; a second level of threads only costs
    with ThreadPoolExecutor(_num_cores(), thread_name_prefix="decode") as pool:
        for start in range(0, total, size):
            chunk = []
            for loaded in pool.map(load, manifest.samples[start : start + size]):
                chunk.append(loaded)
                on_progress(start + len(chunk), total)
            yield chunk


def _num_cores() -> int:
    """Returns the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _write_images(
    path: Path, chunks: Iterator[list[tuple[Sample, Pixels | Quarantined]]], quarantined: list[Quarantined]
) -> None:
    """Writes a record batch a chunk, and adds what could not be read to `quarantined`."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
        for chunk in chunks:
            quarantined.extend(image for _, image in chunk if isinstance(image, Quarantined))
            readable = [(sample, image) for sample, image in chunk if not isinstance(image, Quarantined)]
            if readable:
                writer.write_batch(_record_batch(readable))


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


def _describe_file(path: Path, manifest: Manifest, short_side: int, quarantined: list[Quarantined]) -> CacheManifest:
    _, batches = map_batches(path)
    return CacheManifest(
        fingerprint=_cache_key(manifest, short_side),
        format_version=FORMAT_VERSION,
        short_side=short_side,
        classes=manifest.classes,
        num_images=len(manifest.samples) - len(quarantined),
        quarantined=tuple(quarantined),
        size_bytes=path.stat().st_size,
        index_sha256=index_sha256(batches),
        sha256=file_sha256(path),
    )


def _refuse_too_many_unreadable(cache: ImageCache, spec: DataSpec) -> None:
    bad, good = len(cache.quarantined), cache.manifest.num_images
    share = bad / max(1, bad + good)
    if share > spec.max_bad_fraction:
        named = "; ".join(f"`{image.key}` ({image.reason})" for image in cache.quarantined[:_NAMED_IMAGES])
        raise DataError(
            f"At most {spec.max_bad_fraction:.2%} of the images may be unreadable (`data.max_bad_fraction`), "
            f"but {bad} of {bad + good} ({share:.2%}) are: {named}{'; ...' if bad > _NAMED_IMAGES else ''}. "
            f"Repair or delete them."
        )
    for split in ("train", "val"):
        if split not in cache.splits:
            raise DataError(f"The `{split}` split must hold an image that can be read, but it holds none.")
