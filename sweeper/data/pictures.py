"""Image files outside of any data set, seen exactly as a model sees validation images."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from sweeper.data.crops import center_box, resized
from sweeper.data.decode import decode, fit
from sweeper.data.manifest import Pixels
from sweeper.data.readers.folder import EXTENSIONS
from sweeper.errors import DataError


@dataclass(frozen=True)
class EvalView:
    """From an image to the square that a model sees of it: what cache and `EvalLoader` do with validation images."""

    short_side: int
    """Short side to which the upright image is shrunk first, in pixels; a smaller image stays as it is."""
    crop_pct: float
    """Side of the centre crop over the short side."""
    image_size: int
    """Side of the square, in pixels."""

    def of_file(self, path: Path) -> Pixels:
        """Reads, decodes and crops an image file: (image_size, image_size, 3) uint8 RGB.

        Raises:
            DataError: the file cannot be read, or is no image; the message is the reason, without the path.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DataError(error.strerror or str(error)) from error
        return self.of_image(decode(data, short_side=self.short_side))

    def of_image(self, image: Pixels) -> Pixels:
        """Crops an image (height, width, 3), uint8 RGB, upright: (image_size, image_size, 3).

        Raises:
            DataError: the array is no such image.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            raise DataError(
                "An image must be an array (height, width, 3) of uint8, RGB, but this one is "
                f"`{image.shape}` of `{image.dtype}`; convert it first."
            )
        cv2.setNumThreads(1)  # images are prepared side by side; a second level of threads only costs
        stored = fit(image, short_side=self.short_side)
        return resized(stored, center_box(*stored.shape[:2], share=self.crop_pct), size=self.image_size)


def find_pictures(names: Iterable[str]) -> Iterator[Path]:
    """Yields the files that names stand for: the images below a folder, what matches a pattern, or the file itself.

    A file that is named is yielded whatever its ending, and one that does not exist as well: whoever opens it says so.
    """
    for name in names:
        path = Path(name)
        if path.is_dir():
            yield from _images_below(path)
        elif path.exists() or not glob.has_magic(name):
            yield path
        else:
            matches = sorted(Path(match) for match in glob.glob(name, recursive=True))  # noqa: PTH207 - that of Path takes no absolute pattern
            yield from (match for match in matches if match.is_file()) if matches else (path,)


def _images_below(folder: Path, *, within: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Yields the images in a folder and in those within it, links included, sorted; what is hidden is left out."""
    place = folder.resolve()
    if place in within:  # a link to a folder that it lies in
        return
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _images_below(path, within=within | {place})
        elif path.suffix.lower() in EXTENSIONS and path.is_file():
            yield path
