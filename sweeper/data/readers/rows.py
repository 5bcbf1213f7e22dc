"""What a reader found, image by image, as a manifest."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sweeper.data.manifest import Manifest, Observation, Sample, Split
from sweeper.errors import DataError, nearest

SPLIT_NAMES: Final[Mapping[str, Split]] = {
    "train": "train", "val": "val", "validation": "val", "valid": "val", "dev": "val", "test": "test",
}  # fmt: skip
"""What people call the splits."""

MISSING: Final = "missing"
"""The stamp of an image that is listed, but not there."""

_NAMED: Final = 3  # how many missing images an error names


@dataclass(frozen=True)
class Row:
    """One image with its label in words."""

    key: str
    label: str
    split: Split
    stamp: str
    group: str = ""
    observation: Observation | None = None


def manifest_of(rows: Sequence[Row], *, order: Iterable[str] = (), notes: tuple[str, ...] = ()) -> Manifest:
    """Returns the manifest of `rows`; classes without an image are left out.

    Args:
        rows: the images in any order.
        order: the order of the classes; sorted by name where it is left out.
        notes: what else was found.

    Raises:
        DataError: there is no training image, an image is listed twice, or a class of another split has none.
    """
    labels = {row.label for row in rows}
    classes = tuple(name for name in order if name in labels) or tuple(sorted(labels))
    trained = {row.label for row in rows if row.split == "train"}
    if not trained:
        raise DataError("The `train` split must hold an image, but the source lists none for it.")
    index = {name: label for label, name in enumerate(classes)}
    seen: set[str] = set()
    for row in rows:
        if row.key in seen:
            raise DataError(f"Each image must be listed once, but `{row.key}` is listed twice.")
        seen.add(row.key)
        if row.label not in trained:
            hint = nearest(row.label, trained) or "."
            raise DataError(f"Every class of `{row.split}` must be in `train`, but `{row.label}` is not{hint}")
    samples = (Sample(r.key, index[r.label], r.split, r.stamp, r.group, r.observation) for r in rows)
    return Manifest(classes, tuple(sorted(samples, key=lambda sample: sample.key)), notes=notes)


def split_of_name(name: str) -> Split:
    """Returns the split that a shard's name, or a folder on the way to it, tells; `train` where none does."""
    for part in reversed(name.split("/")):
        word = re.match(r"[A-Za-z]+", part)
        if word is not None and word[0].lower() in SPLIT_NAMES:
            return SPLIT_NAMES[word[0].lower()]
    return "train"


def missing_note(rows: Sequence[Row], *, place: str, allowed: float) -> tuple[str, ...]:
    """Returns a sentence on the images that are listed, but not there; nothing where all are.

    Args:
        rows: all images.
        place: where they should be.
        allowed: the share that may be missing.

    Raises:
        DataError: more are.
    """
    gone = [row.key for row in rows if row.stamp == MISSING]
    if not gone:
        return ()
    named = ", ".join(f"`{key}`" for key in gone[:_NAMED]) + (", ..." if len(gone) > _NAMED else "")
    told = f"{len(gone):,} of {len(rows):,} listed images are not below `{place}`: {named}"
    if len(gone) > allowed * len(rows):
        raise DataError(
            f"At most {allowed:.2%} of the images may be unreadable (`data.max_bad_fraction`), but {told}; "
            f"put them there."
        )
    return (f"{told}.",)


def observation_of(record: Mapping[str, object], *, where: str) -> Observation | None:
    """Returns place and date from `latitude`, `longitude` and `date`; what is empty, null or not a number is missing.

    Raises:
        DataError: a value is there and is no such thing.
    """
    latitude, longitude = (
        _degrees(record, name, limit, where) for name, limit in (("latitude", 90), ("longitude", 180))
    )
    date = str(record.get("date") or "").strip()
    if date:
        try:
            moment = datetime.fromisoformat(date)
        except ValueError as error:
            raise DataError(
                f"A date must be like `2017-05-31` or `2017-05-31T14:30`, but {where}: `{date}`."
            ) from error
        # A date alone says nothing of the hour.
        date = f"{moment:%Y-%m-%d}" if len(date) <= len("2017-05-31") else f"{moment:%Y-%m-%dT%H:%M}"
    known = latitude is not None or longitude is not None or date
    return Observation(latitude, longitude, date) if known else None


def _degrees(record: Mapping[str, object], name: str, limit: int, where: str) -> float | None:
    text = str("" if record.get(name) is None else record[name]).strip()
    try:
        degrees = float(text or "nan")
    except ValueError:
        degrees = math.inf
    if math.isnan(degrees):
        return None
    if not -limit <= degrees <= limit:
        raise DataError(f"A {name} must be a number from -{limit} to {limit}, but {where}: `{text}`.")
    return degrees
