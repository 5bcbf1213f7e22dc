from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeper.data.manifest import Manifest
from sweeper.data.readers import read_manifest
from sweeper.errors import DataError
from sweeper.spec.data import FolderData

WriteImages = Callable[..., Path]


def _read(root: Path) -> Manifest:
    return read_manifest(FolderData(source="folder", root=root))[0]


def _counts(manifest: Manifest) -> Counter[tuple[str, str]]:
    return Counter((sample.split, manifest.classes[sample.label]) for sample in manifest.samples)


def _refusal(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        _read(root)
    return str(caught.value)


def test_train_val_and_test_folders_are_the_splits(image_folder: Path, write_images: WriteImages) -> None:
    write_images(image_folder / "test" / "dog", 4)
    manifest = _read(image_folder)
    assert manifest.classes == ("cat", "dog")
    assert _counts(manifest) == {
        ("train", "cat"): 9, ("train", "dog"): 5, ("val", "cat"): 3, ("val", "dog"): 2, ("test", "dog"): 4,
    }  # fmt: skip


def test_train_without_val_is_split(image_folder: Path) -> None:
    shutil.rmtree(image_folder / "val")
    assert _counts(_read(image_folder)) == {
        ("train", "cat"): 7, ("train", "dog"): 4, ("val", "cat"): 2, ("val", "dog"): 1,
    }  # fmt: skip


def test_plain_class_folders_are_split(image_folder: Path) -> None:
    manifest = _read(image_folder / "train")
    assert _counts(manifest)["val", "cat"] == 2
    assert len({sample.key for sample in manifest.samples}) == 14


def test_a_class_may_be_called_train(tmp_path: Path, write_images: WriteImages) -> None:
    write_images(tmp_path / "train", 2)
    write_images(tmp_path / "bus", 2)
    assert _read(tmp_path).classes == ("bus", "train")


def test_hidden_files_and_other_endings_are_left_out_and_case_does_not_matter(
    tmp_path: Path, write_images: WriteImages
) -> None:
    folder = write_images(tmp_path / "a", 3)
    (folder / "0.jpg").rename(folder / ".0.jpg")
    (folder / "1.jpg").rename(folder / "1.JPeG")
    (folder / "notes.txt").write_text("x")
    write_images(tmp_path / ".hidden", 1)
    manifest = _read(tmp_path)
    assert manifest.classes == ("a",)
    assert [sample.key for sample in manifest.samples] == ["a/1.JPeG", "a/2.jpg"]


def test_folders_inside_a_class_belong_to_it_and_a_circle_of_links_is_no_trap(
    tmp_path: Path, write_images: WriteImages
) -> None:
    write_images(tmp_path / "a" / "2019" / "may", 2)
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a")
    assert [sample.key for sample in _read(tmp_path).samples] == ["a/2019/may/0.jpg", "a/2019/may/1.jpg"]


def test_odd_names_are_read(tmp_path: Path, write_images: WriteImages) -> None:
    names = ("Boletus 'edulis'", 'a "b"', "čeština ☃", "new\nline", "100%{}")
    for name in names:
        write_images(tmp_path / name, 2)
    manifest, source = read_manifest(FolderData(source="folder", root=tmp_path))
    assert set(manifest.classes) == set(names)
    assert all(source.read(sample, short_side=32).shape == (40, 60, 3) for sample in manifest.samples)


def test_names_that_are_not_utf8_are_shown_with_escapes(tmp_path: Path, write_images: WriteImages) -> None:
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    write_images(Path(folder), 1)
    assert _read(tmp_path).classes == ("caf\\xe9",)
    assert len(_read(tmp_path).fingerprint) == 16


def test_a_changed_file_changes_the_fingerprint(image_folder: Path) -> None:
    before = _read(image_folder).fingerprint
    assert _read(image_folder).fingerprint == before
    os.utime(image_folder / "val" / "dog" / "0.jpg", ns=(1, 1))
    assert _read(image_folder).fingerprint != before


def test_a_missing_root_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "nowhere"
    assert _refusal(root) == f"`data.root` must be a folder of images, but `{root}` does not exist."


def test_a_file_as_root_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "file"
    root.write_text("x")
    assert _refusal(root) == f"`data.root` must be a folder of images, but `{root}` is a file."


def test_a_root_without_class_folders_is_refused(tmp_path: Path, write_images: WriteImages) -> None:
    write_images(tmp_path, 2)
    assert _refusal(tmp_path) == f"Images must lie in one folder a class, but `{tmp_path}` holds no folders."


def test_an_empty_class_is_refused_by_name(image_folder: Path) -> None:
    (image_folder / "train" / "eel").mkdir()
    assert _refusal(image_folder) == (
        f"Every class folder must hold an image, but `eel` in `{image_folder / 'train'}` holds none; "
        f"add images or delete the folder."
    )


def test_a_class_of_val_that_is_not_in_train_is_refused_with_the_nearest_name(image_folder: Path) -> None:
    (image_folder / "val" / "dog").rename(image_folder / "val" / "dogs")
    assert _refusal(image_folder) == ("Every class of `val` must be in `train`, but `dogs` is not; did you mean `dog`?")
    (image_folder / "val" / "dogs").rename(image_folder / "val" / "xyz")
    assert _refusal(image_folder) == "Every class of `val` must be in `train`, but `xyz` is not."


def test_a_misnamed_validation_folder_is_not_overlooked(image_folder: Path) -> None:
    (image_folder / "val").rename(image_folder / "valid")
    assert _refusal(image_folder) == (f"The validation folder must be called `val`; rename `{image_folder / 'valid'}`.")


def test_a_file_that_vanishes_is_unreadable_with_the_reason(image_folder: Path) -> None:
    manifest, source = read_manifest(FolderData(source="folder", root=image_folder))
    (image_folder / manifest.samples[0].key).unlink()
    with pytest.raises(DataError, match=re.escape("No such file or directory")):
        source.read(manifest.samples[0], short_side=32)
