"""A CSV of paths and labels, one line an image."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from pathlib import PurePosixPath
from typing import Final

from sweeper.data.manifest import Manifest, Split
from sweeper.data.readers.encoded import FileImages
from sweeper.data.readers.location import locate
from sweeper.data.readers.rows import MISSING, SPLIT_NAMES, Row, manifest_of, missing_note, observation_of
from sweeper.errors import DataError, nearest
from sweeper.spec.data import CsvData

_REQUIRED: Final = ("path", "label")
COLUMNS: Final = (*_REQUIRED, "split", "group", "latitude", "longitude", "date")
"""What the first line may name, in any order; other columns are ignored unless they look like one of these."""


def read_csv(spec: CsvData) -> tuple[Manifest, FileImages]:
    """Reads the CSV and looks up each image's size and time of change; opens none of them.

    Raises:
        DataError: the CSV cannot be read or breaks a rule, or too many images are not there.
    """
    file = locate(spec.file)
    root = locate(spec.root) if spec.root is not None else file.parent
    try:
        text = file.read().decode("utf-8-sig")
        lines = csv.DictReader(io.StringIO(text, newline=""))
        _check_header(lines.fieldnames or (), file.text)
        listed = list(_rows(lines, file.text))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"A list of images must be a CSV file in UTF-8, but `{file.text}` is not ({error}).") from error
    stamps = root.stamps([row.key for row in listed])
    rows = [
        Row(row.key, row.label, row.split, str(stamp or MISSING), row.group, row.observation)
        for row, stamp in zip(listed, stamps, strict=True)
    ]
    notes = missing_note(rows, place=root.text, allowed=spec.max_bad_fraction)
    return manifest_of(rows, notes=notes), FileImages(root)


def _check_header(names: Sequence[str], file: str) -> None:
    absent = [name for name in _REQUIRED if name not in names]
    if absent:
        hint = nearest(absent[0], names, limit=1).replace("did you mean", "is it") or "."
        raise DataError(f"A list of images has the columns `path` and `label`, but `{file}` has no `{absent[0]}`{hint}")
    for name in names:
        meant = [known for known in COLUMNS if known not in names and _is_slip(name, known)]
        if meant:
            raise DataError(
                f"The columns are {', '.join(COLUMNS)}, but `{file}` has `{name}`; did you mean `{meant[0]}`?"
            )


def _is_slip(name: str, known: str) -> bool:
    """Returns whether `name` is `known` with a letter or two wrong, or cut short as `lat` is."""
    cut = len(name) >= 3 and known.startswith(name.lower())
    return cut or SequenceMatcher(a=name.lower(), b=known).ratio() >= 0.8


def _rows(lines: csv.DictReader[str], file: str) -> Iterator[Row]:
    for line in lines:
        where = f"`{file}` line {lines.line_num}"
        record = {name: (value or "").strip() for name, value in line.items() if isinstance(value, str | None)}
        for name in _REQUIRED:
            if not record[name]:
                raise DataError(f"Each line must have a {name}, but {where} has none.")
        path = PurePosixPath(record["path"].replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts:
            raise DataError(f"A path must be relative to `data.root` and within it, but {where}: `{record['path']}`.")
        split = _split(record.get("split") or "train", where)
        yield Row(str(path), record["label"], split, "", record.get("group", ""), observation_of(record, where=where))


def _split(name: str, where: str) -> Split:
    if name.lower() not in SPLIT_NAMES:
        hint = nearest(name, SPLIT_NAMES) or "."
        raise DataError(f"A split must be `train`, `val` or `test`, but {where}: `{name}`{hint}")
    return SPLIT_NAMES[name.lower()]
