from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweeper.data import Manifest
from sweeper.data.manifest import ImageSource
from sweeper.data.readers import read_manifest
from sweeper.errors import DataError
from sweeper.spec.data import TorchvisionData

FAKE = {"size": 12, "image_size": [3, 20, 24], "num_classes": 3}


def _read(root: Path, dataset: str, **settings: Any) -> tuple[Manifest, ImageSource]:
    spec = {"source": "torchvision", "dataset": dataset, "root": root, **settings}
    return read_manifest(TorchvisionData.model_validate(spec))


def _refusal(root: Path, dataset: str, **settings: Any) -> str:
    with pytest.raises(DataError) as caught:
        _read(root, dataset, **settings)
    return str(caught.value)


def test_made_images_are_the_same_every_time(tmp_path: Path) -> None:
    manifest, source = _read(tmp_path, "FakeData", args=FAKE)
    assert manifest.classes == ("0", "1", "2")
    assert {sample.split for sample in manifest.samples} == {"train", "val"}
    assert source.size(manifest.samples[0]) == (24, 20)
    again = source.read(manifest.samples[5], short_side=8)
    assert np.array_equal(again, source.read(manifest.samples[5], short_side=8))
    assert manifest.fingerprint == _read(tmp_path, "FakeData", args=FAKE)[0].fingerprint


def test_images_in_files_are_listed_without_opening_them(tmp_path: Path) -> None:
    """OxfordIIITPet's layout: `trainval.txt` and `test.txt` name the images; none of these is one."""
    pets = tmp_path / "oxford-iiit-pet"
    for folder in ("images", "annotations"):
        (pets / folder).mkdir(parents=True)
    for split, names in (("trainval", ("Beagle_1", "Boxer_1", "Beagle_2", "Boxer_2")), ("test", ("Beagle_3",))):
        lines = [f"{name} {1 + name.startswith('Boxer')} 2 1" for name in names]
        (pets / "annotations" / f"{split}.txt").write_text("\n".join(lines))
        for name in names:
            (pets / "images" / f"{name}.jpg").write_bytes(b"no picture")
    manifest, source = _read(tmp_path, "OxfordIIITPet")
    assert manifest.classes == ("Beagle", "Boxer")
    assert [(sample.key, sample.split) for sample in manifest.samples][2] == (
        "oxford-iiit-pet/images/Beagle_3.jpg",
        "test",
    )
    assert sorted(sample.split for sample in manifest.samples) == ["test", "train", "train", "val", "val"]
    with pytest.raises(DataError, match=r"^not an image, or one in an unknown format$"):
        source.size(manifest.samples[0])


def test_an_unknown_name_is_refused_with_the_nearest(tmp_path: Path) -> None:
    assert _refusal(tmp_path, "Flower102") == (
        "`data.dataset` must be one of torchvision's sets for classification, but got `Flower102`; "
        "did you mean `Flowers102`?"
    )


def test_what_is_not_there_is_told_with_how_to_get_it(tmp_path: Path) -> None:
    assert _refusal(tmp_path, "Flowers102") == (
        f"`Flowers102` must lie in `{tmp_path}`, but torchvision says: Dataset not found or corrupted. You can use "
        f"download=True to download it. Set `data.download: true` to let torchvision download it."
    )


def test_wrong_arguments_are_told(tmp_path: Path) -> None:
    assert "`data.args` must suit torchvision's `FakeData`, but it says: " in _refusal(
        tmp_path, "FakeData", args={"sise": 3}
    )
