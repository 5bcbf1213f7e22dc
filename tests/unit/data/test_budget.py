from __future__ import annotations

import re
from pathlib import Path

import pytest

from sweeper.data.budget import check_room, predict_bytes
from sweeper.data.manifest import ImageSource, Pixels, Sample
from sweeper.errors import CacheError, DataError
from sweeper.spec.data import DigitsData


class _Headers(ImageSource):
    """Images that have headers and nothing else."""

    def __init__(self, width: int, height: int) -> None:
        self._size = (width, height)
        self.asked = 0

    def read(self, sample: Sample, *, short_side: int) -> Pixels:
        raise AssertionError("no image is decoded for a prediction")

    def size(self, sample: Sample) -> tuple[int, int]:
        self.asked += 1
        if sample.label == 1:
            raise DataError("the file is empty")
        return self._size


@pytest.mark.parametrize(("short_side", "gigabytes"), [(256, 1.50), (288, 1.89), (320, 2.34), (384, 3.36)])
def test_the_founding_data_set_takes_what_was_computed_for_it(short_side: int, gigabytes: float) -> None:
    samples = [Sample(str(number), 0, "train", stamp="") for number in range(7606)]
    source = _Headers(800, 800)
    assert predict_bytes(samples, source, short_side=short_side) / 1e9 == pytest.approx(gigabytes, abs=0.01)
    assert source.asked == 500
    wide = predict_bytes(samples, _Headers(800, 600), short_side=short_side)
    assert wide / 1e9 == pytest.approx(gigabytes * 4 / 3, abs=0.02)


def test_images_that_will_be_left_out_take_no_room() -> None:
    samples = [Sample(str(number), number % 2, "train", stamp="") for number in range(100)]
    assert predict_bytes(samples, _Headers(30, 20), short_side=256) == 50 * 30 * 20 * 3
    assert predict_bytes([], _Headers(30, 20), short_side=256) == 0


def test_a_disk_without_the_room_is_refused_with_both_numbers(tmp_path: Path) -> None:
    spec = DigitsData(source="digits")
    check_room(tmp_path, spec, num_images=5, predicted=10**18, written=10**18 - 1)
    with pytest.raises(CacheError) as caught:
        check_room(tmp_path, spec, num_images=5, predicted=10**18, written=10**12)
    assert re.fullmatch(
        f"The image cache `{re.escape(str(tmp_path))}` needs about 999999000.00 GB more, but its disk has "
        r"\d+\.\d [GM]B left. Make room there, set SWEEPER_CACHE to another folder, or set `data.stream: true`.",
        re.sub(r"(\.\d)\d GB left", r"\1 GB left", str(caught.value)),
    )
