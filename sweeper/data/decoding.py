"""Decodes images into the parts of a cache, each core a part of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from threading import Event, Lock
from typing import Final

import cv2

from sweeper.data.cache import CacheFiles, num_cores
from sweeper.data.decode import fit
from sweeper.data.manifest import ImageSource, Pixels, Sample
from sweeper.data.parts import CachePart, write_part
from sweeper.data.quarantine import Quarantined
from sweeper.errors import DataError

OnProgress = Callable[[str, int, int], None]
"""Called with what is being done, the number of images done and the number of all."""

_TOLD_EVERY_SECONDS: Final = 0.1


class _Counter:
    """Images done, counted by all threads."""

    def __init__(self) -> None:
        self.done = 0
        self._lock = Lock()

    def add(self) -> None:
        """Counts an image."""
        with self._lock:
            self.done += 1


def decode_parts(
    files: CacheFiles,
    parts: Mapping[int, Sequence[Sample]],
    source: ImageSource,
    *,
    short_side: int,
    on_progress: OnProgress,
) -> dict[int, CachePart]:
    """Decodes images and writes them, one part a core at a time.

    Threads, not processes: decoders and resizing let go of the interpreter lock. Each holds at most 16 MB of decoded
    images besides the one that it decodes.

    Args:
        files: where the parts are written.
        parts: the samples of each part by its number.
        source: gives the pixels.
        short_side: of the stored images, in pixels.
        on_progress: called several times a second, in the caller's thread.

    Returns:
        What was written, by the number of the part.

    Raises:
        OSError: a part cannot be written; those that were finished before stay.
    """
    total = sum(map(len, parts.values()))
    counter, stop = _Counter(), Event()

    def build(number: int) -> CachePart:
        return write_part(files.part(number), _loaded(parts[number], source, short_side, counter, stop))

    cv2.setNumThreads(1)  # images are decoded side by side; a second level of threads only costs
    built: dict[int, CachePart] = {}
    pool = ThreadPoolExecutor(num_cores(), thread_name_prefix="decode")
    try:
        pending: set[Future[CachePart]] = {pool.submit(build, number) for number in parts}
        while pending:
            finished, pending = wait(pending, timeout=_TOLD_EVERY_SECONDS, return_when=FIRST_COMPLETED)
            built |= {part.number: part for part in (future.result() for future in finished)}
            on_progress("decoding images", counter.done, total)
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
    return built


def _loaded(
    samples: Sequence[Sample], source: ImageSource, short_side: int, counter: _Counter, stop: Event
) -> Iterator[tuple[Sample, Pixels | Quarantined]]:
    """Yields the images as they are stored, or why they cannot be read."""
    for sample, encoded in source.stream(samples):
        if stop.is_set():
            raise CancelledError
        image: Pixels | Quarantined
        try:
            image = fit(encoded(short_side=short_side), short_side=short_side)
        except DataError as error:
            image = Quarantined(key=sample.key, reason=str(error))
        counter.add()
        yield sample, image
