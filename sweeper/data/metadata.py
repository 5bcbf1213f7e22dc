"""Where and when the images were taken: from a CSV to observations, and from those to what a model takes."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from sweeper.data.manifest import Manifest, Observation
from sweeper.errors import DataError, nearest

COLUMNS: Final = ("image", "latitude", "longitude", "date")
"""What the header of the file names, in any order."""
_DATE_LENGTH: Final = len("2017-05-31")


def with_observations(manifest: Manifest, path: Path) -> Manifest:
    """Returns the manifest with the places and dates of a CSV; images that are not in it keep what they have.

    Raises:
        DataError: the file cannot be read; names the line, the value and the rule.
    """
    known = read_metadata(path)
    samples = (replace(one, observation=known.get(one.key, one.observation)) for one in manifest.samples)
    return replace(manifest, samples=tuple(samples))


def read_metadata(path: Path) -> dict[str, Observation]:
    """Reads a CSV with the columns `image`, `latitude`, `longitude` and `date`.

    `image` is the path of the image below the data set's root; degrees; dates as `2017-05-31` or, with the hour,
    `2017-05-31T14:30`. Every value but the image may be empty.

    Returns:
        What each line says, by its image.

    Raises:
        DataError: the file cannot be read; names the line, the value and the rule.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            lines = csv.DictReader(handle)
            _check_header(lines.fieldnames or (), path)
            found: dict[str, Observation] = {}
            for line in lines:
                where = f"`{path}` line {lines.line_num}"
                key = (line["image"] or "").strip()
                if not key or key in found:
                    problem = "it is listed twice" if key else "the line names none"
                    raise DataError(f"Each line of metadata must name an image of its own, but {where}: {problem}.")
                found[key] = parse_observation(line, where=where)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"Metadata must be a readable CSV file, but `{path}` is not ({error}).") from error
    return found


def parse_observation(values: Mapping[str, str | None], *, where: str) -> Observation:
    """Reads `latitude`, `longitude` and `date` as texts, each perhaps empty or not there.

    Raises:
        DataError: a value breaks its rule; the message says `where`.
    """
    return Observation(
        latitude=_degrees(values, "latitude", 90, where),
        longitude=_degrees(values, "longitude", 180, where),
        date=_date(values.get("date"), where),
    )


def encode_observations(observations: Sequence[Observation | None]) -> npt.NDArray[np.float32] | None:
    """Returns what `encode` makes of the images' places and dates; None where no image has any."""
    known = [one or Observation() for one in observations]
    if all(one == Observation() for one in known):
        return None
    degrees = np.array([(one.latitude, one.longitude) for one in known], np.float64)  # None becomes NaN
    return encode(degrees[:, 0], degrees[:, 1], [one.date for one in known])


def encode(
    latitudes: npt.NDArray[np.float64], longitudes: npt.NDArray[np.float64], dates: Sequence[str]
) -> npt.NDArray[np.float32]:
    """Returns (N, 7) for N images: month, hour, place.

    Sine and cosine of the month and of the hour, each a full turn, then the place on the unit sphere. Zeros
    stand for what is missing; 0.0 is a degree like any other (Diao et al., "MetaFormer", 2022;
    `data/dataset_fg.py` of their code).

    Args:
        latitudes: (N,) degrees, NaN where not known.
        longitudes: (N,) likewise.
        dates: ISO 8601, the hour perhaps left out; empty where not known.
    """
    known = ~(np.isnan(latitudes) | np.isnan(longitudes))
    up, round_ = np.radians(np.where(known, latitudes, 0.0)), np.radians(np.where(known, longitudes, 0.0))
    place = np.stack([np.cos(up) * np.cos(round_), np.cos(up) * np.sin(round_), np.sin(up)], axis=1)
    times = np.array([_time(date) for date in dates], np.float64).reshape(-1, 4)
    return np.concatenate([times, np.where(known[:, None], place, 0.0)], axis=1).astype(np.float32)


def _check_header(names: Iterable[str], path: Path) -> None:
    given = list(names)
    for name in given:
        if name not in COLUMNS:
            hint = nearest(name, COLUMNS) or "."
            raise DataError(f"The columns of metadata are {', '.join(COLUMNS)}, but `{path}` has `{name}`{hint}")
    if absent := [name for name in COLUMNS if name not in given]:
        raise DataError(f"The columns of metadata are {', '.join(COLUMNS)}, but `{path}` has no `{absent[0]}`.")


def _date(text: str | None, where: str) -> str:
    stripped = (text or "").strip()
    try:
        if stripped:
            datetime.fromisoformat(stripped)
    except ValueError as error:
        raise DataError(f"A date must be like `2017-05-31` or `2017-05-31T14:30`, but {where}: `{text}`.") from error
    return stripped


def _time(date: str) -> tuple[float, float, float, float]:
    """Returns sine and cosine of the month and of the hour, zeros for what is missing."""
    if not date:
        return 0.0, 0.0, 0.0, 0.0
    moment = datetime.fromisoformat(date)
    month = 2 * math.pi * moment.month / 12
    if len(date) <= _DATE_LENGTH:  # a date alone says nothing of the hour
        return math.sin(month), math.cos(month), 0.0, 0.0
    hour = 2 * math.pi * moment.hour / 24
    return math.sin(month), math.cos(month), math.sin(hour), math.cos(hour)


def _degrees(values: Mapping[str, str | None], name: str, limit: int, where: str) -> float | None:
    text = (values.get(name) or "").strip()
    if not text:
        return None
    try:
        degrees = float(text)
    except ValueError:
        degrees = math.nan
    if not -limit <= degrees <= limit:
        raise DataError(f"A {name} must be a number from -{limit} to {limit}, but {where}: `{text}`.")
    return degrees
