from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sweeper.data import Survey, describe
from sweeper.data.describe import DataDescription, Spread
from sweeper.spec.data import DigitsData, FolderData

WriteImages = Callable[..., Path]


def test_a_folder_is_described_split_by_split(
    folder_spec: FolderData, image_folder: Path, write_images: WriteImages
) -> None:
    write_images(image_folder / "train" / "eel", 1, size=(30, 90))
    description = describe(folder_spec)
    train, val = description.splits
    assert description.classes == ("cat", "dog", "eel")
    assert (train.split, train.images, train.classes) == ("train", 15, 3)
    assert train.per_class == Spread(min=1, median=5, max=9)
    assert train.width == Spread(min=30, median=60, max=60)
    assert train.height == Spread(min=40, median=40, max=90)
    assert (val.split, val.images, val.classes) == ("val", 5, 2)
    assert val.per_class == Spread(min=2, median=2.5, max=3)
    assert description.imbalance == 9.0
    assert description.unreadable == ()


def test_unreadable_files_are_named_with_the_reason(folder_spec: FolderData, image_folder: Path) -> None:
    for path in (image_folder / "val").rglob("*.jpg"):
        path.write_text("junk")
    (image_folder / "train" / "cat" / "3.jpg").write_bytes(b"")
    description = describe(folder_spec)
    reasons = {image.key: image.reason for image in description.unreadable}
    assert reasons["train/cat/3.jpg"] == "the file is empty"
    assert reasons["val/dog/0.jpg"] == "not an image, or one in an unknown format"
    assert len(reasons) == 6
    assert description.splits[1].width is None


def test_the_digits_are_described_and_survive_json() -> None:
    description = describe(DigitsData(source="digits"))
    assert description.splits[0].width == Spread(min=8, median=8, max=8)
    assert description.imbalance < 1.1
    assert DataDescription.model_validate_json(description.model_dump_json()) == description


def test_what_a_sweep_has_to_do_without_is_told(image_folder: Path, write_images: WriteImages, tmp_path: Path) -> None:
    for name in ("eel", "fox"):
        write_images(image_folder / "train" / name, 10)
    places = tmp_path / "places.csv"
    lines = ["image,latitude,longitude,date", "train/cat/0.jpg,1,2,2017-05-31", "val/cat/0.jpg,1,,2017-05-31"]
    places.write_text("\n".join(lines) + "\n")
    spec = FolderData(source="folder", root=image_folder, metadata=places)
    assert Survey.of(spec).describe(few=10).missing == (
        "2 classes have fewer than 10 training images: `dog` (5), `cat` (9).",
        "2 classes have no val images: `eel`, `fox`.",
        "38 of 39 images have no place, 37 no date.",
    )
