"""The `data:` section: which images, and how they are split and stored."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from sweeper.spec.model import Section
from sweeper.spec.split import SplitSpec


class _DataSection(Section):
    image_size: int = Field(default=224, ge=16, le=1024)
    """Side of the square image a model sees, in pixels."""
    store_size: int | None = Field(default=None, ge=16, le=2048)
    """Short side of the decoded images in the cache, in pixels; by default 8/7 of `image_size`."""
    split: SplitSpec = SplitSpec()
    """Which images train, which validate, and which are kept for a test."""
    metadata: Path | None = None
    """A CSV of places and dates: `image,latitude,longitude,date`; values may be missing."""
    max_bad_fraction: float = Field(default=0.01, ge=0.0, le=1.0)
    """Share of unreadable images above which the sweep refuses to start; below it they are listed and left out."""

    @property
    def stored_short_side(self) -> int:
        """Pixels of the short side in the cache: room for a crop to choose from without a blur."""
        return self.store_size or -(-self.image_size * 8 // 7)


class FolderData(_DataSection):
    """A folder of images, one folder a class."""

    source: Literal["folder"]
    root: Path
    """Holds `train/` and `val/` (and perhaps `test/`), or the class folders themselves, which are then split."""


class DigitsData(_DataSection):
    """scikit-learn's 1,797 handwritten digits: 10 classes, 8 x 8 pixels, nothing to download."""

    source: Literal["digits"]
    image_size: int = Field(default=64, ge=16, le=1024)
    """Side of the square image a model sees, in pixels."""


DataSpec = Annotated[FolderData | DigitsData, Field(discriminator="source")]
