"""Data sets that torchvision knows by name."""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any, Final, final

import numpy as np
from filelock import FileLock

from sweeper.data.manifest import ImageSource, Manifest, Pixels, Sample, Split
from sweeper.data.readers.encoded import FileImages
from sweeper.data.readers.location import locate
from sweeper.data.readers.rows import MISSING, Row, manifest_of, split_of_name
from sweeper.errors import DataError, nearest
from sweeper.spec.data import TorchvisionData

_Arguments = Mapping[str, object]
_WHOLE: Final[Mapping[Split, _Arguments]] = {"train": {}}
_BY_FLAG: Final[Mapping[Split, _Arguments]] = {"train": {"train": True}, "test": {"train": False}}
_TWO: Final[Mapping[Split, _Arguments]] = {"train": {"split": "train"}, "test": {"split": "test"}}
_THREE: Final[Mapping[Split, _Arguments]] = {**_TWO, "val": {"split": "val"}}

DATASETS: Final[Mapping[str, Mapping[Split, _Arguments]]] = {
    "CIFAR10": _BY_FLAG, "CIFAR100": _BY_FLAG, "Caltech101": _WHOLE, "Caltech256": _WHOLE,
    "Country211": {**_TWO, "val": {"split": "valid"}}, "DTD": _THREE, "EuroSAT": _WHOLE, "FGVCAircraft": _THREE,
    "FakeData": _WHOLE, "FashionMNIST": _BY_FLAG, "Flowers102": _THREE, "Food101": _TWO, "GTSRB": _TWO,
    "Imagenette": {"train": {"split": "train"}, "val": {"split": "val"}}, "KMNIST": _BY_FLAG, "MNIST": _BY_FLAG,
    "OxfordIIITPet": {"train": {"split": "trainval"}, "test": {"split": "test"}}, "PCAM": _THREE,
    "RenderedSST2": _THREE, "SEMEION": _WHOLE, "STL10": _TWO, "SUN397": _WHOLE, "SVHN": _TWO, "StanfordCars": _TWO,
    "USPS": _BY_FLAG,
}  # fmt: skip
"""Those with one label an image, and how each is asked for its official splits."""


_LISTS: Final[Mapping[str, Callable[[Any], Iterable[tuple[object, int]]]]] = {
    "OxfordIIITPet": lambda part: zip(part._images, part._labels, strict=True),
    "GTSRB": lambda part: part._samples,
}
"""Paths and labels of those whose items cannot be had without decoding them."""


@final
class DatasetImages(ImageSource):
    """Images that torchvision keeps in memory or makes; a key such as `train/000042` is an item of a split."""

    def __init__(self, parts: Mapping[Split, Any]) -> None:
        self._parts = parts
        self._lock = Lock()  # FakeData sets and restores the one random state of the process

    def read(self, sample: Sample, *, short_side: int) -> Pixels:
        """Returns the item's image."""
        item = int(sample.key.rpartition("/")[2])
        with self._lock:
            return np.asarray(self._parts[split_of_name(sample.key)][item][0].convert("RGB"))

    def size(self, sample: Sample) -> tuple[int, int]:
        """Returns the size of the item's image."""
        height, width = self.read(sample, short_side=0).shape[:2]
        return width, height


def read_torchvision(spec: TorchvisionData) -> tuple[Manifest, ImageSource]:
    """Lists the items of a data set, after downloading it where that is asked for.

    Raises:
        DataError: torchvision knows no such data set, or cannot find or load it.
    """
    if spec.dataset not in DATASETS:
        listed = "; known are " + ", ".join(f"`{name}`" for name in sorted(DATASETS)) + "."
        hint = nearest(spec.dataset, DATASETS) or listed
        raise DataError(
            f"`data.dataset` must be one of torchvision's sets for classification, but got `{spec.dataset}`{hint}"
        )
    parts = _load(spec)
    root = spec.root.absolute()
    names = [_name(one) for one in getattr(parts["train"], "classes", getattr(parts["train"], "categories", ()))]
    rows: list[Row] = []
    in_files = False
    for split, part in parts.items():
        for number, (image, label) in enumerate(_items(part, spec.dataset)):
            path = image if isinstance(image, str | Path) else getattr(image, "filename", "")
            in_files = bool(path)
            key = Path(path).absolute().relative_to(root).as_posix() if path else f"{split}/{number:06d}"
            stamp = "" if path else f"{zlib.crc32(np.asarray(image).tobytes()):08x}"
            rows.append(Row(key, names[label] if names else str(label), split, stamp))
    source: ImageSource = DatasetImages(parts)
    if in_files:
        place = locate(str(root))
        stamps = place.stamps([row.key for row in rows])
        rows = [replace(row, stamp=str(stamp or MISSING)) for row, stamp in zip(rows, stamps, strict=True)]
        source = FileImages(place)
    return manifest_of(rows, order=names or sorted({row.label for row in rows}, key=int)), source


def _load(spec: TorchvisionData) -> dict[Split, Any]:
    # Here and not above: the import takes seconds, which every worker would pay for any other source.
    from torchvision import datasets

    kind = getattr(datasets, spec.dataset)
    settings: dict[str, object] = {"root": str(spec.root), "download": spec.download, "loader": _keep_path}
    known = inspect.signature(kind).parameters
    settings = {name: value for name, value in settings.items() if name in known}
    guard = FileLock(spec.root / ".download.lock") if spec.download else nullcontext()  # many workers may come at once
    if spec.download:
        spec.root.mkdir(parents=True, exist_ok=True)
    try:
        with guard:
            return {split: kind(**settings, **spec.args, **chosen) for split, chosen in DATASETS[spec.dataset].items()}
    except (RuntimeError, OSError) as error:
        advice = "" if spec.download else " Set `data.download: true` to let torchvision download it."
        raise DataError(
            f"`{spec.dataset}` must lie in `{spec.root}`, but torchvision says: {error}.{advice}"
        ) from error
    except (TypeError, ValueError) as error:
        raise DataError(f"`data.args` must suit torchvision's `{spec.dataset}`, but it says: {error}.") from error


def _items(part: Any, name: str) -> Iterator[tuple[object, int]]:
    """Yields path, or image, and label of each item; decodes no file."""
    if name in _LISTS:
        yield from _LISTS[name](part)
        return
    for number in range(len(part)):
        image, label = part[number]
        yield image, int(label)


def _keep_path(path: str | Path) -> str | Path:
    return path


def _name(one: object) -> str:
    return str(one[0] if isinstance(one, tuple) else one)  # Imagenette has several names a class
