"""What a frozen prefix gives for each image, kept on disk: computed once a machine, by whoever needs it first."""

from __future__ import annotations

import logging
import math
import shutil
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from filelock import FileLock
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from sweeper.errors import ResourceError
from sweeper.paths import written_aside

_GIB: Final = 2.0**30
_log = logging.getLogger(__name__)


class FeaturePart(BaseModel):
    """One of the tensors that a prefix gives, for all images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shape: tuple[int, ...]
    """Of one image's part."""
    dtype: str
    """A torch type, as `bfloat16`."""
    crc32: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one image's part."""
        return math.prod(self.shape) * self.torch_dtype.itemsize

    @property
    def torch_dtype(self) -> torch.dtype:
        """The type, as torch knows it."""
        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype


class ViewManifest(BaseModel):
    """What a view's JSON file says about its other files; it is written last, so it is there or nothing is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    parts: tuple[FeaturePart, ...]


@dataclass(frozen=True, eq=False)
class Features:
    """Features of all images of a split, mapped into memory."""

    _parts: tuple[FeaturePart, ...]
    _arrays: tuple[npt.NDArray[np.uint8], ...]

    def rows(self, indices: npt.NDArray[np.int64]) -> tuple[Tensor, ...]:
        """Returns copies of the features of the images at `indices`, each (B, ...)."""
        return tuple(
            torch.from_numpy(array[indices]).view(part.torch_dtype).view(len(indices), *part.shape)
            for part, array in zip(self._parts, self._arrays, strict=True)
        )


@dataclass(frozen=True, eq=False)
class FeatureStore:
    """A folder of features, a few files for each view of a split.

    Example::

        store = FeatureStore(paths.features(key), views={"train-0001": 5826, "val": 1165})
        features, *_ = store.get("val", compute=batches).rows(np.array([3, 1]))
    """

    folder: Path
    views: Mapping[str, int]
    """All views that will be asked for, and how many images each has."""

    def get(self, name: str, *, compute: Iterable[Sequence[Tensor]]) -> Features:
        """Returns the features of a view, computing them if they are not there whole.

        Their files are read once, to compare checksums.

        Args:
            name: one of `views`.
            compute: gives the features of all images in their order, in batches of tensors (B, ...) on any
                device; is only iterated if needed. Other processes that want the view wait meanwhile.

        Raises:
            ResourceError: the disk has no room for the views that are still to come.
        """
        found = self._open(name)
        if found is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / f"{name}.lock"):
                found = self._open(name)
                if found is None:
                    for left in self.folder.glob(f".{name}-*.part"):  # of a process that was killed
                        left.unlink()
                    _log.info("Computing the frozen stages' features of `%s` into %s.", name, self.folder)
                    found = self._map(name, self._computed(name, iter(compute)))
        return found

    def _open(self, name: str) -> Features | None:
        """Maps the files of a view; None where they are missing or damaged."""
        try:
            manifest = ViewManifest.model_validate_json(self._manifest(name).read_bytes())
            features = self._map(name, manifest)
        except (OSError, ValueError):  # a file that is missing, too short, or not what it should be
            return None
        whole = (
            zlib.crc32(array.data) == part.crc32 for array, part in zip(features._arrays, manifest.parts, strict=True)
        )
        return features if all(whole) else None

    def _map(self, name: str, manifest: ViewManifest) -> Features:
        arrays = tuple(
            np.memmap(self._file(name, number), np.uint8, mode="r", shape=(self.views[name], part.row_bytes))
            for number, part in enumerate(manifest.parts)
        )
        return Features(manifest.parts, arrays)

    def _computed(self, name: str, batches: Iterator[Sequence[Tensor]]) -> ViewManifest:
        try:
            return self._write(name, batches)
        except OSError as error:  # the room was there, and somebody else took it
            raise ResourceError(
                f"The frozen stages' features must be written to `{self.folder}`, but it takes no more "
                f"({error.strerror}); free some disk, set `cache_features: 0`, or move `SWEEPER_CACHE`."
            ) from error

    def _write(self, name: str, batches: Iterator[Sequence[Tensor]]) -> ViewManifest:
        """Writes the files of a view and, when they are whole, what says so."""
        first = next(batches)
        self._require_room(name, sum(tensor[0].nbytes for tensor in first))
        sums = [0] * len(first)
        # Written and not mapped: a disk that fills up is then an error and does not end the process.
        with ExitStack() as stack:
            asides = [stack.enter_context(written_aside(self._file(name, number))) for number in range(len(first))]
            files = [stack.enter_context(aside.open("wb")) for aside in asides]
            for tensors in chain([first], batches):
                for number, (file, tensor) in enumerate(zip(files, tensors, strict=True)):
                    rows = tensor.cpu().reshape(len(tensor), -1).contiguous().view(torch.uint8).numpy()
                    sums[number] = zlib.crc32(rows.data, sums[number])
                    file.write(rows.data)
        manifest = ViewManifest(
            parts=tuple(
                FeaturePart(shape=tuple(tensor.shape[1:]), dtype=str(tensor.dtype).removeprefix("torch."), crc32=crc32)
                for tensor, crc32 in zip(first, sums, strict=True)
            )
        )
        with written_aside(self._manifest(name)) as aside:
            aside.write_text(manifest.model_dump_json(), encoding="utf-8")
        return manifest

    def _require_room(self, name: str, image_bytes: int) -> None:
        missing = [view for view in self.views if view == name or not self._manifest(view).exists()]
        needed = image_bytes * sum(self.views[view] for view in missing)
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise ResourceError(
                f"The frozen stages' features need {needed / _GIB:.3g} GiB of disk for {len(missing)} views, but "
                f"`{self.folder}` has {free / _GIB:.3g} GiB free; freeze more stages, lower `cache_features`, or move "
                "`SWEEPER_CACHE`."
            )

    def _manifest(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _file(self, name: str, number: int) -> Path:
        return self.folder / f"{name}-{number}.bin"
