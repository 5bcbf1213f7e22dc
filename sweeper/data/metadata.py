"""Where and when the images were taken, from a CSV to what a model takes."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from sweeper.errors import DataError, nearest

COLUMNS: Final = ("image", "latitude", "longitude", "date")
"""What the header of the file names, in any order."""
_WIDTH: Final = 7


@dataclass(frozen=True, eq=False)
class Metadata:
    """Date and place of images by their key, those that are known."""

    _rows: dict[str, npt.NDArray[np.float32]]

    def rows(self, keys: Iterable[str]) -> npt.NDArray[np.float32]:
        """Returns (N, 7): month, hour, place.

        Sine and cosine of the month and of the hour, each a full turn, then the place on the unit sphere. Zeros
        stand for what is missing, and for images that are not in the file (Diao et al., "MetaFormer", 2022;
        `data/dataset_fg.py` of their code).
        """
        missing = np.zeros(_WIDTH, np.float32)
        return np.stack([self._rows.get(key, missing) for key in keys])


def read_metadata(path: Path) -> Metadata:
    """Reads a CSV with the columns `image`, `latitude`, `longitude` and `date`.

    `image` is the path of the image below the data set's root; degrees; dates as `2017-05-31` or, with the hour,
    `2017-05-31T14:30`. Every value but the image may be empty.

    Raises:
        DataError: the file cannot be read; names the line, the value and the rule.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            lines = csv.DictReader(handle)
            _check_header(lines.fieldnames or (), path)
            rows: dict[str, npt.NDArray[np.float32]] = {}
            for line in lines:
                where = f"`{path}` line {lines.line_num}"
                key = (line["image"] or "").strip()
                if not key or key in rows:
                    problem = "it is listed twice" if key else "the line names none"
                    raise DataError(f"Each line of metadata must name an image of its own, but {where}: {problem}.")
                rows[key] = np.array([*_time(line["date"], where), *_place(line, where)], np.float32)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"Metadata must be a readable CSV file, but `{path}` is not ({error}).") from error
    return Metadata(rows)


def _check_header(names: Iterable[str], path: Path) -> None:
    given = list(names)
    for name in given:
        if name not in COLUMNS:
            hint = nearest(name, COLUMNS) or "."
            raise DataError(f"The columns of metadata are {', '.join(COLUMNS)}, but `{path}` has `{name}`{hint}")
    if absent := [name for name in COLUMNS if name not in given]:
        raise DataError(f"The columns of metadata are {', '.join(COLUMNS)}, but `{path}` has no `{absent[0]}`.")


def _time(text: str | None, where: str) -> tuple[float, float, float, float]:
    """Returns sine and cosine of the month and of the hour, zeros for what is missing."""
    if not text or not text.strip():
        return 0.0, 0.0, 0.0, 0.0
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise DataError(f"A date must be like `2017-05-31` or `2017-05-31T14:30`, but {where}: `{text}`.") from error
    month = 2 * math.pi * moment.month / 12
    if len(text.strip()) <= len("2017-05-31"):  # a date alone says nothing of the hour
        return math.sin(month), math.cos(month), 0.0, 0.0
    hour = 2 * math.pi * moment.hour / 24
    return math.sin(month), math.cos(month), math.sin(hour), math.cos(hour)


def _place(line: dict[str, str | None], where: str) -> tuple[float, float, float]:
    """Returns the point on the unit sphere, zeros where either degree is missing; 0.0 is a degree like any other."""
    latitude, longitude = (_degrees(line, name, limit, where) for name, limit in (("latitude", 90), ("longitude", 180)))
    if latitude is None or longitude is None:
        return 0.0, 0.0, 0.0
    up, round_ = math.radians(latitude), math.radians(longitude)
    return math.cos(up) * math.cos(round_), math.cos(up) * math.sin(round_), math.sin(up)


def _degrees(line: dict[str, str | None], name: str, limit: int, where: str) -> float | None:
    text = (line[name] or "").strip()
    if not text:
        return None
    try:
        degrees = float(text)
    except ValueError:
        degrees = math.nan
    if not -limit <= degrees <= limit:
        raise DataError(f"A {name} must be a number from -{limit} to {limit}, but {where}: `{text}`.")
    return degrees
