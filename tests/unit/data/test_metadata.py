"""A CSV of dates and places becomes what a model takes."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from sweeper.data import Observation, read_metadata
from sweeper.data.manifest import Manifest, Sample
from sweeper.data.metadata import encode, with_observations
from sweeper.errors import DataError

HEADER = "image,latitude,longitude,date\n"


def written(folder: Path, text: str) -> Path:
    file = folder / "places.csv"
    file.write_text(text, encoding="utf-8")
    return file


def encoded(observation: Observation) -> npt.NDArray[np.float32]:
    """What a model takes of one image."""
    degrees = (observation.latitude, observation.longitude)
    latitude, longitude = (np.array([math.nan if value is None else value]) for value in degrees)
    rows = encode(latitude, longitude, [observation.date])
    return rows.reshape(-1)


def test_a_line_becomes_month_hour_and_a_point_on_the_sphere(tmp_path: Path) -> None:
    file = written(tmp_path, HEADER + "a/1.jpg,30,60,2017-03-15T06:30\n")
    row = encoded(read_metadata(file)["a/1.jpg"])
    up, round_ = math.radians(30), math.radians(60)
    place = [math.cos(up) * math.cos(round_), math.cos(up) * math.sin(round_), math.sin(up)]
    np.testing.assert_allclose(row, [1.0, 0.0, 1.0, 0.0, *place], atol=1e-6)


@pytest.mark.parametrize(
    ("line", "known"),
    [
        ("a.jpg,,,", [False, False, False]),
        ("a.jpg,,,2017-03-15", [True, False, False]),
        ("a.jpg,,,2017-03-15T12:00", [True, True, False]),
        ("a.jpg,30,,2017-03-15", [True, False, False]),  # half a place is none
        ("a.jpg,0.0,0.0,", [False, False, True]),  # off the coast of Africa is a place
    ],
)
def test_what_is_missing_is_zero_and_zero_degrees_are_not_missing(tmp_path: Path, line: str, known: list[bool]) -> None:
    row = encoded(read_metadata(written(tmp_path, HEADER + line + "\n"))["a.jpg"])
    assert [bool(part.any()) for part in (row[:2], row[2:4], row[4:])] == known


def test_images_that_the_file_does_not_name_keep_what_their_source_says(tmp_path: Path) -> None:
    file = written(tmp_path, "date,image,longitude,latitude\n,b.jpg,0,90\n2017-12-01,a.jpg,,\n")
    source = [("a.jpg", Observation(1.0, 2.0)), ("b.jpg", None), ("c.jpg", Observation(3.0, 4.0)), ("d.jpg", None)]
    samples = tuple(Sample(key, 0, "train", "", observation=said) for key, said in source)
    said = {one.key: one.observation for one in with_observations(Manifest(("x",), samples), file).samples}
    assert said == {
        "a.jpg": Observation(date="2017-12-01"),
        "b.jpg": Observation(90.0, 0.0),
        "c.jpg": Observation(3.0, 4.0),
        "d.jpg": None,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "image,latitude,longitude,dat\n",
            "The columns of metadata are image, latitude, longitude, date, but `{file}` has `dat`; did you mean "
            "`date`?",
        ),
        (
            "image,latitude,date\n",
            "The columns of metadata are image, latitude, longitude, date, but `{file}` has no `longitude`.",
        ),
        (
            HEADER + "a.jpg,91,0,\n",
            "A latitude must be a number from -90 to 90, but `{file}` line 2: `91`.",
        ),
        (
            HEADER + "a.jpg,1,north,\n",
            "A longitude must be a number from -180 to 180, but `{file}` line 2: `north`.",
        ),
        (
            HEADER + "a.jpg,,,\nb.jpg,,,15.3.2017\n",
            "A date must be like `2017-05-31` or `2017-05-31T14:30`, but `{file}` line 3: `15.3.2017`.",
        ),
        (
            HEADER + "a.jpg,,,\na.jpg,,,\n",
            "Each line of metadata must name an image of its own, but `{file}` line 3: it is listed twice.",
        ),
        (
            HEADER + ",1,1,\n",
            "Each line of metadata must name an image of its own, but `{file}` line 2: the line names none.",
        ),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(DataError, match=f"^{re.escape(message.format(file=file))}$"):
        read_metadata(file)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^Metadata must be a readable CSV file, but `.*none.csv` is not"):
        read_metadata(tmp_path / "none.csv")
