"""Builds the decoded cache: once a machine, however many processes ask for it at the same time."""

from __future__ import annotations

import csv
import logging
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from sweeper.data.budget import check_room, gigabytes, predict_bytes
from sweeper.data.cache import FORMAT_VERSION, CacheFiles, CacheManifest, ImageCache, cache_key, num_cores, open_cache
from sweeper.data.decoding import OnProgress, decode_parts
from sweeper.data.duplicates import without_twins
from sweeper.data.manifest import ImageSource, Manifest, Sample
from sweeper.data.parts import CachePart, images_per_part, whole_part
from sweeper.data.quarantine import refuse_too_many
from sweeper.data.readers import read_manifest
from sweeper.errors import CacheError, DataError
from sweeper.paths import CachePaths, flush_file, written_aside
from sweeper.spec.data import DataSpec

_LOOK_EVERY_SECONDS: Final = 0.5  # whether the process that builds is done

_log = logging.getLogger(__name__)


def prepare_images(
    spec: DataSpec, cache: CachePaths, *, verify: bool = False, on_progress: OnProgress | None = None
) -> ImageCache:
    """Opens the decoded cache of `spec`, building it first where it is missing or damaged.

    Several processes may call this at once: one builds, the others wait and open. A build that was killed goes on
    where it was. Listing the images takes a moment in a large data set, so a process calls this once and keeps the
    result.

    Args:
        spec: which images, and how large they are stored.
        cache: where caches lie.
        verify: compare the checksums of the files, not of their indices only.
        on_progress: called several times a second while images are decoded, or another process decodes them.

    Raises:
        DataError: the images cannot be used, take more room than they may, or too many of them cannot be read.
        CacheError: the cache cannot be written.
    """
    manifest, source = read_manifest(spec)
    for note in manifest.notes:
        _log.info(note)
    folder = cache.images(cache_key(manifest, spec.stored_short_side))
    opened = _open_intact(folder, verify=verify)
    if opened is None:
        try:
            opened = _build_once(_Plan(folder, manifest, source, spec), on_progress or _no_progress)
        except OSError as error:
            # Arrow's errors carry the number, but a text of its own.
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise CacheError(
                f"The image cache `{folder}` cannot be written: {reason}. "
                f"Make room there, or set SWEEPER_CACHE to another folder."
            ) from error
    dropping = spec.split.duplicates == "drop"
    kept = without_twins(manifest, opened, on_progress) if dropping else manifest
    divided = opened.divided(kept, listed=manifest)
    refuse_too_many(divided.quarantined, spec, num_images=len(manifest.samples))
    for split in ("train", "val"):
        if split not in divided.splits:
            raise DataError(f"The `{split}` split must hold an image that can be read, but it holds none.")
    return divided


def open_prepared(spec: DataSpec, cache: CachePaths) -> ImageCache:
    """Opens the decoded cache of `spec` as it is: decodes nothing, for whoever only wants to show some images.

    Raises:
        DataError: the images are not there any more, or the spec keeps none.
        CacheError: they are not decoded on this machine, or the cache is damaged.
    """
    if spec.stream:
        raise DataError("With `data.stream` no decoded images are kept.")
    manifest, _ = read_manifest(spec)
    opened = open_cache(cache.images(cache_key(manifest, spec.stored_short_side)))
    return opened.divided(without_twins(manifest, opened, None) if spec.split.duplicates == "drop" else manifest)


@dataclass(frozen=True, eq=False)
class _Plan:
    """What is to be built, and where."""

    folder: Path
    manifest: Manifest
    source: ImageSource
    spec: DataSpec

    @property
    def files(self) -> CacheFiles:
        """The files of the cache."""
        return CacheFiles(self.folder)

    def parts(self) -> list[tuple[Sample, ...]]:
        """Returns the samples of each part, in the order in which the source is read fastest."""
        samples = self.source.ordered(self.manifest.samples)
        size = images_per_part(self.spec.stored_short_side)
        return [samples[start : start + size] for start in range(0, len(samples), size)]


def _no_progress(what: str, done: int, total: int) -> None:
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


def _build_once(plan: _Plan, on_progress: OnProgress) -> ImageCache:
    """Builds under the lock, unless another process has done so meanwhile."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    with _locked(plan, on_progress):
        # A full check: a file that was found damaged before the lock must not pass by its index alone.
        opened = _open_intact(plan.folder, verify=True)
        return opened or _build(plan, on_progress)


@contextmanager
def _locked(plan: _Plan, on_progress: OnProgress) -> Iterator[None]:
    """Holds the lock of the folder; while another process holds it, tells which one and how far it is."""
    files, total = plan.files, len(plan.manifest.samples)
    lock = FileLock(files.lock)
    waiting_for = ""
    while not lock.is_locked:
        try:
            lock.acquire(timeout=_LOOK_EVERY_SECONDS)
        except Timeout:
            written = len(list(plan.folder.glob("images-*.json"))) * images_per_part(plan.spec.stored_short_side)
            builder = _builder(files)
            what = f"waiting for {builder}, which decodes the same images"
            if builder != waiting_for:
                _log.info("%s", what)
            waiting_for = builder
            on_progress(what, min(written, total), total)
    try:
        files.builder.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
        yield
    finally:
        files.builder.unlink(missing_ok=True)
        lock.release()


def _builder(files: CacheFiles) -> str:
    with suppress(OSError):
        return files.builder.read_text(encoding="utf-8") or "another process"
    return "another process"


def _build(plan: _Plan, on_progress: OnProgress) -> ImageCache:
    """Builds what is missing of the parts; those that an earlier build finished are kept."""
    files, parts = plan.files, plan.parts()
    for leftover in plan.folder.glob(".*.part"):  # of a process that was killed while it held the lock
        leftover.unlink()
    files.manifest.unlink(missing_ok=True)
    whole = _whole_parts(files, len(parts))
    samples, short_side = plan.manifest.samples, plan.spec.stored_short_side
    predicted = predict_bytes(samples, plan.source, short_side=short_side)
    written = sum(part.size_bytes for part in whole.values())
    check_room(plan.folder, plan.spec, num_images=len(samples), predicted=predicted, written=written)
    _log.info("decoding %d images, about %s; %d parts of %d are there already", len(samples), gigabytes(predicted),
              len(whole), len(parts))  # fmt: skip
    missing = {number: part for number, part in enumerate(parts) if number not in whole}
    before = len(samples) - sum(map(len, missing.values()))

    def tell(what: str, done: int, _: int) -> None:
        on_progress(what, before + done, len(samples))

    built = decode_parts(files, missing, plan.source, short_side=short_side, on_progress=tell)
    content = CacheManifest(
        fingerprint=cache_key(plan.manifest, short_side),
        format_version=FORMAT_VERSION,
        short_side=short_side,
        classes=plan.manifest.classes,
        predicted_bytes=predicted,
        parts=tuple(part for _, part in sorted((whole | built).items())),
    )
    _finish(files, content)
    return open_cache(plan.folder)


def _whole_parts(files: CacheFiles, count: int) -> dict[int, CachePart]:
    """Returns the parts that are there, whole and undamaged, by their numbers."""
    with ThreadPoolExecutor(num_cores(), thread_name_prefix="verify") as pool:
        found = pool.map(whole_part, [files.part(number) for number in range(count)])
        return {number: part for number, part in enumerate(found) if part is not None}


def _finish(files: CacheFiles, content: CacheManifest) -> None:
    """Flushes the parts to the disk and writes what makes a cache of them."""
    with ThreadPoolExecutor(num_cores(), thread_name_prefix="flush") as pool:
        list(pool.map(flush_file, [files.part(part.number).images for part in content.parts]))
    files.quarantined.unlink(missing_ok=True)
    if content.quarantined:
        with written_aside(files.quarantined) as aside, aside.open("w", encoding="utf-8", newline="") as handle:
            lines = csv.writer(handle)
            lines.writerow(("image", "reason"))
            lines.writerows((image.key, image.reason) for image in content.quarantined)
    with written_aside(files.manifest) as aside:
        aside.write_text(content.model_dump_json(indent=2), encoding="utf-8")
