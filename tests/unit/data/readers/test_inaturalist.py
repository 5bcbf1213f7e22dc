from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from sweeper.data import Manifest
from sweeper.data.manifest import ImageSource, Observation
from sweeper.data.readers import read_manifest
from sweeper.errors import DataError
from sweeper.spec.data import INaturalist2021Data, INaturalistData

CATEGORIES = [
    {"id": 7, "name": "Amanita muscaria", "supercategory": "Fungi"},
    {"id": 3, "name": "Boletus edulis", "supercategory": "Fungi"},
    {"id": 5, "name": "Turdus merula", "supercategory": "Aves"},
    {"id": 9, "name": "Morus", "supercategory": "Aves"},
    {"id": 4, "name": "Morus", "supercategory": "Plantae"},
]


@pytest.fixture
def photo_bytes(write_images: Any, tmp_path: Path) -> bytes:
    folder: Path = write_images(tmp_path / "one")
    return (folder / "0.jpg").read_bytes()


@pytest.fixture
def root(tmp_path: Path, photo_bytes: bytes) -> Path:
    """The 2017 layout: two training images and one validation image a category, annotations in another order."""
    folder = tmp_path / "inat"
    number = 100
    for split, count in (("train", 2), ("val", 1)):
        images, annotations = [], []
        for category in CATEGORIES:
            for _ in range(count):
                number += 1
                name = f"train_val_images/{category['supercategory']}/{category['name']}/{number:08x}.jpg"
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(photo_bytes)
                images.append({"id": number, "file_name": name, "rights_holder": "Ann" if number % 2 else ""})
                annotations.append({"id": number, "image_id": number, "category_id": category["id"]})
        document = {"images": images, "annotations": annotations[::-1], "categories": CATEGORIES}
        (folder / f"{split}2017.json").write_text(json.dumps(document))
    return folder


def _change(file: Path, **parts: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **parts}))


def _read(root: Path, **settings: Any) -> tuple[Manifest, ImageSource]:
    return read_manifest(INaturalistData.model_validate({"source": "inat2017", "root": str(root), **settings}))


def _refusal(root: Path, **settings: Any) -> str:
    with pytest.raises(DataError) as caught:
        _read(root, **settings)
    return str(caught.value)


def test_a_part_is_joined_by_image_id_and_its_categories_are_numbered_by_rising_id(root: Path) -> None:
    manifest, source = _read(root, supercategory="Fungi")
    assert manifest.classes == ("Boletus edulis", "Amanita muscaria")
    assert [sample.split for sample in manifest.samples].count("train") == 4
    assert [sample.split for sample in manifest.samples].count("val") == 2
    for sample in manifest.samples:
        assert manifest.classes[sample.label] in sample.key
        assert source.size(sample) == (60, 40)
        assert source.read(sample, short_side=40).shape == (40, 60, 3)


def test_several_parts_may_be_chosen_and_none_means_all(root: Path) -> None:
    assert _read(root, supercategory=["Aves", "Fungi"])[0].classes == (
        "Boletus edulis", "Turdus merula", "Amanita muscaria", "Morus",
    )  # fmt: skip
    # Two categories of one name are two classes.
    assert _read(root)[0].classes == (
        "Boletus edulis", "Morus (4)", "Turdus merula", "Amanita muscaria", "Morus (9)",
    )  # fmt: skip


def test_an_unknown_part_is_refused_with_the_nearest_name(root: Path) -> None:
    assert _refusal(root, supercategory="fungi") == (
        "`data.supercategory` must be a part of `train2017.json`, but got `fungi`; did you mean `Fungi`?"
    )
    assert _refusal(root, supercategory="xyz") == (
        "`data.supercategory` must be a part of `train2017.json`, but got `xyz`; known are `Aves`, `Fungi`, `Plantae`."
    )


def test_places_dates_and_observers_come_from_the_locations_file_and_null_stays_missing(root: Path) -> None:
    places = [
        {"id": 101, "lat": 0.0, "lon": -12.5, "date": "2016-08-12", "loc_uncert": 9, "user_id": 42},
        {"id": 102, "lat": None, "lon": None, "date": None, "loc_uncert": None, "user_id": None},
        {"id": 103, "lat": 60.1, "lon": None, "date": "soon", "user_id": 42},
    ]
    (root / "train2017_locations.json").write_text(json.dumps(places))
    by_name = {Path(sample.key).stem: sample for sample in _read(root, supercategory="Fungi")[0].samples}
    assert by_name[f"{101:08x}"].observation == Observation(0.0, -12.5, "2016-08-12")
    assert by_name[f"{101:08x}"].group == "42"
    assert by_name[f"{102:08x}"].observation is None
    assert by_name[f"{102:08x}"].group == ""
    assert by_name[f"{103:08x}"].observation == Observation(60.1, None, "")
    assert by_name[f"{111:08x}"].group == "Ann"  # the rights holder, where no observer is known


def test_the_counts_are_compared_with_the_published_ones(root: Path) -> None:
    assert _read(root, supercategory="Fungi")[0].notes == (
        "iNaturalist 2017 Fungi as published has 121 classes, 5,826 training and 1,780 validation images, "
        "but the JSON files here list 2 classes, 4 and 2 images.",
    )
    assert _read(root)[0].notes == ()


def test_an_image_that_is_not_there_is_named_and_counted(root: Path) -> None:
    manifest, _ = _read(root, supercategory="Fungi")
    (root / manifest.samples[0].key).unlink()
    told = f"1 of 6 listed images are not below `{root}`: `{manifest.samples[0].key}`"
    assert _refusal(root, supercategory="Fungi") == (
        f"At most 1.00% of the images may be unreadable (`data.max_bad_fraction`), but {told}; put them there."
    )
    again, source = _read(root, supercategory="Fungi", max_bad_fraction=0.2)
    assert again.notes[1] == f"{told}."
    assert again.fingerprint != manifest.fingerprint
    with pytest.raises(DataError, match=r"^No such file or directory$"):
        source.read(again.samples[0], short_side=8)


def test_a_missing_folder_of_images_is_named(root: Path) -> None:
    shutil.rmtree(root / "train_val_images")
    assert _refusal(root, supercategory="Fungi") == (
        f"`data.root` must hold the images beside the JSON files, but `{root}/train_val_images` does not exist; "
        f"unpack the images there."
    )


def test_a_missing_json_file_is_named_with_what_is_there(root: Path, tmp_path: Path) -> None:
    (root / "val2017.json").rename(root / "val2017 (1).json")
    assert _refusal(root) == f"`data.root` must hold `val2017.json`, but `{root}` does not; is it `val2017 (1).json`?"
    assert _refusal(tmp_path / "no") == (
        f"`data.root` must be a folder of JSON files and images, but `{tmp_path / 'no'}` does not exist."
    )


def test_json_of_another_format_is_refused(root: Path) -> None:
    train = root / "train2017.json"
    _change(train, annotations=json.loads(train.read_text())["annotations"] * 2)
    assert _refusal(root) == "`train2017.json` must have one annotation an image, but some images have two."
    _change(train, annotations=[{"image_id": 5, "category_id": 6}])
    assert _refusal(root) == "`train2017.json` must join images, annotations and categories by id, but 6 is not found."
    train.write_text('{"images": []}')
    assert _refusal(root) == (
        "`train2017.json` must have the lists images, annotations, categories, but it has no `annotations`."
    )
    train.write_text("{")
    assert _refusal(root).startswith(f"`{train}` must be a JSON file, but it is not (Expecting property name")


def test_2019_has_the_part_in_the_path_and_real_names_in_a_file_of_their_own(root: Path) -> None:
    bare = [{"id": category["id"], "name": "hidden"} for category in CATEGORIES]
    for split in ("train", "val"):
        (root / f"{split}2017.json").rename(root / f"{split}2019.json")
        _change(root / f"{split}2019.json", categories=bare)
    assert _read(root, source="inat2019", supercategory="Fungi")[0].classes == ("hidden (3)", "hidden (7)")
    named = [{"id": category["id"], "name": category["name"]} for category in CATEGORIES]
    (root / "categories.json").write_text(json.dumps(named))
    assert _read(root, source="inat2019", supercategory="Fungi")[0].classes == ("Boletus edulis", "Amanita muscaria")


def test_2021_has_places_beside_the_names_and_a_mini_training_set(root: Path) -> None:
    for name in ("train", "val"):
        (root / f"{name}2017.json").rename(root / f"{name}.json")
    images = json.loads((root / "train.json").read_text())["images"]
    images[0] |= {"latitude": 1.5, "longitude": 2.5, "date": "2016-04-14 11:34:30+00:00", "location_uncertainty": 3}
    images[1] |= {"latitude": float("nan"), "longitude": float("nan"), "date": "2016-04-14"}
    _change(root / "train.json", images=images)
    shutil.copy(root / "train.json", root / "train_mini.json")
    _change(root / "train_mini.json", annotations=[
        one for one in json.loads((root / "train.json").read_text())["annotations"] if one["image_id"] % 2
    ])  # fmt: skip
    spec = INaturalist2021Data(source="inat2021", root=str(root), supercategory="Fungi")
    by_name = {Path(sample.key).stem: sample for sample in read_manifest(spec)[0].samples}
    assert by_name[f"{101:08x}"].observation == Observation(1.5, 2.5, "2016-04-14T11:34")
    assert by_name[f"{102:08x}"].observation == Observation(None, None, "2016-04-14")
    mini = read_manifest(spec.model_copy(update={"mini": True}))[0]
    assert len(mini.samples) == len(by_name) - 2
