"""A sweep that goes on is judged on the images that it began with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sweeper.data import Prepared
from sweeper.driver.observer import SweepObserver
from sweeper.driver.preflight import require_same_split, write_data
from sweeper.errors import DataError
from sweeper.paths import SweepPaths

BEGAN = Prepared(
    classes=("a", "b"),
    data_fingerprint="d" * 16,
    split_fingerprint="5" * 16,
    images={"train": 8, "val": 2},
    quarantined=0,
)


class Notes(SweepObserver):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def paths(tmp_path: Path) -> SweepPaths:
    (tmp_path / "fungi").mkdir()
    return SweepPaths(tmp_path / "fungi")


def test_the_same_images_go_on_without_a_word(paths: SweepPaths) -> None:
    notes = Notes()
    for _ in range(2):
        require_same_split(paths, BEGAN, notes)
        write_data(paths, BEGAN)
    assert Prepared.model_validate_json(paths.data.read_bytes()) == BEGAN
    assert notes.notes == []


def test_another_split_is_refused(paths: SweepPaths) -> None:
    write_data(paths, BEGAN)
    message = (
        f"All trials of a sweep must be judged on the same images, but those of `fungi` are split otherwise now "
        f"(split {'5' * 16} before, {'6' * 16} now); put the images back as they were, or start another sweep."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        require_same_split(paths, BEGAN.model_copy(update={"split_fingerprint": "6" * 16}), Notes())


def test_other_files_in_the_same_split_are_noted_and_the_first_ones_stay_written(paths: SweepPaths) -> None:
    write_data(paths, BEGAN)
    notes, changed = Notes(), BEGAN.model_copy(update={"data_fingerprint": "e" * 16})
    require_same_split(paths, changed, notes)
    write_data(paths, changed)
    assert notes.notes == [
        "Files or labels of the images have changed since the sweep began; which split they are in has not."
    ]
    assert Prepared.model_validate_json(paths.data.read_bytes()) == BEGAN
