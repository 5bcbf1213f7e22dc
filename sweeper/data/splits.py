"""A validation split for sources that have none of their own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from sweeper.data.manifest import Manifest, Sample
from sweeper.spec.data import DataSpec


def with_val(manifest: Manifest, spec: DataSpec) -> Manifest:
    """Returns the manifest with a validation split: its own, or one drawn from the training images."""
    if any(sample.split == "val" for sample in manifest.samples):
        return manifest
    drawn = split_off_val((sample for sample in manifest.samples if sample.split == "train"), spec)
    kept = [sample for sample in manifest.samples if sample.split != "train"]
    return replace(manifest, samples=tuple(sorted(drawn + kept, key=lambda sample: sample.key)))


def split_off_val(samples: Iterable[Sample], spec: DataSpec) -> list[Sample]:
    """Moves `spec.val_fraction` of each class to the validation split.

    Every class is drawn by itself, so images added to one class leave the others' split as it was, and
    a class of two or more images is in both splits. A class with a single image goes to train.

    Args:
        samples: in any order; the result does not depend on it.
        spec: gives the fraction and the seed.

    Returns:
        The samples sorted by key, each in `train` or `val`.
    """
    by_label: dict[int, list[Sample]] = defaultdict(list)
    for sample in sorted(samples, key=lambda sample: sample.key):
        by_label[sample.label].append(sample)
    val_keys = {key for members in by_label.values() for key in _val_keys(members, spec)}
    return [
        replace(sample, split="val" if sample.key in val_keys else "train")
        for sample in sorted(
            (sample for members in by_label.values() for sample in members), key=lambda sample: sample.key
        )
    ]


def _val_keys(members: list[Sample], spec: DataSpec) -> list[str]:
    """Returns the keys of one class that become validation images: at least one, never all."""
    # Here and not above: the import takes two seconds, and sources with a split of their own do not need it.
    from sklearn.model_selection import train_test_split

    if len(members) == 1:
        return []
    size = min(max(1, round(spec.val_fraction * len(members))), len(members) - 1)
    keys = [sample.key for sample in members]
    _, val_keys = train_test_split(keys, test_size=size, random_state=spec.split_seed)
    return list(val_keys)
