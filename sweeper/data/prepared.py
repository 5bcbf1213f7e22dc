"""What the images of a sweep were when it began: its `data.json`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from sweeper.data.manifest import Split
from sweeper.paths import SweepPaths


class Prepared(BaseModel):
    """What the preflight found out; kept beside the sweep as `data.json`."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    classes: tuple[str, ...]
    data_fingerprint: str
    """Changes with any image, label, place or date."""
    split_fingerprint: str
    """Changes with which images are in which split."""
    images: dict[Split, int]
    """Images that can be read, by their split."""
    quarantined: int
    """Images that cannot be read and are left out."""


def read_prepared(paths: SweepPaths) -> Prepared | None:
    """Returns what the images were when the sweep began; None for a sweep that has not written it down."""
    return Prepared.model_validate_json(paths.data.read_bytes()) if paths.data.exists() else None
