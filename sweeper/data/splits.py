"""Which images train, which validate, and which are kept for a test: `data.split`."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sweeper.data.groups import deal_groups, gather
from sweeper.data.manifest import Manifest, Sample, Split
from sweeper.errors import DataError
from sweeper.spec.split import SplitBy, SplitSpec


def split_samples(manifest: Manifest, spec: SplitSpec) -> Manifest:
    """Returns the manifest with each sample in the split that it has in all trials of a sweep.

    Neither the order of the samples nor the machine changes a draw, and images added to one class leave the
    stratified splits of the others as they were. A test that the source has stays as it is.

    Args:
        manifest: samples in the splits of their source; all in `train` where it has none.
        spec: what is asked.

    Raises:
        DataError: the images cannot be split as asked.
    """
    by = _resolved(manifest, spec)
    if by == "official":
        return _moved(manifest, _official(manifest, spec))
    pool = [sample for sample in manifest.samples if sample.split != "test"]
    draw = _Draw(_shuffled(pool, spec.seed), _groups(pool, by, spec), manifest.classes, spec)
    moved = _moved(manifest, draw.splits(with_test=len(pool) == len(manifest.samples)))
    _require_trained(moved)
    return moved


def _resolved(manifest: Manifest, spec: SplitSpec) -> SplitBy:
    """Returns what `auto` means for a data set, and refuses an official split that is not there."""
    has_val = any(sample.split == "val" for sample in manifest.samples)
    if spec.by == "official" and not has_val:
        have = ", ".join(f"`{split}`" for split in dict.fromkeys(sample.split for sample in manifest.samples))
        raise DataError(
            f"`data.split.by: official` needs a source with a validation split of its own, but this one has only "
            f"{have}; draw one with `by: stratified`."
        )
    if spec.by != "auto":
        return spec.by
    if has_val and spec.folds is None:
        return "official"
    return "group" if any(sample.group for sample in manifest.samples) else "stratified"


def _official(manifest: Manifest, spec: SplitSpec) -> dict[str, Split]:
    """Keeps the source's split, but for a test drawn from its validation images where it has none."""
    if spec.test == 0.0 or any(sample.split == "test" for sample in manifest.samples):
        return {}
    val = [sample for sample in manifest.samples if sample.split == "val"]
    return _by_class(_shuffled(val, spec.seed), {"test": spec.test}, rest="val")


@dataclass(frozen=True)
class _Draw:
    """Draws splits from images, each by itself or in groups."""

    pool: list[Sample]
    """In the order in which they are drawn."""
    groups: dict[str, str] | None
    """The group of an image by its key; None draws each by itself."""
    classes: tuple[str, ...]
    spec: SplitSpec

    def splits(self, *, with_test: bool) -> dict[str, Split]:
        """Returns the split of each image by its key."""
        spec = self.spec
        test: dict[Split, float] = {"test": spec.test} if with_test and spec.test else {}
        if spec.folds is None:
            return self._shared(self.pool, {"val": spec.val, **test})
        drawn = self._shared(self.pool, test) if test else {}
        rest = [sample for sample in self.pool if drawn.get(sample.key) != "test"]
        folds = self._folds(rest, spec.folds)
        return drawn | {key: "val" if fold == spec.fold else "train" for key, fold in folds.items()}

    def _shared(self, samples: Sequence[Sample], shares: Mapping[Split, float]) -> dict[str, Split]:
        if self.groups is None:
            return _by_class(samples, shares, rest="train")
        names: list[Split] = ["train", *shares]
        trains = np.zeros((len(names), len(names)), bool)
        trains[1:, 0] = True
        wanted = [1.0 - sum(shares.values()), *shares.values()]
        parts = deal_groups(gather(samples, self.groups), wanted, trains=trains)
        return {key: names[part] for key, part in parts.items()}

    def _folds(self, samples: Sequence[Sample], folds: int) -> dict[str, int]:
        self._require_enough(samples, folds)
        if self.groups is not None:
            return deal_groups(gather(samples, self.groups), [1 / folds] * folds, trains=~np.eye(folds, dtype=bool))
        fold_of: dict[str, int] = {}
        for label, keys in _keys_by_class(samples).items():
            # Where a class begins differs, or all that is left over would go to the first folds.
            first = _rank(self.classes[label], self.spec.seed) % folds
            fold_of.update((key, (first + number) % folds) for number, key in enumerate(keys))
        return fold_of

    def _require_enough(self, samples: Sequence[Sample], folds: int) -> None:
        """Refuses folds where some of them would have nothing of a class."""
        units = Counter(sample.label for sample in samples)
        if self.groups is not None:
            units = Counter(label for group in gather(samples, self.groups) for label in group.labels.tolist())
        label = min(range(len(self.classes)), key=lambda label: units[label])
        if units[label] < folds:
            kind = "images" if self.groups is None else "groups"
            raise DataError(
                f"Each class must have at least as many {kind} as `data.split.folds`, {folds}, but "
                f"`{self.classes[label]}` has {units[label]}; ask for fewer folds, or leave the class out."
            )


def _by_class(samples: Sequence[Sample], shares: Mapping[Split, float], *, rest: Split) -> dict[str, Split]:
    """Draws each class by itself: at least one image for each share, as long as one is left for the rest."""
    split_of: dict[str, Split] = {}
    for keys in _keys_by_class(samples).values():
        taken = 0
        for split, share in shares.items():
            size = min(max(1, round(share * len(keys))), len(keys) - 1 - taken)
            split_of.update(dict.fromkeys(keys[taken : taken + size], split))
            taken += size
        split_of.update(dict.fromkeys(keys[taken:], rest))
    return split_of


def _groups(samples: Sequence[Sample], by: SplitBy, spec: SplitSpec) -> dict[str, str] | None:
    """Returns the group of each sample that has one; None where samples are drawn by themselves."""
    if by == "stratified":
        return None
    if by == "group":
        found = {sample.key: sample.group for sample in samples if sample.group}
    else:
        found = {sample.key: cell for sample in samples if (cell := _cell(sample, spec.cell))}
    if not found:
        needs = "group (an observer, a specimen)" if by == "group" else "latitude and longitude"
        raise DataError(
            f"`data.split.by: {by}` needs images that tell their {needs}, but none of the {len(samples)} does; "
            f"take `by: stratified`{'' if by == 'group' else ', or name a CSV as `data.metadata`'}."
        )
    return found


def _cell(sample: Sample, side: float) -> str:
    """Returns the cell of the map in which an image was taken; empty where that is not known."""
    place = sample.observation
    if place is None or place.latitude is None or place.longitude is None:
        return ""
    return f"{math.floor(place.latitude / side)},{math.floor(place.longitude / side)}"


def _shuffled(samples: Iterable[Sample], seed: int) -> list[Sample]:
    """Orders samples at random, each by its own key: a sample more or less leaves the order of the others."""
    return sorted(samples, key=lambda sample: (_rank(sample.key, seed), sample.key))


def _rank(name: str, seed: int) -> int:
    # Not a generator's permutation: NumPy does not promise that its streams stay the same in its next version.
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8])


def _keys_by_class(samples: Iterable[Sample]) -> dict[int, list[str]]:
    keys: dict[int, list[str]] = defaultdict(list)
    for sample in samples:
        keys[sample.label].append(sample.key)
    return keys


def _moved(manifest: Manifest, split_of: Mapping[str, Split]) -> Manifest:
    """Returns the manifest with the samples in `split_of` in other splits, sorted by key."""
    moved = (replace(sample, split=split_of.get(sample.key, sample.split)) for sample in manifest.samples)
    return replace(manifest, samples=tuple(sorted(moved, key=lambda sample: sample.key)))


def _require_trained(manifest: Manifest) -> None:
    """Refuses a draw that judges a class which it does not train."""
    train, val = ({one.label for one in manifest.samples if one.split == split} for split in ("train", "val"))
    if untrained := sorted(val - train):
        raise DataError(
            f"Each class needs training images, but all groups of `{manifest.classes[untrained[0]]}` went to the "
            f"validation split; try another `data.split.seed`, or fewer folds."
        )
