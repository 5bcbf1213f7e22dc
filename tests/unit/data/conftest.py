"""Image folders made of crops of a real photo."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from sweeper.data import ImageCache, prepare_images
from sweeper.data.manifest import Pixels
from sweeper.paths import CachePaths
from sweeper.spec.data import FolderData

WriteImages = Callable[..., Path]


@pytest.fixture(scope="session")
def photo() -> Pixels:
    """scikit-learn's photo of a flower, 640 x 427."""
    return np.asarray(load_sample_image("flower.jpg"))


@pytest.fixture(scope="session")
def write_images(photo: Pixels) -> WriteImages:
    """Writes `count` crops of the photo, each another, as `0.jpg`, `1.jpg`, ... into a folder."""

    def write(folder: Path, count: int = 1, *, size: tuple[int, int] = (60, 40)) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        width, height = size
        for number in range(count):
            top, left = 7 * number % (427 - height), 13 * number % (640 - width)
            crop = Image.fromarray(photo[top : top + height, left : left + width])
            crop.save(folder / f"{number}.jpg", quality=92)
        return folder

    return write


@pytest.fixture
def image_folder(tmp_path: Path, write_images: WriteImages) -> Path:
    """Two classes, `train/` with 9 and 5 images, `val/` with 3 and 2."""
    root = tmp_path / "images"
    for split, cats, dogs in (("train", 9, 5), ("val", 3, 2)):
        write_images(root / split / "cat", cats)
        write_images(root / split / "dog", dogs)
    return root


@pytest.fixture
def folder_spec(image_folder: Path) -> FolderData:
    return FolderData(source="folder", root=image_folder, image_size=32)


@pytest.fixture
def cache(folder_spec: FolderData, tmp_path: Path) -> ImageCache:
    return prepare_images(folder_spec, CachePaths(tmp_path / "cache"))
