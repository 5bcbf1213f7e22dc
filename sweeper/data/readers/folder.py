"""An image folder: one folder a class, perhaps below `train/`, `val/` and `test/`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, final

from sweeper.data.manifest import SPLITS, Manifest, Sample, Split
from sweeper.data.readers.encoded import EncodedImages
from sweeper.errors import DataError, nearest
from sweeper.spec.data import FolderData

EXTENSIONS: Final = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
)
"""Endings, in any case, of the files taken for images; others are left alone."""

_MISNAMED_VAL: Final = ("valid", "validation", "dev")


@final
@dataclass(frozen=True)
class FolderImages(EncodedImages):
    """Image files below `root`; a key is a path relative to it, with forward slashes."""

    root: Path

    def open(self, sample: Sample) -> BinaryIO:
        """Opens the file."""
        return (self.root / sample.key).open("rb")


def read_folder(spec: FolderData) -> tuple[Manifest, FolderImages]:
    """Reads names, sizes and times of all images below `spec.root`; opens none of them.

    Hidden files and folders are left out, folders inside a class folder belong to the class.

    Raises:
        DataError: there is no such folder, it has no class folders, a class is empty, or a class of
            `val/` or `test/` is not in `train/`.
    """
    root = spec.root.expanduser()
    if not root.exists():
        raise DataError(f"`data.root` must be a folder of images, but `{root}` does not exist.")
    if not root.is_dir():
        raise DataError(f"`data.root` must be a folder of images, but `{root}` is a file.")
    try:
        return _list(root), FolderImages(root)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"The images below `{root}` cannot be listed: {reason}.") from error


def _list(root: Path) -> Manifest:
    folders = _split_folders(root)
    classes = tuple(folder.name for folder in _subfolders(folders["train"]))
    if not classes:
        raise DataError(f"Images must lie in one folder a class, but `{folders['train']}` holds no folders.")
    samples: list[Sample] = []
    for split, folder in folders.items():
        samples.extend(_samples(root, folder, split, classes))
    _refuse_empty_classes(folders["train"], classes, samples)
    ordered = tuple(sorted(samples, key=lambda sample: sample.key))
    return Manifest(tuple(_printable(name) for name in classes), ordered)


def _split_folders(root: Path) -> dict[Split, Path]:
    """Returns the folder of each split; only `train`, the root itself, where the root holds the classes."""
    train = root / "train"
    # A data set of vehicles may have a class called `train`: then it holds images, not folders.
    has_splits = train.is_dir() and ((root / "val").is_dir() or bool(_subfolders(train)))
    if not has_splits:
        return {"train": root}
    folders: dict[Split, Path] = {split: root / split for split in SPLITS if (root / split).is_dir()}
    misnamed = next((name for name in _MISNAMED_VAL if (root / name).is_dir()), None)
    if "val" not in folders and misnamed is not None:
        raise DataError(f"The validation folder must be called `val`; rename `{root / misnamed}`.")
    return folders


def _subfolders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def _samples(root: Path, folder: Path, split: Split, classes: tuple[str, ...]) -> Iterator[Sample]:
    """Yields the samples of one split's folder, class by class."""
    label_of = {name: label for label, name in enumerate(classes)}
    for class_folder in _subfolders(folder):
        if class_folder.name not in label_of:
            name = _printable(class_folder.name)
            hint = nearest(name, (_printable(known) for known in classes)) or "."
            raise DataError(f"Every class of `{split}` must be in `train`, but `{name}` is not{hint}")
        for entry in _image_files(class_folder):
            stat = entry.stat()
            key = _printable(Path(entry.path).relative_to(root).as_posix())
            yield Sample(key, label_of[class_folder.name], split, stamp=f"{stat.st_size}:{stat.st_mtime_ns}")


def _image_files(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            # Links to folders are not followed below a class: they can form a circle.
            if entry.is_dir(follow_symlinks=False):
                yield from _image_files(Path(entry.path))
            elif Path(entry.name).suffix.lower() in EXTENSIONS and entry.is_file():
                yield entry


def _refuse_empty_classes(folder: Path, classes: tuple[str, ...], samples: list[Sample]) -> None:
    filled = {sample.label for sample in samples if sample.split == "train"}
    empty = [_printable(name) for label, name in enumerate(classes) if label not in filled]
    if empty:
        named = ", ".join(f"`{name}`" for name in empty[:5]) + (", ..." if len(empty) > 5 else "")
        raise DataError(
            f"Every class folder must hold an image, but {named} in `{folder}` holds none; "
            f"add images or delete the folder."
        )


def _printable(name: str) -> str:
    """Returns a file name as valid Unicode; bytes that are not UTF-8 are shown as `\\xNN`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
