"""A data set in three pictures: its classes, the sizes of its images, and what training makes of some of them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from sweeper.data.augment import Augmenter
from sweeper.data.decode import fit
from sweeper.data.describe import Survey
from sweeper.data.drawings import SheetRow, draw_classes, draw_sheet, draw_sizes
from sweeper.data.manifest import SPLITS, Pixels, Sample
from sweeper.errors import CacheError, DataError
from sweeper.paths import written_aside
from sweeper.spec.evaluation import EvalSpec
from sweeper.spec.training import AugmentSpec

_ROWS: Final = 6
_VARIANTS: Final = 6


def draw_overview(survey: Survey, augment: AugmentSpec, groups: EvalSpec, folder: Path) -> tuple[Path, ...]:
    """Writes `classes.png`, `sizes.png` and `augmented.png` into a folder, which is made if need be.

    Args:
        survey: the images.
        augment: how training varies them.
        groups: which classes are the head and the tail.
        folder: where the pictures go; those of an earlier call are replaced.

    Returns:
        The files.

    Raises:
        CacheError: the folder cannot be written.
    """
    counts = {split: survey.counts(split) for split in SPLITS}
    drawn = {
        "classes.png": draw_classes(
            survey.manifest.classes, counts, head_above=groups.head_above, tail_below=groups.tail_below
        ),
        "augmented.png": draw_augmented(survey, augment),
    }
    if len(survey.known_sizes):
        drawn["sizes.png"] = draw_sizes(survey.known_sizes, stored=survey.spec.stored_short_side)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in drawn.items():
            with written_aside(folder / name) as aside:
                aside.write_bytes(content)
    except OSError as error:
        raise CacheError(f"The pictures cannot be written into `{folder}`: {error.strerror or error}.") from error
    return tuple(folder / name for name in sorted(drawn))


def draw_augmented(survey: Survey, augment: AugmentSpec) -> bytes:
    """Draws training images of several classes, each beside what some epochs would make of it, as a PNG."""
    image_size, stored = survey.spec.image_size, survey.spec.stored_short_side
    rows = []
    for number, sample in enumerate(_chosen(survey)):
        try:
            image = fit(survey.source.read(sample, short_side=stored), short_side=stored)
        except DataError:
            continue  # it is among the unreadable ones that the description lists
        variants = augmented_variants(image, augment, image_size=image_size, seed=number, count=_VARIANTS)
        rows.append(SheetRow(survey.manifest.classes[sample.label], [image, *variants]))
    title = f"Training images at {image_size} px, augment: {told_augmentation(augment)}"
    columns = ["stored", *(f"variant {number}" for number in range(1, _VARIANTS + 1))]
    return draw_sheet(rows, title=title, columns=columns)


def _chosen(survey: Survey) -> list[Sample]:
    """Returns a training image each of classes spread evenly from the largest to the smallest."""
    first: dict[int, Sample] = {}
    for sample in survey.manifest.samples:
        if sample.split == "train":
            first.setdefault(sample.label, sample)
    by_size = sorted(first, key=lambda label: -survey.counts("train")[label])
    places = np.linspace(0, len(by_size) - 1, num=min(_ROWS, len(by_size))).round().astype(int)
    return [first[by_size[place]] for place in places]


def augmented_variants(image: Pixels, augment: AugmentSpec, *, image_size: int, seed: int, count: int) -> list[Pixels]:
    """Returns `count` training images (image_size, image_size, 3) made of a stored one; the same ones for a seed."""
    augmenter = Augmenter.of(augment, image_size=image_size)
    return [augmenter(image, np.random.default_rng((seed, variant))) for variant in range(count)]


def told_augmentation(augment: AugmentSpec) -> str:
    """Names what varies an image; what is mixed from several images cannot be shown for one."""
    told = [f"policy {augment.policy}", f"min_scale {augment.min_scale:g}"]
    for name in ("hflip", "vflip", "color_jitter", "erase"):
        if value := getattr(augment, name):
            told.append(f"{name} {value:g}")
    mixed = [f"{name} {getattr(augment, name):g}" for name in ("mixup", "cutmix") if getattr(augment, name)]
    return ", ".join(told) + (f"; on top {' and '.join(mixed)}" if mixed else "")
