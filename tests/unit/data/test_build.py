from __future__ import annotations

import logging
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from sweeper.data import ImageCache, build, prepare_images
from sweeper.data.cache import CacheFiles
from sweeper.errors import CacheError, DataError
from sweeper.paths import CachePaths
from sweeper.spec.data import DigitsData, FolderData

WriteImages = Callable[..., Path]

PREPARE = """
import sys
from pathlib import Path
from sweeper.data import prepare_images
from sweeper.paths import CachePaths
from sweeper.spec.data import FolderData

calls = []
print("ready", flush=True)
sys.stdin.readline()
spec = FolderData(source="folder", root=Path(sys.argv[1]), image_size=32)
cache = prepare_images(spec, CachePaths(Path(sys.argv[2])), on_progress=lambda *counts: calls.append(counts))
print(len(calls), len(cache.split("train")), cache.fingerprint)
"""


def _prepare(root: Path, cache: Path, **settings: float) -> ImageCache:
    spec = FolderData.model_validate({"source": "folder", "root": root, "image_size": 32, **settings})
    return prepare_images(spec, CachePaths(cache))


def test_a_second_call_opens_what_the_first_one_built(folder_spec: FolderData, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    paths = CachePaths(tmp_path / "cache")
    built = prepare_images(folder_spec, paths, on_progress=lambda *counts: calls.append(counts))
    assert calls == [(done, 19) for done in range(1, 20)]
    written = CacheFiles(built.folder).images.stat().st_mtime_ns
    opened = prepare_images(folder_spec, paths, on_progress=lambda *counts: calls.append(counts))
    assert len(calls) == 19
    assert opened.fingerprint == built.fingerprint
    assert opened.folder == built.folder
    assert CacheFiles(built.folder).images.stat().st_mtime_ns == written
    assert sorted(path.name for path in built.folder.iterdir()) == ["build.lock", "images.arrow", "manifest.json"]


def test_another_stored_size_or_changed_images_are_another_cache(
    image_folder: Path, tmp_path: Path, write_images: WriteImages
) -> None:
    first = _prepare(image_folder, tmp_path / "cache")
    assert _prepare(image_folder, tmp_path / "cache", store_size=30).fingerprint != first.fingerprint
    assert _prepare(image_folder, tmp_path / "cache", max_bad_fraction=0.5).fingerprint == first.fingerprint
    write_images(image_folder / "train" / "eel", 1)
    assert _prepare(image_folder, tmp_path / "cache").fingerprint != first.fingerprint


def test_two_processes_at_once_build_once(image_folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PREPARE, str(image_folder), str(tmp_path / "cache")]
    calls: list[tuple[int, int]] = []
    spec = FolderData(source="folder", root=image_folder, image_size=32)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        other.stdin.write("go\n")
        other.stdin.flush()
        cache = prepare_images(spec, CachePaths(tmp_path / "cache"), on_progress=lambda *counts: calls.append(counts))
        their_calls, images, fingerprint = other.communicate(timeout=60)[0].split()
    assert sorted([len(calls), int(their_calls)]) == [0, 19]
    assert (int(images), fingerprint) == (len(cache.split("train")), cache.fingerprint)


def test_a_large_set_is_written_in_several_batches_of_bounded_size(
    folder_spec: FolderData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = prepare_images(folder_spec, CachePaths(tmp_path / "whole"))
    monkeypatch.setattr(build, "_BATCH_BYTES", 20_000)
    parts = prepare_images(folder_spec, CachePaths(tmp_path / "parts"))
    assert parts.manifest.sha256 != whole.manifest.sha256
    for split in ("train", "val"):
        one, other = whole.split(split), parts.split(split)
        assert one.keys == other.keys
        assert all(np.array_equal(one.image(index), other.image(index)) for index in range(len(one)))


def test_the_digits_are_cached_at_their_own_size(tmp_path: Path) -> None:
    cache = prepare_images(DigitsData(source="digits"), CachePaths(tmp_path))
    assert len(cache.split("train")) + len(cache.split("val")) == 1797
    assert cache.split("val").image(3).shape == (8, 8, 3)


def _break_three(image_folder: Path) -> None:
    cats = image_folder / "train" / "cat"
    (cats / "0.jpg").write_bytes(b"")
    (cats / "1.jpg").write_bytes((cats / "1.jpg").read_bytes()[:-200])
    (cats / "2.jpg").write_text("not an image")


def test_unreadable_images_are_quarantined_and_named(image_folder: Path, tmp_path: Path) -> None:
    _break_three(image_folder)
    cache = _prepare(image_folder, tmp_path / "cache", max_bad_fraction=0.2)
    reasons = {image.key: image.reason for image in cache.quarantined}
    assert reasons["train/cat/0.jpg"] == "the file is empty"
    assert reasons["train/cat/1.jpg"].startswith("image file is truncated")
    assert reasons["train/cat/2.jpg"] == "not an image, or one in an unknown format"
    assert len(cache.split("train")) == 11
    assert not set(reasons) & set(cache.split("train").keys)
    assert _prepare(image_folder, tmp_path / "cache", max_bad_fraction=0.2).quarantined == cache.quarantined


def test_too_many_unreadable_images_are_refused_also_from_an_existing_cache(image_folder: Path, tmp_path: Path) -> None:
    _break_three(image_folder)
    (image_folder / "train" / "cat" / "1.jpg").write_bytes(b"")
    (image_folder / "val" / "cat" / "0.jpg").write_bytes(b"")
    for _ in range(2):
        with pytest.raises(DataError) as caught:
            _prepare(image_folder, tmp_path / "cache")
        assert str(caught.value) == (
            "At most 1.00% of the images may be unreadable (`data.max_bad_fraction`), but 4 of 19 (21.05%) are: "
            "`train/cat/0.jpg` (the file is empty); `train/cat/1.jpg` (the file is empty); "
            "`train/cat/2.jpg` (not an image, or one in an unknown format); .... Repair or delete them."
        )


def test_a_split_without_a_readable_image_is_refused(image_folder: Path, tmp_path: Path) -> None:
    for path in (image_folder / "val").rglob("*.jpg"):
        path.write_bytes(b"")
    with pytest.raises(DataError) as caught:
        _prepare(image_folder, tmp_path / "cache", max_bad_fraction=1.0)
    assert str(caught.value) == "The `val` split must hold an image that can be read, but it holds none."


def test_a_damaged_cache_is_built_again_and_said_so(
    folder_spec: FolderData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = CachePaths(tmp_path / "cache")
    images = CacheFiles(prepare_images(folder_spec, paths).folder).images
    intact = images.read_bytes()
    damaged = bytearray(intact)
    damaged[intact.index(prepare_images(folder_spec, paths).split("val").image(0).tobytes())] ^= 1
    images.write_bytes(damaged)
    prepare_images(folder_spec, paths)  # the quick check does not read the pixels
    assert images.read_bytes() == damaged
    with caplog.at_level(logging.WARNING):
        prepare_images(folder_spec, paths, verify=True)
    assert "is damaged: its checksum is not the one it was written with" in caplog.text
    assert "It is built again now." in caplog.text
    assert images.read_bytes() == intact


def test_what_a_killed_builder_left_is_cleared(folder_spec: FolderData, tmp_path: Path) -> None:
    paths = CachePaths(tmp_path / "cache")
    folder = prepare_images(folder_spec, paths).folder
    CacheFiles(folder).manifest.unlink()
    (folder / ".images.arrow.12345.part").write_bytes(b"half")
    prepare_images(folder_spec, paths).verify()
    assert not list(folder.glob(".*"))


def test_a_cache_folder_that_cannot_be_written_is_one_clear_error(folder_spec: FolderData, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(CacheError) as caught:
        prepare_images(folder_spec, CachePaths(tmp_path / "file"))
    assert str(caught.value).startswith(f"The image cache `{tmp_path / 'file' / 'images'}/")
    assert str(caught.value).endswith(
        "` cannot be written: Not a directory. Make room there, or set SWEEPER_CACHE to another folder."
    )


@contextmanager
def small_files_only() -> Iterator[None]:
    """Lets this process write no file beyond 20 kB: a disk that is full, as far as a writer can tell.

    No fixture: pytest writes its own report before it takes a fixture down.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_one_clear_error_and_leaves_nothing_behind(folder_spec: FolderData, tmp_path: Path) -> None:
    with pytest.raises(CacheError) as caught, small_files_only():
        prepare_images(folder_spec, CachePaths(tmp_path / "cache"))
    assert str(caught.value).startswith(f"The image cache `{tmp_path / 'cache' / 'images'}/")
    assert str(caught.value).endswith(
        "` cannot be written: File too large. Make room there, or set SWEEPER_CACHE to another folder."
    )
    assert [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()] == ["build.lock"]


def test_odd_folder_names_work(image_folder: Path, tmp_path: Path) -> None:
    odd = tmp_path / 'it\'s "odd" ☃ #1'
    shutil.move(image_folder, odd / "images")
    cache = _prepare(odd / "images", odd / "cache")
    assert len(cache.split("train")) == 14
