"""Images that cannot be read: listed with the reason, and left out as long as they are few."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from threading import Lock
from typing import Final

from pydantic import BaseModel, ConfigDict

from sweeper.errors import DataError
from sweeper.spec.data import DataSpec

_NAMED_IMAGES: Final = 3  # how many unreadable images an error names

_log = logging.getLogger(__name__)


class Quarantined(BaseModel):
    """An image that could not be read, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    reason: str


class Quarantine:
    """The images of a stream that could not be read so far; may be used by several threads."""

    def __init__(self, spec: DataSpec, *, num_images: int) -> None:
        self._spec, self._num_images = spec, num_images
        self._found: dict[str, Quarantined] = {}
        self._lock = Lock()

    @property
    def images(self) -> tuple[Quarantined, ...]:
        """Which they are."""
        with self._lock:
            return tuple(self._found.values())

    def add(self, key: str, reason: str) -> None:
        """Counts an image, once however often it is met.

        Raises:
            DataError: there are too many of them.
        """
        with self._lock:
            known = key in self._found
            self._found[key] = Quarantined(key=key, reason=reason)
            found = tuple(self._found.values())
        if not known:
            _log.warning("Left out the image `%s`: %s.", key, reason)
        refuse_too_many(found, self._spec, num_images=self._num_images)


def refuse_too_many(quarantined: Sequence[Quarantined], spec: DataSpec, *, num_images: int) -> None:
    """Refuses a data set with more unreadable images than `data.max_bad_fraction`.

    Raises:
        DataError: names the first of them.
    """
    bad = len(quarantined)
    if bad > spec.max_bad_fraction * num_images:
        named = "; ".join(f"`{image.key}` ({image.reason})" for image in quarantined[:_NAMED_IMAGES])
        raise DataError(
            f"At most {spec.max_bad_fraction:.2%} of the images may be unreadable (`data.max_bad_fraction`), "
            f"but {bad} of {num_images} ({bad / num_images:.2%}) are: {named}{'; ...' if bad > _NAMED_IMAGES else ''}. "
            f"Repair or delete them."
        )
