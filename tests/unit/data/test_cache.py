from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from sweeper.data import ImageCache, open_cache
from sweeper.data.cache import CacheFiles
from sweeper.data.decode import decode, fit
from sweeper.errors import CacheError, DataError


def _flip_byte(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 0xFF
    path.write_bytes(data)


def _damage(folder: Path, why: str) -> str:
    return f"The image cache `{folder}` is damaged: {why}. Run `sweeper data prepare` to build it again."


def test_every_image_is_stored_as_decoded_with_its_label(cache: ImageCache, image_folder: Path) -> None:
    assert cache.classes == ("cat", "dog")
    for name, count in (("train", 14), ("val", 5)):
        split = cache.split(name)  # type: ignore[arg-type]  # the literals are right
        assert len(split) == count
        for index, key in enumerate(split.keys):
            expected = fit(decode((image_folder / key).read_bytes(), short_side=37), short_side=37)
            assert np.array_equal(split.image(index), expected)
            assert key.split("/")[:2] == [name, cache.classes[split.labels[index]]]


def test_an_image_is_a_read_only_view_of_the_mapped_file(cache: ImageCache) -> None:
    split = cache.split("train")
    first, second = split.image(0), split.image(1)
    assert not first.flags.writeable
    assert not first.flags.owndata
    assert split.image(0).__array_interface__["data"] == first.__array_interface__["data"]
    # Both point into one mapping of the file: their distance in memory is their distance on disk.
    distance = second.__array_interface__["data"][0] - first.__array_interface__["data"][0]
    data = CacheFiles(cache.folder).part(0).images.read_bytes()
    assert data.index(second.tobytes()) - data.index(first.tobytes()) == distance
    mapped = first.__array_interface__["data"][0]
    ranges = [
        tuple(int(end, 16) for end in line.split()[0].split("-"))
        for line in Path("/proc/self/maps").read_text().splitlines()
        if line.endswith(str(CacheFiles(cache.folder).part(0).images))
    ]
    assert any(low <= mapped < high for low, high in ranges)


def test_a_missing_split_is_refused(cache: ImageCache) -> None:
    assert cache.splits == ("train", "val")
    with pytest.raises(DataError) as caught:
        cache.split("test")
    assert str(caught.value) == "The data must have a `test` split, but it has only `train`, `val`."


def test_opening_a_folder_without_a_cache_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CacheError) as caught:
        open_cache(tmp_path)
    assert str(caught.value) == (
        f"An image cache must be built first, but `{tmp_path}` holds none; run `sweeper data prepare`."
    )


def test_a_flipped_byte_among_the_pixels_is_found_by_the_full_check(cache: ImageCache) -> None:
    images = CacheFiles(cache.folder).part(0).images
    cache.verify()
    position = images.read_bytes().index(cache.split("train").image(7).tobytes())
    _flip_byte(images, position + 10)
    with pytest.raises(CacheError) as caught:
        open_cache(cache.folder).verify()
    assert str(caught.value) == _damage(
        cache.folder, "the checksum of `images-00000.arrow` is not the one it was written with"
    )


def test_a_flipped_byte_in_the_index_is_found_on_opening(cache: ImageCache) -> None:
    images = CacheFiles(cache.folder).part(0).images
    _flip_byte(images, images.read_bytes().index(b"train/cat/3.jpg"))
    with pytest.raises(CacheError) as caught:
        open_cache(cache.folder)
    why = "the checksum of the index of `images-00000.arrow` is not the one it was written with"
    assert str(caught.value) == _damage(cache.folder, why)


def test_a_cut_file_is_found_on_opening(cache: ImageCache) -> None:
    images = CacheFiles(cache.folder).part(0).images
    size = images.stat().st_size
    images.write_bytes(images.read_bytes()[:-1])
    with pytest.raises(CacheError) as caught:
        open_cache(cache.folder)
    assert str(caught.value) == _damage(
        cache.folder, f"`images-00000.arrow` has {size - 1} bytes and should have {size}"
    )


def test_a_destroyed_footer_is_found_on_opening(cache: ImageCache) -> None:
    images = CacheFiles(cache.folder).part(0).images
    _flip_byte(images, -3)
    with pytest.raises(CacheError, match=re.escape(f"The image cache `{cache.folder}` is damaged: ")):
        open_cache(cache.folder)


def test_a_broken_manifest_is_found_on_opening(cache: ImageCache) -> None:
    manifest = CacheFiles(cache.folder).manifest
    manifest.write_text(manifest.read_text()[:-20])
    with pytest.raises(CacheError) as caught:
        open_cache(cache.folder)
    assert str(caught.value) == _damage(cache.folder, "its `manifest.json` cannot be read")
