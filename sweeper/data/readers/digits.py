"""scikit-learn's handwritten digits: real images that need no download."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import final

import numpy as np

from sweeper.data.manifest import ImageSource, Manifest, Pixels, Sample

_MAX_INK = 16  # load_digits counts the set pixels of 4 x 4 blocks


@final
@dataclass(frozen=True, eq=False)
class DigitImages(ImageSource):
    """The digits in memory; a key such as `0042` is a row of `images`."""

    images: Pixels
    """(1797, 8, 8), grey."""

    def read(self, sample: Sample, *, short_side: int) -> Pixels:
        """Returns the digit as (8, 8, 3), its grey value three times."""
        return np.repeat(self.images[int(sample.key), :, :, None], 3, axis=2)

    def size(self, sample: Sample) -> tuple[int, int]:
        """Returns (8, 8)."""
        height, width = self.images[int(sample.key)].shape
        return width, height


def read_digits() -> tuple[Manifest, DigitImages]:
    """Reads the 1,797 digits; they have no split of their own."""
    # Here and not above: the import takes two seconds, which every worker would pay for any other source.
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / _MAX_INK)).astype(np.uint8)
    samples = [
        Sample(f"{row:04d}", int(label), "train", stamp=f"{zlib.crc32(images[row].tobytes()):08x}")
        for row, label in enumerate(bunch.target)
    ]
    classes = tuple(str(name) for name in bunch.target_names)
    return Manifest(classes, tuple(samples)), DigitImages(images)
