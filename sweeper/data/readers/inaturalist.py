"""iNaturalist's competition data sets: COCO-like JSON files beside a folder of images."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sweeper.data.manifest import Manifest, Observation, Split
from sweeper.data.readers.encoded import FileImages
from sweeper.data.readers.location import Location, locate
from sweeper.data.readers.rows import MISSING, Row, manifest_of, missing_note
from sweeper.errors import DataError, nearest
from sweeper.spec.data import INaturalist2021Data, INaturalistData

PUBLISHED_2017: Final[Mapping[str, tuple[int, int, int]]] = {
    "Plantae": (2101, 158407, 38206), "Insecta": (1021, 100479, 18076), "Aves": (964, 214295, 21226),
    "Reptilia": (289, 35201, 5680), "Mammalia": (186, 29333, 3490), "Fungi": (121, 5826, 1780),
    "Amphibia": (115, 15318, 2385), "Mollusca": (93, 7536, 1841), "Animalia": (77, 5228, 1362),
    "Arachnida": (56, 4873, 1086), "Actinopterygii": (53, 1982, 637), "Chromista": (9, 398, 144),
    "Protozoa": (4, 308, 73),
}  # fmt: skip
"""Classes, training and validation images of each part of iNaturalist 2017, as the competition's page lists them."""

_Record = dict[str, Any]


def read_inaturalist(spec: INaturalistData | INaturalist2021Data) -> tuple[Manifest, FileImages]:
    """Reads the JSON files and looks up each image's size; opens none of them.

    Labels are the chosen categories' ids in rising order, numbered from 0. A group is the observer: the locations
    file's `user_id`, else the image's `rights_holder`.

    Raises:
        DataError: a file is missing or not of this format, a part is unknown, or too many images are not there.
    """
    root = locate(spec.root)
    rows: list[Row] = []
    names: dict[int, str] = {}
    for split, file in _annotation_files(spec).items():
        annotations = _Annotations.read(root, file)
        chosen = annotations.choose(spec.supercategories)
        names |= chosen
        places = _places(root / f"{file.removesuffix('.json')}_locations.json")
        rows.extend(annotations.rows(chosen, split, places))
    rows = _stamped(rows, root)
    notes = missing_note(rows, place=root.text, allowed=spec.max_bad_fraction)
    if spec.source == "inat2017" and len(spec.supercategories) == 1:
        notes = (_compare(spec.supercategories[0], rows), *notes)
    return manifest_of(rows, order=[names[number] for number in sorted(names)], notes=notes), FileImages(root)


def chosen_files(folder: Location, files: Sequence[str], supercategories: tuple[str, ...]) -> set[str]:
    """Returns the names of all images of some parts of a data set.

    Args:
        folder: holds the JSON files.
        files: their names.
        supercategories: the parts.

    Raises:
        DataError: a file is missing or not of this format, or a part is unknown.
    """
    read = [_Annotations.read(folder, file) for file in files]
    return {row.key for one in read for row in one.rows(one.choose(supercategories), "train", {})}


def _annotation_files(spec: INaturalistData | INaturalist2021Data) -> dict[Split, str]:
    if isinstance(spec, INaturalist2021Data):
        return {"train": "train_mini.json" if spec.mini else "train.json", "val": "val.json"}
    year = spec.source.removeprefix("inat")
    return {"train": f"train{year}.json", "val": f"val{year}.json"}


def _stamped(rows: list[Row], root: Location) -> list[Row]:
    # The size alone: names are never used for another image, and times differ from machine to machine.
    stamps = root.stamps([row.key for row in rows])
    if not any(stamps):
        folder = root / rows[0].key.partition("/")[0]
        if not folder.exists:
            raise DataError(
                f"`data.root` must hold the images beside the JSON files, but `{folder.text}` does not exist; "
                f"unpack the images there."
            )
    return [
        replace(row, stamp=MISSING if stamp is None else str(stamp.size))
        for row, stamp in zip(rows, stamps, strict=True)
    ]


def _compare(part: str, rows: Sequence[Row]) -> str:
    """Returns how what is listed compares with what was published."""
    found = [len({row.label for row in rows}), *(sum(row.split == split for row in rows) for split in ("train", "val"))]
    classes, train, val = PUBLISHED_2017.get(part, found)
    published = f"{classes:,} classes, {train:,} training and {val:,} validation images"
    if found == [classes, train, val]:
        return f"iNaturalist 2017 {part} is complete: {published}."
    return (
        f"iNaturalist 2017 {part} as published has {published}, but the JSON files here list "
        f"{found[0]:,} classes, {found[1]:,} and {found[2]:,} images."
    )


@dataclass(frozen=True)
class _Annotations:
    """One JSON file."""

    name: str
    images: Mapping[int, _Record]
    category_of: Mapping[int, int]
    """By image id."""
    categories: Mapping[int, _Record]

    @classmethod
    def read(cls, root: Location, name: str) -> _Annotations:
        if not (root / name).exists:
            raise _no_annotations(root, name)
        document = _load(root / name)
        parts = ("images", "annotations", "categories")
        absent = [part for part in parts if not isinstance(document, dict) or not isinstance(document.get(part), list)]
        if absent:
            raise DataError(f"`{name}` must have the lists {', '.join(parts)}, but it has no `{absent[0]}`.")
        # Later years published the real names in a file of its own, to take the place of the list.
        released = root / "categories.json"
        categories = _load(released) if released.exists else document["categories"]
        try:
            images = {image["id"]: image for image in document["images"]}
            category_of = {one["image_id"]: one["category_id"] for one in document["annotations"]}
            known = {category["id"]: dict(category) for category in categories}
            for number, category in category_of.items():  # 2019 has the part only in the path
                known[category].setdefault("supercategory", images[number]["file_name"].split("/")[1])
        except (KeyError, TypeError, IndexError) as error:
            raise DataError(
                f"`{name}` must join images, annotations and categories by id, but {error} is not found."
            ) from error
        if len(category_of) != len(document["annotations"]):
            raise DataError(f"`{name}` must have one annotation an image, but some images have two.")
        return cls(name, images, category_of, known)

    def choose(self, supercategories: tuple[str, ...]) -> dict[int, str]:
        """Returns id and name of the chosen categories; two of one name are told apart by their ids."""
        parts = {str(category.get("supercategory", "")) for category in self.categories.values()}
        for part in supercategories:
            if part not in parts:
                listed = "; known are " + ", ".join(f"`{name}`" for name in sorted(parts) if name) + "."
                hint = nearest(part, parts) or listed
                raise DataError(f"`data.supercategory` must be a part of `{self.name}`, but got `{part}`{hint}")
        chosen = {
            number: str(category["name"])
            for number, category in self.categories.items()
            if not supercategories or category.get("supercategory") in supercategories
        }
        names = list(chosen.values())
        twice = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
        return {number: f"{name} ({number})" if name in twice else name for number, name in chosen.items()}

    def rows(self, chosen: Mapping[int, str], split: Split, places: Mapping[int, _Record]) -> Iterator[Row]:
        for number, category in self.category_of.items():
            if category not in chosen:
                continue
            image = self.images[number]
            place = places.get(number, {})
            group = place.get("user_id") or image.get("rights_holder") or ""
            yield Row(image["file_name"], chosen[category], split, "", str(group), _observation({**image, **place}))


def _no_annotations(root: Location, name: str) -> DataError:
    if not root.exists:
        return DataError(f"`data.root` must be a folder of JSON files and images, but `{root.text}` does not exist.")
    others = [other for other in root.entries() if other.endswith(".json")]
    hint = nearest(name, others, limit=1).replace("did you mean", "is it") or "."
    return DataError(f"`data.root` must hold `{name}`, but `{root.text}` does not{hint}")


def _load(file: Location) -> Any:
    try:
        return json.loads(file.read())
    except ValueError as error:
        raise DataError(f"`{file.text}` must be a JSON file, but it is not ({error}).") from error


def _places(file: Location) -> dict[int, _Record]:
    """Returns the records of a locations file by image id, none where there is no such file."""
    if not file.exists:
        return {}
    try:
        return {record["id"]: record for record in _load(file)}
    except (KeyError, TypeError) as error:
        raise DataError(f"`{file.text}` must be a list of records with an `id`, but it is not.") from error


def _observation(record: _Record) -> Observation | None:
    """Returns place and date; null, NaN and dates that cannot be read are missing, 0.0 is a degree like any other."""
    latitude, longitude = (
        next((float(record[name]) for name in names if isinstance(record.get(name), int | float)), math.nan)
        for names in (("lat", "latitude"), ("lon", "longitude"))
    )
    known = {
        "latitude": latitude if abs(latitude) <= 90 else None,
        "longitude": longitude if abs(longitude) <= 180 else None,
    }
    try:
        text = str(record.get("date") or "")
        moment = datetime.fromisoformat(text)
        date = f"{moment:%Y-%m-%d}" if len(text) <= len("2017-05-31") else f"{moment:%Y-%m-%dT%H:%M}"
    except ValueError:
        date = ""
    return Observation(**known, date=date) if date or any(value is not None for value in known.values()) else None
