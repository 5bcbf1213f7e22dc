"""Many image files through a model: decoded ahead in threads, answered in their order, bad ones told and left out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sweeper.data import Pixels
from sweeper.errors import DataError
from sweeper.export.model import Model, Prediction


@dataclass(frozen=True)
class Unreadable:
    """A file that is not answered, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class PredictOptions:
    """How to ask a model."""

    top_k: int = 5
    """Guesses an image gets."""
    flip: bool = False
    """Test-time augmentation: average over each image and its mirror image."""
    batch_size: int = 32
    """Images that go through the network at once."""
    threads: int = 4
    """Threads that read and decode files ahead."""


def predict_files(
    model: Model, paths: Iterable[Path], options: PredictOptions
) -> Iterator[tuple[Path, Prediction] | Unreadable]:
    """Yields an answer for each file, in order; two batches of images are in memory, however many there are.

    Args:
        model: whom to ask.
        paths: of image files.
        options: how to ask.
    """
    batch: list[tuple[Path, Pixels | Unreadable]] = []
    for read in _read_ahead(model, paths, options):
        batch.append(read)
        if len(batch) == options.batch_size:
            yield from _answered(model, batch, options)
            batch = []
    yield from _answered(model, batch, options)


def _read_ahead(
    model: Model, paths: Iterable[Path], options: PredictOptions
) -> Iterator[tuple[Path, Pixels | Unreadable]]:
    view = model.preprocess.view

    def read(path: Path) -> tuple[Path, Pixels | Unreadable]:
        try:
            return path, view.of_file(path)
        except DataError as error:
            return path, Unreadable(path, str(error))

    pending: deque[Future[tuple[Path, Pixels | Unreadable]]] = deque()
    with ThreadPoolExecutor(options.threads, thread_name_prefix="decode") as pool:
        for path in paths:
            pending.append(pool.submit(read, path))
            if len(pending) > options.batch_size:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _answered(
    model: Model, batch: list[tuple[Path, Pixels | Unreadable]], options: PredictOptions
) -> Iterator[tuple[Path, Prediction] | Unreadable]:
    """Yields the answers of a batch in the order of its files, whether they could be read or not."""
    pixels = [image for _, image in batch if not isinstance(image, Unreadable)]
    answers = iter(model.predict_pixels(np.stack(pixels), top_k=options.top_k, flip=options.flip) if pixels else ())
    for path, image in batch:
        yield image if isinstance(image, Unreadable) else (path, next(answers))
