"""A data set in pictures: what they show is what is there."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from sweeper.data import Survey, draw_overview
from sweeper.data.drawings import SheetRow, draw_classes, draw_sheet, draw_sizes
from sweeper.data.manifest import Pixels
from sweeper.errors import CacheError
from sweeper.spec.data import FolderData
from sweeper.spec.evaluation import EvalSpec
from sweeper.spec.training import AugmentSpec

HEAD, MIDDLE, TAIL = (0, 114, 178), (86, 180, 233), (230, 159, 0)


def pixels(png: bytes) -> Pixels:
    decoded = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.asarray(decoded[..., ::-1], np.uint8)


def columns_of(image: Pixels, colour: tuple[int, int, int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Where, from left to right, a picture has a colour."""
    return np.flatnonzero((image == colour).all(axis=2).any(axis=0))


@pytest.mark.parametrize("classes", [3, 400])
def test_classes_stand_from_head_to_tail_in_their_colours(classes: int) -> None:
    train = np.linspace(1, 300, classes).astype(np.int64)
    counts = {"train": train, "val": train // 4, "test": np.zeros(classes, np.int64)}
    names = [f"class {number}" for number in range(classes)]
    image = pixels(draw_classes(names, counts, head_above=200, tail_below=50))  # type: ignore[arg-type]
    head, middle, tail = (columns_of(image[200:], colour) for colour in (HEAD, MIDDLE, TAIL))
    assert head.max() < middle.min()
    assert middle.max() < tail.min()


def test_unbalanced_counts_have_a_logarithmic_axis() -> None:
    def bar_height(train: list[int]) -> int:
        counts = {"train": np.array(train)}
        image = pixels(draw_classes(["a", "b"], counts, head_above=100, tail_below=20))  # type: ignore[arg-type]
        return int((image[200:] == TAIL).all(axis=2).sum(axis=0).max())

    assert bar_height([160, 15]) > 3 * bar_height([140, 15])


def test_sizes_are_drawn_for_one_image_and_for_many() -> None:
    rng = np.random.default_rng(0)
    for sizes in (np.array([[8, 8]]), rng.integers(1, 5000, (10_000, 2))):
        assert min(pixels(draw_sizes(sizes, stored=256)).shape[:2]) > 400


def test_a_sheet_shows_every_image_in_its_row_and_column() -> None:
    colours = np.array([[[200, 0, 0], [0, 200, 0]], [[0, 0, 200], [200, 200, 0]]], np.uint8)
    rows = [SheetRow(f"row {row}", [np.full((40, 40, 3), colour) for colour in colours[row]]) for row in range(2)]
    image = pixels(draw_sheet(rows, title="four colours", columns=["left", "right"]))
    centres = {}
    for row in range(2):
        for column in range(2):
            there = np.argwhere((image == colours[row, column]).all(axis=2))
            assert len(there) == pytest.approx(150 * 150, rel=0.05)
            centres[row, column] = there.mean(axis=0)
    assert centres[0, 0][0] == pytest.approx(centres[0, 1][0], abs=2)
    assert centres[0, 0][1] < centres[0, 1][1]
    assert centres[0, 0][0] < centres[1, 0][0]


def test_the_overview_of_a_folder_is_three_files(folder_spec: FolderData, tmp_path: Path) -> None:
    (folder_spec.root / "train" / "cat" / "0.jpg").write_bytes(b"")  # the first image of the class
    drawn = draw_overview(Survey.of(folder_spec), AugmentSpec(policy="trivial"), EvalSpec(), tmp_path / "new" / "out")
    assert [path.name for path in drawn] == ["augmented.png", "classes.png", "sizes.png"]
    assert all(pixels(path.read_bytes()).ndim == 3 for path in drawn)


def test_a_folder_that_cannot_be_written_is_told(folder_spec: FolderData, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CacheError) as caught:
        draw_overview(Survey.of(folder_spec), AugmentSpec(), EvalSpec(), tmp_path / "file" / "out")
    assert str(caught.value) == f"The pictures cannot be written into `{tmp_path}/file/out`: Not a directory."
