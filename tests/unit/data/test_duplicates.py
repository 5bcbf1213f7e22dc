"""Images that are in two splits or two classes are found, counted, listed, and left out where that is asked."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from sweeper.data import ImageCache, count_twins, open_duplicates, prepare_images, twin_pairs
from sweeper.data.cache import CacheFiles
from sweeper.data.duplicates import Duplicates
from sweeper.data.manifest import Pixels, Split
from sweeper.errors import DataError
from sweeper.paths import CachePaths
from sweeper.spec.data import FolderData
from sweeper.spec.split import SplitSpec

Prepare = Callable[..., ImageCache]


@pytest.fixture
def root(tmp_path: Path, photo: Pixels) -> Path:
    """Parts of a photo that do not overlap: `train/` a 0-3, b 4-5; `val/` a 6, b 7; `test/` a 8."""
    root = tmp_path / "images"
    places = {"train/a": (0, 1, 2, 3), "train/b": (4, 5), "val/a": (6,), "val/b": (7,), "test/a": (8,)}
    for folder, numbers in places.items():
        (root / folder).mkdir(parents=True)
        for number in numbers:
            top, left = number // 3 * 142, number % 3 * 213
            cv2.imwrite(str(root / folder / f"{number}.png"), photo[top : top + 142, left : left + 213, ::-1])
    return root


@pytest.fixture
def prepare(root: Path, tmp_path: Path) -> Prepare:
    def _prepare(**split: str) -> ImageCache:
        spec = FolderData(source="folder", root=root, image_size=112, split=SplitSpec.model_validate(split))
        return prepare_images(spec, CachePaths(tmp_path / "cache"))

    return _prepare


def _reencode(source: Path, target: Path) -> None:
    cv2.imwrite(str(target), cv2.imread(str(source)), [cv2.IMWRITE_JPEG_QUALITY, 60])


def test_images_that_differ_have_no_twins(prepare: Prepare) -> None:
    images = prepare()
    found = open_duplicates(images)
    assert count_twins(images, found).leaked == 0
    assert list(twin_pairs(images, found)) == []


def test_twins_in_other_splits_and_classes_are_counted_and_listed(root: Path, prepare: Prepare) -> None:
    shutil.copy(root / "train/a/0.png", root / "val/a/copy.png")  # a leak
    _reencode(root / "train/a/1.png", root / "test/a/again.jpg")  # a leak, hard to see
    _reencode(root / "val/b/7.png", root / "test/a/other.jpg")  # a leak, and a conflict
    shutil.copy(root / "train/a/2.png", root / "train/b/wrong.png")  # a conflict
    shutil.copy(root / "train/a/3.png", root / "train/a/twice.png")  # neither
    images = prepare()
    found = open_duplicates(images)
    counts = count_twins(images, found)
    assert (counts.val_in_train, counts.test_in_train, counts.test_in_val, counts.conflicts) == (1, 1, 1, 4)
    assert counts.sentence == (
        "1 of 3 validation images have a twin among the training images, 1 of 3 test images one there and 1 one in "
        "val; 4 images have a twin of another class."
    )
    listed = {(pair.keys, pair.splits, pair.classes, pair.kind) for pair in twin_pairs(images, found)}
    assert listed == {
        (("val/a/copy.png", "train/a/0.png"), ("val", "train"), ("a", "a"), "exact"),
        (("test/a/again.jpg", "train/a/1.png"), ("test", "train"), ("a", "a"), "near"),
        (("test/a/other.jpg", "val/b/7.png"), ("test", "val"), ("a", "b"), "near"),
        (("train/a/2.png", "train/b/wrong.png"), ("train", "train"), ("a", "b"), "exact"),
    }


def test_drop_leaves_out_the_training_images_alone(root: Path, prepare: Prepare) -> None:
    shutil.copy(root / "train/a/0.png", root / "val/a/copy.png")
    _reencode(root / "train/b/4.png", root / "test/a/again.jpg")
    shutil.copy(root / "train/a/3.png", root / "train/a/twice.png")
    kept, dropped = prepare(), prepare(duplicates="drop")
    assert dropped.folder == kept.folder
    assert set(kept.split("train").keys) - set(dropped.split("train").keys) == {"train/a/0.png", "train/b/4.png"}
    held_out: tuple[Split, ...] = ("val", "test")
    for split in held_out:
        assert dropped.split(split).keys == kept.split(split).keys
    assert dropped.split_fingerprint != kept.split_fingerprint
    assert count_twins(dropped, open_duplicates(dropped)).leaked == 0


def test_drop_is_refused_where_a_class_would_be_left_without_training_images(root: Path, prepare: Prepare) -> None:
    for number in (4, 5):
        shutil.copy(root / f"train/b/{number}.png", root / f"val/b/{number}.png")
    message = (
        "`data.split.duplicates: drop` must leave each class training images, but all of `b` have a twin among the "
        "validation or test images; take `report`."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        prepare(duplicates="drop")


def test_they_are_looked_for_once_and_again_if_the_file_is_damaged(root: Path, prepare: Prepare) -> None:
    shutil.copy(root / "train/a/0.png", root / "val/a/copy.png")
    images, told = prepare(), []

    def tell(what: str, done: int, total: int) -> None:
        told.append((what, done, total))

    for _ in range(2):
        found = open_duplicates(images, tell)
        assert count_twins(images, found).val_in_train == 1
    assert told == [("comparing images", 10, 10)]
    file = CacheFiles(images.folder).duplicates
    file.write_bytes(file.read_bytes()[:100])
    assert count_twins(images, open_duplicates(images, tell)).val_in_train == 1
    assert len(told) == 2


def test_a_conflict_is_seen_through_a_whole_group() -> None:
    duplicates = Duplicates(np.array([0, 0, 0, 1, 2, 3]), np.array([[1, 2]]))
    labels = np.array([5, 5, 6, 7, 7, 7])
    assert duplicates.contradicts(labels).tolist() == [True, True, True, False, False, False]
    assert duplicates.contradicts(np.array([5, 5, 5, 7, 8, 7])).tolist() == [False, False, False, True, True, False]
