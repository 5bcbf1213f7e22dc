"""What is in a data set, from names and headers alone: `sweeper data info`."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Final

from pydantic import BaseModel, ConfigDict

from sweeper.data.manifest import SPLITS, ImageSource, Manifest, Sample, Split
from sweeper.data.quarantine import Quarantined
from sweeper.data.readers import read_manifest
from sweeper.errors import DataError
from sweeper.spec.data import DataSpec

_THREADS: Final = 8  # headers wait for the disk, not for the processor


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Spread(_Value):
    """Smallest, middle and largest of some numbers."""

    min: float
    median: float
    max: float


class SplitDescription(_Value):
    """One split."""

    split: Split
    images: int
    """Images listed, unreadable ones included."""
    classes: int
    """Classes with at least one image."""
    per_class: Spread
    """Images a class, over the classes that have any."""
    width: Spread | None
    """Pixels of the upright images; None if no header could be read."""
    height: Spread | None
    """Likewise."""


class DataDescription(_Value):
    """A data set at a glance."""

    fingerprint: str
    """Changes with any image, label, place or date."""
    split_fingerprint: str
    """Changes with which images are in which split; a tag of every run of a sweep on them."""
    classes: tuple[str, ...]
    splits: tuple[SplitDescription, ...]
    imbalance: float
    """Training images of the largest class over those of the smallest."""
    notes: tuple[str, ...]
    """What else the source tells: whether it is complete, what is missing."""
    unreadable: tuple[Quarantined, ...]
    """Images whose header cannot be read; damage further inside shows when they are decoded."""


def describe(spec: DataSpec) -> DataDescription:
    """Describes the images that `spec` asks for; decodes none of them.

    Raises:
        DataError: the images cannot be used as they are.
    """
    manifest, source = read_manifest(spec)
    sizes = _sizes(manifest, source)
    unreadable = tuple(size for size in sizes.values() if isinstance(size, Quarantined))
    splits = tuple(
        _describe_split(split, [sample for sample in manifest.samples if sample.split == split], sizes)
        for split in SPLITS
        if any(sample.split == split for sample in manifest.samples)
    )
    train = Counter(sample.label for sample in manifest.samples if sample.split == "train")
    return DataDescription(
        fingerprint=manifest.fingerprint,
        split_fingerprint=manifest.split_fingerprint,
        classes=manifest.classes,
        splits=splits,
        imbalance=max(train.values()) / min(train.values()),
        notes=manifest.notes,
        unreadable=unreadable,
    )


def _sizes(manifest: Manifest, source: ImageSource) -> dict[str, tuple[int, int] | Quarantined]:
    """Returns width and height, or why they cannot be known, by key."""

    def size(sample: Sample) -> tuple[int, int] | Quarantined:
        try:
            return source.size(sample)
        except DataError as error:
            return Quarantined(key=sample.key, reason=str(error))

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="headers") as pool:
        found = pool.map(size, manifest.samples)
        return {sample.key: value for sample, value in zip(manifest.samples, found, strict=True)}


def _describe_split(
    split: Split, samples: list[Sample], sizes: dict[str, tuple[int, int] | Quarantined]
) -> SplitDescription:
    per_class = Counter(sample.label for sample in samples)
    known = [size for size in (sizes[sample.key] for sample in samples) if isinstance(size, tuple)]
    return SplitDescription(
        split=split,
        images=len(samples),
        classes=len(per_class),
        per_class=_spread(list(per_class.values())),
        width=_spread([width for width, _ in known]) if known else None,
        height=_spread([height for _, height in known]) if known else None,
    )


def _spread(numbers: list[int]) -> Spread:
    return Spread(min=min(numbers), median=median(numbers), max=max(numbers))
