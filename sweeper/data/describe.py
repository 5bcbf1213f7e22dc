"""What is in a data set, from names and headers alone: `sweeper data info`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median
from typing import Final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from sweeper.data.manifest import SPLITS, ImageSource, Manifest, Observation, Sample, Split
from sweeper.data.quarantine import Quarantined
from sweeper.data.readers import read_manifest
from sweeper.errors import DataError
from sweeper.spec.data import DataSpec

FEW: Final = 10
"""Training images below which a class is named, unless the caller says otherwise."""
_NAMED: Final = 8  # classes that a sentence names
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
    missing: tuple[str, ...]
    """Sentences on what a sweep has to do without: classes with no or few images in a split, places, dates."""
    unreadable: tuple[Quarantined, ...]
    """Images whose header cannot be read; damage further inside shows when they are decoded."""


@dataclass(frozen=True, eq=False)
class Survey:
    """The images of a data set as they are listed, with the sizes that their headers tell."""

    spec: DataSpec
    manifest: Manifest
    source: ImageSource
    sizes: Mapping[str, tuple[int, int] | Quarantined]
    """Width and height, or why they cannot be known, by key."""

    @classmethod
    def of(cls, spec: DataSpec) -> Survey:
        """Lists the images that `spec` asks for and reads their headers; decodes none of them.

        Raises:
            DataError: the images cannot be used as they are.
        """
        manifest, source = read_manifest(spec)
        return cls(spec, manifest, source, _sizes(manifest, source))

    @property
    def known_sizes(self) -> npt.NDArray[np.int64]:
        """(N, 2): width and height of the images whose header can be read."""
        known = [size for size in self.sizes.values() if not isinstance(size, Quarantined)]
        return np.array(known, np.int64).reshape(-1, 2)

    def counts(self, split: Split) -> npt.NDArray[np.int64]:
        """Returns (C,): the images of each class in a split."""
        labels = [sample.label for sample in self.manifest.samples if sample.split == split]
        return np.bincount(np.array(labels, np.int64), minlength=len(self.manifest.classes))

    def describe(self, *, few: int = FEW) -> DataDescription:
        """Describes the data set.

        Args:
            few: classes with fewer training images are named.
        """
        manifest, sizes = self.manifest, self.sizes
        splits = tuple(
            _describe_split(split, [sample for sample in manifest.samples if sample.split == split], sizes)
            for split in SPLITS
            if any(sample.split == split for sample in manifest.samples)
        )
        train = self.counts("train")
        return DataDescription(
            fingerprint=manifest.fingerprint,
            split_fingerprint=manifest.split_fingerprint,
            classes=manifest.classes,
            splits=splits,
            imbalance=float(train.max() / max(1, train[train > 0].min(initial=train.max()))),
            notes=manifest.notes,
            missing=tuple(_missing(self, few=few)),
            unreadable=tuple(size for size in sizes.values() if isinstance(size, Quarantined)),
        )


def describe(spec: DataSpec) -> DataDescription:
    """Describes the images that `spec` asks for; decodes none of them.

    Raises:
        DataError: the images cannot be used as they are.
    """
    return Survey.of(spec).describe()


def _missing(survey: Survey, *, few: int) -> Iterator[str]:
    """Yields a sentence for all that a sweep would have to do without."""
    classes, samples = survey.manifest.classes, survey.manifest.samples
    train = survey.counts("train")
    scarce = sorted((int(count), name) for name, count in zip(classes, train, strict=True) if 0 < count < few)
    if scarce:
        named = _named([f"{name}` ({count})" for count, name in scarce], closing="")
        yield f"{_number(len(scarce), 'class has', 'classes have')} fewer than {few} training images: {named}."
    for split in SPLITS:
        counts = survey.counts(split)
        absent = [name for name, count in zip(classes, counts, strict=True) if count == 0]
        if absent and counts.any():
            yield f"{_number(len(absent), 'class has', 'classes have')} no {split} images: {_named(absent)}."
    if any(sample.observation for sample in samples):
        seen = [sample.observation or Observation() for sample in samples]
        places = sum(one.latitude is None or one.longitude is None for one in seen)
        dates = sum(not one.date for one in seen)
        yield f"{places:,} of {len(samples):,} images have no place, {dates:,} no date."


def _number(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def _named(names: Sequence[str], *, closing: str = "`") -> str:
    named = ", ".join(f"`{name}{closing}" for name in names[:_NAMED])
    return f"{named}, ..." if len(names) > _NAMED else named


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
    split: Split, samples: list[Sample], sizes: Mapping[str, tuple[int, int] | Quarantined]
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
