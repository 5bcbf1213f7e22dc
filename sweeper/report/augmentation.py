"""What training makes of some images."""

from __future__ import annotations

from typing import Final

import numpy as np

from sweeper.data import ImageCache, augmented_variants, told_augmentation
from sweeper.report.photos import photo
from sweeper.report.section import Photo, Section, Value
from sweeper.report.source import Source

_ROWS: Final = 5
_VARIANTS: Final = 6


class AugmentedRow(Value):
    """A training image and variants of it."""

    name: str
    """Its class."""
    photos: tuple[Photo, ...]
    """The image as it is stored, then what some epochs would make of it."""


class Augmentation(Section):
    """Images of several classes as the winner saw them."""

    told: str = ""
    """The settings, in words."""
    rows: tuple[AugmentedRow, ...] = ()


def augmentation_of(source: Source) -> Augmentation:
    """Returns samples, made with the winner's settings."""
    images, config = source.images, source.config
    told = told_augmentation(config.augment)
    if not isinstance(images, ImageCache):
        return Augmentation(told=told, nothing=images)
    train = images.split("train")
    counts = np.bincount(train.labels, minlength=len(images.classes))
    by_size = [label for label in np.argsort(-counts, kind="stable").tolist() if counts[label]]
    places = np.linspace(0, len(by_size) - 1, num=min(_ROWS, len(by_size))).round().astype(int)
    rows = []
    for number, label in enumerate(by_size[place] for place in places):
        image = train.image(int(np.flatnonzero(train.labels == label)[0]))
        variants = augmented_variants(
            image, config.augment, image_size=config.data.image_size, seed=number, count=_VARIANTS
        )
        name = images.classes[label]
        shown = (photo(image, f"{name}, as stored"), *(photo(one, f"{name}, as trained on") for one in variants))
        rows.append(AugmentedRow(name=name, photos=shown))
    return Augmentation(told=told, rows=tuple(rows))
