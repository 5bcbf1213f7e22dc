"""Which classes the winner takes for which, with photos of the mistakes."""

from __future__ import annotations

from typing import Final

import numpy as np

from sweeper.data import ImageCache
from sweeper.predictions import Predictions
from sweeper.report.classes import confusions, missing_predictions
from sweeper.report.photos import photo
from sweeper.report.section import Photo, Section, Value
from sweeper.report.source import Source

_PAIRS: Final = 8
_PHOTOS: Final = 4
_MATRIX: Final = 16
"""Classes in the matrix: more cannot be read."""


class Confused(Value):
    """One class that was taken for another."""

    actual: str
    guessed: str
    images: int
    """How often."""
    of_images: int
    """Validation images of the actual class."""
    wrong: tuple[Photo, ...] = ()
    """Of those images, the surest mistakes first."""
    looks_like: tuple[Photo, ...] = ()
    """Training images of the class they were taken for."""


class Confusion(Section):
    """The most frequent mistakes."""

    pairs: tuple[Confused, ...] = ()
    """The most frequent first."""
    mistakes: int = 0
    images: int = 0
    classes: tuple[str, ...] = ()
    """Of the matrix: those with the most mistakes, in the data's order."""
    matrix: tuple[tuple[int, ...], ...] = ()
    """Validation images: actual classes down, guessed ones across."""
    photos: str = ""
    """Why there are no photos; empty where there are."""


def confusion_of(source: Source) -> Confusion:
    """Returns the winner's mistakes."""
    said = source.predictions
    if said is None:
        return Confusion(nothing=missing_predictions(source))
    names = said.info.classes
    matrix = confusions(said.labels, said.guesses, len(names))
    off = matrix - np.diag(matrix.diagonal())
    mistakes, images = int(off.sum()), len(said.labels)
    if not mistakes:
        return Confusion(images=images, nothing=f"The winner names all {images:,} validation images right.")
    order = np.argsort(-off, axis=None, kind="stable")[: min(_PAIRS, int((off > 0).sum()))]
    pairs = [divmod(int(at), len(names)) for at in order]
    shown = np.sort(np.argsort(-(off.sum(axis=0) + off.sum(axis=1)), kind="stable")[:_MATRIX])
    return Confusion(
        pairs=tuple(_pair(source, said, matrix, pair) for pair in pairs),
        mistakes=mistakes,
        images=images,
        classes=tuple(names[at] for at in shown),
        matrix=tuple(tuple(int(value) for value in row) for row in matrix[np.ix_(shown, shown)]),
        photos=source.images if isinstance(source.images, str) else "",
    )


def _pair(source: Source, said: Predictions, matrix: np.ndarray, pair: tuple[int, int]) -> Confused:
    actual, guessed = pair
    names = said.info.classes
    wrong: tuple[Photo, ...] = ()
    looks_like: tuple[Photo, ...] = ()
    if isinstance(source.images, ImageCache):
        wrong = _wrong_photos(source.images, said, pair)
        looks_like = _examples(source.images, guessed, names[guessed])
    return Confused(
        actual=names[actual],
        guessed=names[guessed],
        images=int(matrix[actual, guessed]),
        of_images=int(matrix[actual].sum()),
        wrong=wrong,
        looks_like=looks_like,
    )


def _wrong_photos(images: ImageCache, said: Predictions, pair: tuple[int, int]) -> tuple[Photo, ...]:
    actual, guessed = pair
    val = images.split("val")
    row_of = {int(number): row for row, number in enumerate(val.numbers)}
    at = np.flatnonzero((said.labels == actual) & (said.guesses == guessed))
    sure = np.exp(said.log_probabilities[at, guessed])
    names = said.info.classes
    found = []
    for place in np.argsort(-sure, kind="stable")[:_PHOTOS]:
        row = row_of.get(int(said.numbers[at[place]]))
        if row is not None:
            caption = f"{names[actual]}, taken for {names[guessed]} at {sure[place]:.0%}"
            found.append(photo(val.image(row), caption))
    return tuple(found)


def _examples(images: ImageCache, label: int, name: str) -> tuple[Photo, ...]:
    train = images.split("train")
    rows = np.flatnonzero(train.labels == label)
    spread = rows[np.linspace(0, len(rows) - 1, num=min(_PHOTOS, len(rows))).round().astype(int)] if len(rows) else rows
    return tuple(photo(train.image(int(row)), f"{name}, a training image") for row in spread)
