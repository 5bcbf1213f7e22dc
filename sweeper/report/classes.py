"""Accuracy by class, and by head, middle and tail of the distribution."""

from __future__ import annotations

from typing import Final

import numpy as np

from sweeper.data import ImageCache
from sweeper.report.section import Section, Value
from sweeper.report.source import Source

GROUPS: Final = ("head", "middle", "tail")


class ClassRow(Value):
    """One class."""

    name: str
    group: str
    """head, middle or tail of the training images."""
    images: int
    """Validation images."""
    right: int
    """Of those, how many were named right."""
    guessed: int
    """Validation images of any class that were taken for it."""
    train_images: int | None
    """None where the images are not on this machine."""
    taken_for: str | None
    """The class it is most often taken for, if for any."""

    @property
    def recall(self) -> float:
        """Share of its validation images that were named right."""
        return self.right / self.images

    @property
    def precision(self) -> float | None:
        """Share of the images taken for it that show it; None where none was."""
        return self.right / self.guessed if self.guessed else None


class GroupRow(Value):
    """The classes of one group."""

    name: str
    classes: int
    images: int
    """Validation images."""
    recall: float
    """Averaged over its classes."""
    top1: float
    """Share of its validation images that were named right."""


class Classes(Section):
    """All classes with validation images, the worst first."""

    rows: tuple[ClassRow, ...] = ()
    groups: tuple[GroupRow, ...] = ()
    head_above: int = 0
    tail_below: int = 0


def classes_of(source: Source) -> Classes:
    """Returns what the winner makes of each class."""
    said = source.predictions
    if said is None:
        return Classes(nothing=missing_predictions(source))
    total = len(said.info.classes)
    matrix = confusions(said.labels, said.guesses, total)
    train = train_counts(source, total)
    group_of = said.groups.argmax(axis=0)
    off = matrix - np.diag(matrix.diagonal())
    rows = [
        ClassRow(
            name=name,
            group=GROUPS[group_of[at]],
            images=int(matrix[at].sum()),
            right=int(matrix[at, at]),
            guessed=int(matrix[:, at].sum()),
            train_images=None if train is None else int(train[at]),
            taken_for=said.info.classes[int(off[at].argmax())] if off[at].any() else None,
        )
        for at, name in enumerate(said.info.classes)
        if matrix[at].any()
    ]
    rows.sort(key=lambda row: (row.recall, -row.images, row.name))
    groups = tuple(_group(name, [row for row in rows if row.group == name]) for name in GROUPS)
    limits = source.config.eval
    return Classes(
        rows=tuple(rows),
        groups=tuple(group for group in groups if group.classes),
        head_above=limits.head_above,
        tail_below=limits.tail_below,
    )


def missing_predictions(source: Source) -> str:
    """Returns why there are no answers of the winner to look at."""
    if source.winner is None:
        return "There is no best trial whose answers could be looked at."
    return (
        f"What trial {source.winner.number} said of each validation image is not in this folder: it ran elsewhere, or "
        "with a version that did not keep it."
    )


def confusions(labels: np.ndarray, guesses: np.ndarray, classes: int) -> np.ndarray:
    """Returns the confusion matrix (C, C), actual classes down and guessed ones across; labels and guesses are (N,)."""
    flat = np.bincount(labels * classes + guesses, minlength=classes * classes)
    return flat.reshape(classes, classes)


def train_counts(source: Source, classes: int) -> np.ndarray | None:
    """Returns the training images of each class, (C,); None where the images are not on this machine."""
    if not isinstance(source.images, ImageCache):
        return None
    return np.bincount(source.images.split("train").labels, minlength=classes)


def _group(name: str, rows: list[ClassRow]) -> GroupRow:
    images = sum(row.images for row in rows)
    return GroupRow(
        name=name,
        classes=len(rows),
        images=images,
        recall=float(np.mean([row.recall for row in rows])) if rows else 0.0,
        top1=sum(row.right for row in rows) / images if images else 0.0,
    )
