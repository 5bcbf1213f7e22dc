"""File bytes -> upright RGB pixels, as few of them as are needed."""

from __future__ import annotations

import io
import struct
import threading
import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import BinaryIO, Final

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from sweeper.data.manifest import Pixels
from sweeper.errors import DataError

MAX_ASPECT: Final = 3.0
"""Longest side over shortest in a stored image; of a longer panorama the middle is kept."""

MAX_PIXELS: Final = 2 * 89_478_485
"""Pixels beyond which an image is refused unseen: Pillow's limit, twice the number from which on it warns."""

_LARGE: Final = 2**25
"""Pixels to be decoded, 100 MB of them, from which on images take turns, so that memory stays bounded."""
_one_large_image = threading.Lock()

# Pillow would warn of any image of half our limit, once in every process.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

_REDUCED_FLAGS: Final = {
    8: cv2.IMREAD_REDUCED_COLOR_8,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    1: cv2.IMREAD_COLOR,
}

# What Pillow raises on damaged files depends on the format and on where the damage is.
_UNREADABLE: Final = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError,
    struct.error, cv2.error,
)  # fmt: skip


def decode(data: bytes, *, short_side: int) -> Pixels:
    """Decodes an image file: upright by its EXIF orientation, first frame, alpha dropped, 8 bits a channel.

    Ordinary JPEG files go through OpenCV, which can decode them at 1/2, 1/4 or 1/8 of their size for a
    fraction of the time; all others, and JPEG files without an end marker, go through Pillow, which knows
    more formats and refuses truncated files.

    Args:
        data: the content of the file.
        short_side: pixels of the short side that are enough.

    Returns:
        (height, width, 3) RGB, with a short side of at least `short_side` where the file has that many.

    Raises:
        DataError: not an image, or a damaged one; the message is the reason.
    """
    if not data:
        raise DataError("the file is empty")
    try:
        with _opened(io.BytesIO(data)) as image:
            plain = _is_plain_jpeg(image, data)
            reduction = _reduction(min(image.size), short_side) if plain else 1
            with _turn(image.width * image.height // reduction**2):
                return _decode_jpeg(data, reduction=reduction) if plain else _pillow_pixels(image)
    except _UNREADABLE as error:
        raise DataError(str(error)) from error


def upright_size(file: BinaryIO) -> tuple[int, int]:
    """Returns width and height, EXIF orientation applied, from the header of an image file.

    Raises:
        DataError: not an image, or the header is damaged; the message is the reason.
    """
    try:
        if file.seek(0, io.SEEK_END) == 0:
            raise DataError("the file is empty")
        file.seek(0)
        with _opened(file) as image:
            width, height = image.size
            # A PNG's own `getexif` would decode the whole image, in case there is more to come after its pixels.
            exif = Image.Image.getexif(image)
            turned = exif.get(ExifTags.Base.Orientation, 1) >= 5  # 5 to 8 swap the sides
    except _UNREADABLE as error:
        raise DataError(str(error)) from error
    return (height, width) if turned else (width, height)


def fit(image: Pixels, *, short_side: int) -> Pixels:
    """Shrinks an image to `short_side`, aspect kept, and cuts a panorama to `MAX_ASPECT` around its middle.

    A smaller image keeps its size: enlarging it here would cost memory and add nothing that the crop's own
    resize does not.
    """
    height, width = image.shape[:2]
    longest = round(MAX_ASPECT * min(height, width))
    if max(height, width) > longest:
        top, left = max(0, height - longest) // 2, max(0, width - longest) // 2
        image = image[top : top + longest, left : left + longest]
    if min(height, width) <= short_side:
        return np.ascontiguousarray(image)
    return shrunk(image, fitted_size(width, height, short_side=short_side))


def fitted_size(width: int, height: int, *, short_side: int) -> tuple[int, int]:
    """Returns width and height of what `fit` makes of an image of this size."""
    longest = round(MAX_ASPECT * min(width, height))
    width, height = min(width, longest), min(height, longest)
    scale = min(1.0, short_side / min(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def shrunk(image: Pixels, size: tuple[int, int]) -> Pixels:
    """Resizes an image to `size`, (width, height).

    Bilinear up to a reduction by two; beyond that all source pixels are averaged (`INTER_AREA`, five times as slow),
    since bilinear would skip some. A JPEG that was decoded at a reduced size never comes to that.
    """
    reduction = max(image.shape[1] / size[0], image.shape[0] / size[1])
    interpolation = cv2.INTER_AREA if reduction >= 2 else cv2.INTER_LINEAR
    resized: Pixels = cv2.resize(image, size, interpolation=interpolation)
    return resized


def _opened(file: BinaryIO) -> Image.Image:
    """Reads the header of an image file."""
    try:
        return Image.open(file)
    except UnidentifiedImageError as error:
        raise DataError("not an image, or one in an unknown format") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"it claims more than {MAX_PIXELS:,} pixels") from error


def _turn(pixels: int) -> AbstractContextManager[object]:
    return _one_large_image if pixels > _LARGE else nullcontext()


def _is_plain_jpeg(image: Image.Image, data: bytes) -> bool:
    # OpenCV paints the missing part of a truncated file grey without a word; the end marker tells.
    return image.format in ("JPEG", "MPO") and image.mode in ("RGB", "L") and b"\xff\xd9" in data[-32:]


def _reduction(have: int, want: int) -> int:
    """Returns by how much a JPEG may be reduced so that `have` pixels stay at least `want`."""
    return next(factor for factor in _REDUCED_FLAGS if have // factor >= want or factor == 1)


def _decode_jpeg(data: bytes, *, reduction: int) -> Pixels:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), _REDUCED_FLAGS[reduction])
    if pixels is None:
        raise DataError("the JPEG data is damaged")
    rgb: Pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    return rgb


def _pillow_pixels(image: Image.Image) -> Pixels:
    upright = ImageOps.exif_transpose(image)
    if upright.mode == "F":
        raise DataError("its pixels are floating point numbers of unknown range")
    if upright.mode.startswith("I"):
        deep = np.clip(np.asarray(upright, dtype=np.int64) // 257, 0, 255)  # 16 bits: 65535 becomes 255
        return np.repeat(deep.astype(np.uint8)[:, :, None], 3, axis=2)
    if upright.mode == "P":
        upright = upright.convert("RGBA")  # straight to RGB warns where the palette has transparency
    return np.asarray(upright.convert("RGB"))
