"""Images that are in a data set twice: exactly, or as nearly the same picture; found once for each cache."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations, product
from pathlib import Path
from typing import Final, Literal
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
from filelock import FileLock
from pydantic import BaseModel, ConfigDict

from sweeper.data.cache import CacheFiles, ImageCache, ImageSplit
from sweeper.data.decoding import OnProgress
from sweeper.data.lookalikes import SIMILARITY, candidates, perceptual_hash, similarity, thumbnail
from sweeper.data.manifest import SPLITS, Manifest, Split
from sweeper.errors import DataError
from sweeper.paths import written_aside

_VERSION: Final = 1
"""Of the file: raise it with any change of what counts as a duplicate."""
_CHUNK: Final = 512  # images hashed between two calls of `on_progress`


class TwinPair(BaseModel):
    """Two images of one picture."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    keys: tuple[str, str]
    splits: tuple[Split, Split]
    classes: tuple[str, str]
    kind: Literal["exact", "near"]
    """`exact`: the same pixels as they are stored; `near`: the same picture to look at."""


class TwinCounts(BaseModel):
    """How many images have a twin elsewhere."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    val: int
    """Validation images."""
    test: int
    val_in_train: int
    """Validation images with a twin among the training images."""
    test_in_train: int
    test_in_val: int
    conflicts: int
    """Images with a twin of another class."""

    @property
    def leaked(self) -> int:
        """Validation and test images with a twin among the training images."""
        return self.val_in_train + self.test_in_train

    @property
    def sentence(self) -> str:
        """The counts in words."""
        told = f"{self.val_in_train} of {self.val} validation images have a twin among the training images"
        if self.test:
            told += f", {self.test_in_train} of {self.test} test images one there and {self.test_in_val} one in val"
        return f"{told}; {self.conflicts} images have a twin of another class."


class DuplicateReport(BaseModel):
    """What `sweeper data duplicates` tells."""

    model_config = ConfigDict(frozen=True)

    counts: TwinCounts
    pairs: tuple[TwinPair, ...]


@dataclass(frozen=True, eq=False)
class Duplicates:
    """The duplicates among all images of a cache, whatever their split."""

    groups: npt.NDArray[np.int64]
    """(N,): images of the same pixels have the same number; numbers run from 0."""
    near: npt.NDArray[np.int64]
    """(P, 2): groups that show nearly the same picture."""

    def touches(self, chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Returns which of the N images have a twin, themselves left out, among those chosen."""
        held = np.bincount(self.groups[chosen], minlength=self._num_groups)
        beside = np.zeros(self._num_groups, bool)
        for one, other in (self.near.T, self.near.T[::-1]):
            beside[one[held[other] > 0]] = True
        twinned: npt.NDArray[np.bool_] = (held[self.groups] - chosen > 0) | beside[self.groups]
        return twinned

    def contradicts(self, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Returns which of the N images have a twin with another label."""
        low = np.full(self._num_groups, np.iinfo(np.int64).max)
        high = np.full(self._num_groups, -1)
        np.minimum.at(low, self.groups, labels)
        np.maximum.at(high, self.groups, labels)
        lowest, highest = low.copy(), high.copy()  # of a group and those beside it
        for one, other in (self.near.T, self.near.T[::-1]):
            np.minimum.at(lowest, one, low[other])
            np.maximum.at(highest, one, high[other])
        contradicted: npt.NDArray[np.bool_] = (lowest[self.groups] < labels) | (highest[self.groups] > labels)
        return contradicted

    def pairs(self) -> Iterator[tuple[int, int, Literal["exact", "near"]]]:
        """Yields all pairs of images by their positions; there can be very many."""
        members: dict[int, list[int]] = defaultdict(list)
        for row, group in enumerate(self.groups.tolist()):
            members[group].append(row)
        for rows in members.values():
            for one, other in combinations(rows, 2):
                yield one, other, "exact"
        for first, second in self.near.tolist():
            for one, other in product(members[first], members[second]):
                yield one, other, "near"

    @property
    def _num_groups(self) -> int:
        return int(self.groups.max(initial=-1)) + 1


def open_duplicates(cache: ImageCache, on_progress: OnProgress | None = None) -> Duplicates:
    """Returns the duplicates of a cache, looking for them where nobody has yet: seconds for 10,000 images.

    Args:
        cache: the decoded images.
        on_progress: called while images are looked at, unless the duplicates are known already.
    """
    files = CacheFiles(cache.folder)
    with FileLock(files.lock):
        found = _read(files.duplicates, num_images=len(cache.images))
        if found is None:
            found = find_duplicates(cache.images, on_progress)
            with written_aside(files.duplicates) as aside, aside.open("wb") as handle:
                np.savez(handle, version=np.array(_VERSION), groups=found.groups, near=found.near)
    return found


def find_duplicates(images: ImageSplit, on_progress: OnProgress | None = None) -> Duplicates:
    """Looks for images of the same pixels, then for those that look the same."""
    contents, hashes = _hashed(images, on_progress)
    _, firsts, groups = np.unique(contents, return_index=True, return_inverse=True)
    pairs = candidates(hashes[firsts])

    @lru_cache(maxsize=4096)
    def small(group: int) -> npt.NDArray[np.float32]:
        return thumbnail(images.image(int(firsts[group])))

    alike = [similarity(small(one), small(other)) >= SIMILARITY for one, other in pairs.tolist()]
    return Duplicates(groups.astype(np.int64), pairs[np.array(alike, bool)])


def without_twins(manifest: Manifest, cache: ImageCache, on_progress: OnProgress | None = None) -> Manifest:
    """Returns the manifest without the training images that have a twin in another split.

    Raises:
        DataError: a class would have no training images left.
    """
    splits = _splits_of(cache, manifest)
    twins = open_duplicates(cache, on_progress).touches((splits == "val") | (splits == "test")) & (splits == "train")
    dropped = {cache.images.keys[row] for row in np.flatnonzero(twins).tolist()}
    kept = replace(manifest, samples=tuple(one for one in manifest.samples if one.key not in dropped))
    left, before = ({one.label for one in some.samples if one.split == "train"} for some in (kept, manifest))
    if gone := sorted(before - left):
        raise DataError(
            f"`data.split.duplicates: drop` must leave each class training images, but all of "
            f"`{manifest.classes[gone[0]]}` have a twin among the validation or test images; take `report`."
        )
    return kept


def count_twins(cache: ImageCache, duplicates: Duplicates) -> TwinCounts:
    """Counts the images of a divided cache that have a twin in another split, or of another class."""
    splits = _splits_of(cache)
    train, val, test = (splits == split for split in ("train", "val", "test"))
    return TwinCounts(
        val=int(val.sum()),
        test=int(test.sum()),
        val_in_train=int((val & duplicates.touches(train)).sum()),
        test_in_train=int((test & duplicates.touches(train)).sum()),
        test_in_val=int((test & duplicates.touches(val)).sum()),
        conflicts=int(duplicates.contradicts(cache.images.labels).sum()),
    )


def twin_pairs(cache: ImageCache, duplicates: Duplicates) -> Iterator[TwinPair]:
    """Yields the pairs that matter: those in two splits, and those of two classes."""
    splits, images = _splits_of(cache), cache.images
    for one, other, kind in duplicates.pairs():
        if not (splits[one] and splits[other]):
            continue
        if splits[one] != splits[other] or images.labels[one] != images.labels[other]:
            first, second = sorted((one, other), key=lambda row: SPLITS.index(splits[row]), reverse=True)
            yield TwinPair(
                keys=(images.keys[first], images.keys[second]),
                splits=(splits[first], splits[second]),
                classes=(cache.classes[images.labels[first]], cache.classes[images.labels[second]]),
                kind=kind,
            )


def _hashed(images: ImageSplit, on_progress: OnProgress | None) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.uint64]]:
    """Returns a checksum and a perceptual hash of each image."""

    def look(index: int) -> tuple[str, int]:
        image = images.image(index)
        content = hashlib.sha256(image.data)
        content.update(str(image.shape).encode())
        return content.hexdigest()[:32], perceptual_hash(thumbnail(image))

    looked: list[tuple[str, int]] = []
    with ThreadPoolExecutor(thread_name_prefix="duplicates") as pool:
        for start in range(0, len(images), _CHUNK):
            looked += pool.map(look, range(start, min(start + _CHUNK, len(images))))
            if on_progress is not None:
                on_progress("comparing images", len(looked), len(images))
    contents, hashes = zip(*looked, strict=True) if looked else ((), ())
    return np.array(contents, dtype=np.str_), np.array(hashes, np.uint64)


def _read(path: Path, *, num_images: int) -> Duplicates | None:
    """Returns what another process has found, None where there is nothing of this version."""
    try:
        with np.load(path) as kept:
            found = Duplicates(kept["groups"], kept["near"])
            is_current = int(kept["version"]) == _VERSION and len(found.groups) == num_images
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
    return found if is_current else None


def _splits_of(cache: ImageCache, manifest: Manifest | None = None) -> npt.NDArray[np.object_]:
    """Returns the split of each image of a cache; empty for one that is in none."""
    if manifest is None:
        split_of = {key: split for split in cache.splits for key in cache.split(split).keys}
    else:
        split_of = {sample.key: sample.split for sample in manifest.samples}
    return np.array([split_of.get(key, "") for key in cache.images.keys], dtype=object)
