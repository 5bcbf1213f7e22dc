"""Small pictures for a page, from decoded images."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
from PIL import Image

from sweeper.data import Pixels
from sweeper.report.section import Photo

_SIDE: Final = 112
"""Pixels of a photo's side, before the quality that keeps it at about 3 kB."""
_QUALITY: Final = 72


def photo(image: Pixels, caption: str) -> Photo:
    """Returns the centred square of an image (height, width, 3), uint8 RGB, as a small photo."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(np.ascontiguousarray(image[top : top + side, left : left + side]))
    written = io.BytesIO()
    square.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS).save(written, "WEBP", quality=_QUALITY, method=4)
    return Photo(caption=caption, webp=written.getvalue())
