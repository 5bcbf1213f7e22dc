"""How much room the decoded images will take, known before the first of them is decoded."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np

from sweeper.data.decode import fitted_size
from sweeper.data.manifest import ImageSource, Sample
from sweeper.errors import CacheError, DataError
from sweeper.spec.data import DataSpec

_HEADERS: Final = 500  # read at most; the mean of as many sizes is off by 1 to 2 %
_THREADS: Final = 8  # headers wait for the disk, not for the processor


def predict_bytes(samples: Sequence[Sample], source: ImageSource, *, short_side: int) -> int:
    """Returns the bytes that the images take when decoded, from the headers of up to 500 of them, evenly chosen.

    Three bytes a pixel: 7,606 images of 4:3 with a short side of 256 px take 1.99 GB.
    """
    if not samples:
        return 0
    chosen = np.linspace(0, len(samples) - 1, min(_HEADERS, len(samples))).astype(int).tolist()

    def stored(index: int) -> int:
        try:
            width, height = source.size(samples[index])
        except DataError:  # left out then
            return 0
        width, height = fitted_size(width, height, short_side=short_side)
        return width * height * 3

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="headers") as pool:
        return round(sum(pool.map(stored, chosen)) / len(chosen) * len(samples))


def check_room(folder: Path, spec: DataSpec, *, num_images: int, predicted: int, written: int) -> None:
    """Refuses a cache that is larger than it may be, or than there is room for.

    Args:
        folder: where the cache will be.
        spec: how large it may be.
        num_images: how many images it holds.
        predicted: bytes that it takes.
        written: bytes of them that are on the disk already.

    Raises:
        DataError: it would take more than `data.max_gb`.
        CacheError: the disk has less room.
    """
    if spec.max_gb is not None and predicted > spec.max_gb * 1e9:
        raise DataError(
            f"The decoded images may take at most {spec.max_gb:g} GB (`data.max_gb`), but {num_images} images with a "
            f"short side of {spec.stored_short_side} px take about {gigabytes(predicted)}. Allow more, lower "
            f"`data.store_size`, or set `data.stream: true`."
        )
    needed, free = predicted - written, shutil.disk_usage(folder).free
    if needed > free:
        raise CacheError(
            f"The image cache `{folder}` needs about {gigabytes(needed)} more, but its disk has {gigabytes(free)} "
            f"left. Make room there, set SWEEPER_CACHE to another folder, or set `data.stream: true`."
        )


def gigabytes(num_bytes: int) -> str:
    """Returns a size as people write it, in units of 10^9 or 10^6 bytes."""
    return f"{num_bytes / 1e9:.2f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.1f} MB"
