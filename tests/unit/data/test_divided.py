"""One cache serves every split of a data set, and knows where and when its images were taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sweeper.data import ImageCache, prepare_images, read_metadata
from sweeper.data.metadata import encode
from sweeper.paths import CachePaths
from sweeper.spec.data import FolderData
from sweeper.spec.split import SplitSpec


def _prepared(spec: FolderData, cache: CachePaths, **asked: Any) -> ImageCache:
    return prepare_images(spec.model_copy(update={"split": SplitSpec(**asked)}), cache)


def test_all_folds_share_one_cache_and_differ_in_their_splits(folder_spec: FolderData, tmp_path: Path) -> None:
    folds = [_prepared(folder_spec, CachePaths(tmp_path), folds=3, fold=fold) for fold in range(3)]
    assert len({fold.folder for fold in folds}) == 1
    assert len({fold.fingerprint for fold in folds}) == len({fold.split_fingerprint for fold in folds}) == 3
    validated = [key for fold in folds for key in fold.split("val").keys]
    assert sorted(validated) == sorted(folds[0].images.keys)
    for fold in folds:
        for split in (fold.split("train"), fold.split("val")):
            for index, key in enumerate(split.keys):
                row = fold.images.keys.index(key)
                assert np.array_equal(split.image(index), fold.images.image(row))
                assert split.labels[index] == fold.images.labels[row]


def test_the_images_of_a_split_bring_their_metadata(folder_spec: FolderData, tmp_path: Path) -> None:
    places = tmp_path / "places.csv"
    lines = ["image,latitude,longitude,date", "train/cat/3.jpg,60.2,24.9,2017-09-03T12:00", "val/dog/0.jpg,-3,7,"]
    places.write_text("\n".join(lines) + "\n")
    spec = folder_spec.model_copy(update={"metadata": places})
    cache = prepare_images(spec, CachePaths(tmp_path / "cache"))
    for name, key in (("train", "train/cat/3.jpg"), ("val", "val/dog/0.jpg")):
        split = cache.split(name)  # type: ignore[arg-type]  # the literals are right
        said = read_metadata(places)[key]
        assert split.metadata is not None
        row = split.keys.index(key)
        np.testing.assert_array_equal(
            split.metadata[row : row + 1], encode(np.array([said.latitude]), np.array([said.longitude]), [said.date])
        )
        assert not np.delete(split.metadata, row, axis=0).any()


def test_images_without_places_or_dates_have_no_metadata(cache: ImageCache) -> None:
    assert cache.split("train").metadata is None
