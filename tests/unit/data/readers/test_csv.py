from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweeper.data import Manifest
from sweeper.data.manifest import ImageSource, Observation
from sweeper.data.readers import read_manifest
from sweeper.errors import DataError
from sweeper.spec.data import CsvData


@pytest.fixture
def photos(tmp_path: Path, write_images: Any) -> Path:
    write_images(tmp_path / "photos" / "a", 4)
    return tmp_path / "photos"


def _read(photos: Path, text: str, **settings: Any) -> tuple[Manifest, ImageSource]:
    (photos / "list.csv").write_text(text, encoding="utf-8")
    return read_manifest(CsvData.model_validate({"source": "csv", "file": str(photos / "list.csv"), **settings}))


def _refusal(photos: Path, text: str, **settings: Any) -> str:
    with pytest.raises(DataError) as caught:
        _read(photos, text, **settings)
    return str(caught.value)


def test_all_columns_reach_the_samples(photos: Path) -> None:
    manifest, source = _read(
        photos,
        "\ufefflabel,path,split,group,latitude,longitude,date,note\n"
        "cap,a/0.jpg,train,ann,0.0,24.9,2017-05-31T14:30,x\n"
        "cap,a/1.jpg,validation,bob,,,,\n"
        "stem,a/2.jpg,train,bob,60,,2017-05-31,\n",
    )
    first, second, third = manifest.samples
    assert manifest.classes == ("cap", "stem")
    assert [sample.split for sample in manifest.samples] == ["train", "val", "train"]
    assert [sample.group for sample in manifest.samples] == ["ann", "bob", "bob"]
    assert first.observation == Observation(0.0, 24.9, "2017-05-31T14:30")
    assert second.observation is None
    assert third.observation == Observation(60.0, None, "2017-05-31")
    assert source.read(first, short_side=40).shape == (40, 60, 3)


def test_without_a_split_one_is_drawn_and_the_folder_may_be_another(photos: Path) -> None:
    text = "path,label\n" + "".join(f"{number}.jpg,cap\n" for number in range(4))
    manifest, _ = _read(photos, text, root=str(photos / "a"))
    assert sorted(sample.split for sample in manifest.samples) == ["train", "train", "train", "val"]


def test_wrong_columns_are_refused_with_the_nearest_right_name(photos: Path) -> None:
    file = photos / "list.csv"
    assert _refusal(photos, "path,lable\na/0.jpg,cap\n") == (
        f"A list of images has the columns `path` and `label`, but `{file}` has no `label`; is it `lable`?"
    )
    assert _refusal(photos, "path,label,spilt\na/0.jpg,cap,val\n") == (
        f"The columns are path, label, split, group, latitude, longitude, date, but `{file}` has `spilt`; "
        f"did you mean `split`?"
    )
    assert _refusal(photos, "path,label,lat,lon\na/0.jpg,cap,1,2\n").endswith("has `lat`; did you mean `latitude`?")


def test_wrong_values_are_refused_at_their_line(photos: Path) -> None:
    file = photos / "list.csv"
    head = "path,label,split,latitude,longitude,date\n"
    assert _refusal(photos, head + "a/0.jpg,,,,,\n") == f"Each line must have a label, but `{file}` line 2 has none."
    assert _refusal(photos, head + "a/0.jpg,cap,trial,,,\n") == (
        f"A split must be `train`, `val` or `test`, but `{file}` line 2: `trial`; did you mean `train` or `val`?"
    )
    assert _refusal(photos, head + "a/0.jpg,cap,,91,,\n") == (
        f"A latitude must be a number from -90 to 90, but `{file}` line 2: `91`."
    )
    assert _refusal(photos, head + "a/0.jpg,cap,,,,May\n") == (
        f"A date must be like `2017-05-31` or `2017-05-31T14:30`, but `{file}` line 2: `May`."
    )
    assert _refusal(photos, head + "../a/0.jpg,cap,,,,\n") == (
        f"A path must be relative to `data.root` and within it, but `{file}` line 2: `../a/0.jpg`."
    )
    assert _refusal(photos, head + "a/0.jpg,cap,,,,\n" * 2) == (
        "Each image must be listed once, but `a/0.jpg` is listed twice."
    )


def test_a_class_that_is_only_validated_and_a_list_without_training_are_refused(photos: Path) -> None:
    head = "path,label,split\n"
    assert _refusal(photos, head + "a/0.jpg,cap,train\na/1.jpg,caps,val\n") == (
        "Every class of `val` must be in `train`, but `caps` is not; did you mean `cap`?"
    )
    assert _refusal(photos, head) == "The `train` split must hold an image, but the source lists none for it."


def test_images_that_are_not_there_are_counted(photos: Path) -> None:
    assert _refusal(photos, "path,label\na/0.jpg,cap\na/9.jpg,cap\n") == (
        f"At most 1.00% of the images may be unreadable (`data.max_bad_fraction`), but 1 of 2 listed images are not "
        f"below `{photos}`: `a/9.jpg`; put them there."
    )


def test_a_missing_list_and_an_unknown_kind_of_place_are_told(photos: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_manifest(CsvData(source="csv", file=str(photos / "no.csv")))
    assert str(caught.value) == f"`{photos / 'no.csv'}` must be readable, but it is not: No such file or directory."
    with pytest.raises(
        DataError, match=r"^A place must be a path, or a URI such as `s3://bucket/photos` or `gs://bucket"
    ):
        read_manifest(CsvData(source="csv", file="ftp://host/list.csv"))
