"""What a frozen prefix gives for each image, kept on disk: computed once a machine, by whoever needs it first."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from filelock import FileLock
from torch import Tensor

from sweeper.errors import ResourceError
from sweeper.paths import written_aside

_GIB: Final = 2.0**30
_SAME_WIDTH: Final = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
"""numpy has no bfloat16: numbers are kept as whole numbers of their width."""

Rows = tuple[npt.NDArray[np.int64], tuple[Tensor, ...]]
"""Which images, and what the prefix gives for them, each (B, ...), on any device."""


@dataclass(frozen=True, eq=False)
class Features:
    """Features of all images of a split, mapped into memory."""

    _arrays: tuple[npt.NDArray[np.generic], ...]
    _dtypes: tuple[torch.dtype, ...]

    def rows(self, indices: npt.NDArray[np.int64]) -> tuple[Tensor, ...]:
        """Returns copies of the features of the images at `indices`, each (B, ...)."""
        pairs = zip(self._arrays, self._dtypes, strict=True)
        return tuple(torch.from_numpy(array[indices]).view(dtype) for array, dtype in pairs)


@dataclass(frozen=True)
class FeatureStore:
    """A folder of features, a few files for each view of a split."""

    folder: Path

    def get(self, name: str, *, num_images: int, compute: Iterable[Rows]) -> Features:
        """Returns the features called `name`, computing them if they are not there whole.

        Args:
            name: of the view, as `train-0003`.
            num_images: of the split.
            compute: gives the features of each image once, in batches; is only iterated if needed.

        Raises:
            ResourceError: the disk has no room for them.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / f"{name}.lock"):
            found = self._open(name)
            if found is None:
                self._write(name, num_images, iter(compute))
                found = self._open(name)
        assert found is not None  # just written, and under the lock
        return found

    def _open(self, name: str) -> Features | None:
        """Maps the files of a view; None where they are missing or not whole."""
        try:
            about = json.loads(self._about(name).read_bytes())
            arrays = tuple(np.load(self._file(name, number), mmap_mode="r") for number in range(len(about)))
        except (OSError, ValueError, EOFError):
            return None
        if any(list(array.shape) != one["shape"] for array, one in zip(arrays, about, strict=True)):
            return None
        return Features(arrays, tuple(getattr(torch, one["dtype"]) for one in about))

    def _write(self, name: str, num_images: int, batches: Iterator[Rows]) -> None:
        """Writes the files of a view and, when they are whole, what says so."""
        first = next(batches)
        _, features = first
        shapes = [(num_images, *tensor.shape[1:]) for tensor in features]
        self._require_room(sum(tensor[0].nbytes * num_images for tensor in features))
        aside = [self._file(name, number).with_suffix(".part") for number in range(len(features))]
        arrays = [
            np.lib.format.open_memmap(path, mode="w+", dtype=_SAME_WIDTH[tensor.element_size()], shape=shape)
            for path, tensor, shape in zip(aside, features, shapes, strict=True)
        ]
        for indices, tensors in chain([first], batches):
            for array, tensor in zip(arrays, tensors, strict=True):
                array[indices] = tensor.cpu().contiguous().view(_whole(tensor.element_size())).numpy()
        for number, (array, path) in enumerate(zip(arrays, aside, strict=True)):
            array.flush()
            path.replace(self._file(name, number))
        about = [
            {"shape": list(shape), "dtype": str(tensor.dtype).removeprefix("torch.")}
            for shape, tensor in zip(shapes, features, strict=True)
        ]
        with written_aside(self._about(name)) as path:
            path.write_text(json.dumps(about), encoding="utf-8")

    def _require_room(self, needed: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise ResourceError(
                f"A view of the frozen stages' features needs {needed / _GIB:.1f} GiB, but `{self.folder}` has "
                f"{free / _GIB:.1f} GiB free; freeze more stages, set `cache_features: 0`, or move `SWEEPER_CACHE`."
            )

    def _about(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _file(self, name: str, number: int) -> Path:
        return self.folder / f"{name}-{number}.npy"


def _whole(width: int) -> torch.dtype:
    return {1: torch.uint8, 2: torch.uint16, 4: torch.uint32, 8: torch.uint64}[width]
