"""What is known of the images before they are decoded: how many, how large in the cache, and a few of them to try."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from sweeper.data import Manifest, Sample, read_manifest
from sweeper.data.budget import predict_bytes
from sweeper.data.decode import fit
from sweeper.data.manifest import ImageSource, Pixels
from sweeper.errors import DataError
from sweeper.spec.data import DataSpec

_MIB = 2.0**20
_TRIED: Final = 32
"""Images that are decoded to learn how long augmenting takes."""


class ImagesInfo(BaseModel):
    """The images of a sweep in numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    classes: int
    train: int
    """Training images."""
    val: int
    """Validation images."""
    cache_mb: float
    """Of all images, decoded: on disk, and mapped into the memory of each worker; nothing where they are streamed."""


@dataclass(frozen=True, eq=False)
class FewImages:
    """Some decoded images, as a loader takes them."""

    pixels: tuple[Pixels, ...]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.pixels)

    def image(self, index: int) -> Pixels:
        """Returns image `index`, (height, width, 3)."""
        return self.pixels[index]


def look_at_images(data: DataSpec) -> tuple[ImagesInfo, FewImages]:
    """Returns the numbers, and some training images; reads a few headers and decodes a few images.

    Raises:
        DataError: the images cannot be listed, or none of those looked at can be read.
    """
    manifest, source = read_manifest(data)
    counts = Counter(sample.split for sample in manifest.samples)
    info = ImagesInfo(
        classes=len(manifest.classes),
        train=counts["train"],
        val=counts["val"],
        cache_mb=0.0
        if data.stream
        else predict_bytes(manifest.samples, source, short_side=data.stored_short_side) / _MIB,
    )
    return info, _decoded(manifest, source, short_side=data.stored_short_side)


def _decoded(manifest: Manifest, source: ImageSource, *, short_side: int) -> FewImages:
    pixels = []
    for sample in _spread(tuple(one for one in manifest.samples if one.split == "train"), _TRIED):
        try:
            pixels.append(fit(source.read(sample, short_side=short_side), short_side=short_side))
        except DataError:
            continue
    if not pixels:
        raise DataError("None of the images that were looked at can be read; see `sweeper data info`.")
    return FewImages(tuple(pixels), np.zeros(len(pixels), np.int64))


def _spread(samples: tuple[Sample, ...], count: int) -> tuple[Sample, ...]:
    """Returns about `count` samples, evenly spread: neighbours are of one class and one camera."""
    return samples[:: max(1, len(samples) // count)][:count]
