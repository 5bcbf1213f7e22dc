from __future__ import annotations

import logging
import multiprocessing
import os
import resource
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from sweeper.data import ImageCache, parts, prepare_images
from sweeper.data.cache import CacheFiles
from sweeper.errors import CacheError, DataError
from sweeper.paths import CachePaths
from sweeper.spec.data import DigitsData, FolderData

WriteImages = Callable[..., Path]

Told = list[tuple[str, int, int]]


def _told(calls: Told) -> Callable[[str, int, int], None]:
    return lambda what, done, total: calls.append((what, done, total))


def _prepare(root: Path, cache: Path, **settings: float) -> ImageCache:
    spec = FolderData.model_validate({"source": "folder", "root": root, "image_size": 32, **settings})
    return prepare_images(spec, CachePaths(cache))


def test_a_second_call_opens_what_the_first_one_built(folder_spec: FolderData, tmp_path: Path) -> None:
    calls: Told = []
    paths = CachePaths(tmp_path / "cache")
    built = prepare_images(folder_spec, paths, on_progress=_told(calls))
    assert calls[-1] == ("decoding images", 19, 19)
    assert calls == sorted(calls, key=lambda call: call[1])
    calls.clear()
    written = CacheFiles(built.folder).part(0).images.stat().st_mtime_ns
    opened = prepare_images(folder_spec, paths, on_progress=_told(calls))
    assert not calls
    assert opened.fingerprint == built.fingerprint
    assert CacheFiles(built.folder).part(0).images.stat().st_mtime_ns == written
    assert sorted(path.name for path in built.folder.iterdir()) == [
        "build.lock", "images-00000.arrow", "images-00000.json", "manifest.json",
    ]  # fmt: skip


def test_another_stored_size_or_changed_images_are_another_cache(
    image_folder: Path, tmp_path: Path, write_images: WriteImages
) -> None:
    first = _prepare(image_folder, tmp_path / "cache")
    assert _prepare(image_folder, tmp_path / "cache", store_size=30).fingerprint != first.fingerprint
    assert _prepare(image_folder, tmp_path / "cache", max_bad_fraction=0.5).fingerprint == first.fingerprint
    write_images(image_folder / "train" / "eel", 1)
    assert _prepare(image_folder, tmp_path / "cache").fingerprint != first.fingerprint


def _prepare_in_small_parts(root: Path, cache: Path, answer: Connection) -> None:
    parts.PART_BYTES = 20_000  # type: ignore[misc] # three images
    calls: Told = []
    spec = FolderData(source="folder", root=root, image_size=32)
    fingerprint = prepare_images(spec, CachePaths(cache), on_progress=_told(calls)).fingerprint
    answer.send((fingerprint, [call for call in calls if call[0] == "decoding images"]))


@contextmanager
def _other_process(images: Path, cache: Path) -> Iterator[tuple[int, Connection]]:
    """Prepares `images` in another process, and gives its id and where it answers; it is gone in the end."""
    context = multiprocessing.get_context("fork")  # a fresh one would take seconds to import torch
    here, there = context.Pipe()
    other = context.Process(target=_prepare_in_small_parts, args=(images, cache, there))
    other.start()
    assert other.pid is not None
    try:
        yield other.pid, here
    finally:
        other.kill()
        other.join()


def test_two_processes_at_once_build_once(image_folder: Path, tmp_path: Path) -> None:
    calls: Told = []
    spec = FolderData(source="folder", root=image_folder, image_size=32)
    with _other_process(image_folder, tmp_path / "cache") as (_, other):
        cache = prepare_images(spec, CachePaths(tmp_path / "cache"), on_progress=_told(calls))
        fingerprint, theirs = other.recv()
    ours = [call for call in calls if call[0] == "decoding images"]
    assert bool(ours) != bool(theirs)
    assert fingerprint == cache.fingerprint


def test_a_build_that_was_killed_goes_on_in_the_process_that_waited(
    image_folder: Path, tmp_path: Path, write_images: WriteImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(image_folder / "train" / "eel", 60, size=(600, 400))
    spec = FolderData(source="folder", root=image_folder, image_size=32)
    calls: Told = []
    kept: dict[Path, int] = {}
    monkeypatch.setattr(parts, "PART_BYTES", 20_000)
    with _other_process(image_folder, tmp_path / "cache") as (pid, _):

        def tell(what: str, done: int, total: int) -> None:
            if not calls:  # it is stopped in the middle, and holds the lock
                kept.update((path, path.stat().st_mtime_ns) for path in (tmp_path / "cache").rglob("images-*.json"))
                os.kill(pid, signal.SIGKILL)
            calls.append((what, done, total))

        while len(list((tmp_path / "cache").rglob("images-*.json"))) < 2:
            time.sleep(0.001)
        os.kill(pid, signal.SIGSTOP)
        cache = prepare_images(spec, CachePaths(tmp_path / "cache"), on_progress=tell)
    waiting = f"waiting for process {pid} on {socket.gethostname()}, which decodes the same images"
    assert calls[0] == (waiting, 3 * len(kept), 79)
    decoding = [done for what, done, _ in calls if what == "decoding images"]
    assert 3 * len(kept) - 2 <= decoding[0]
    assert decoding[-1] == 79
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert not [path for path in cache.folder.iterdir() if path.suffix in (".part", ".txt")]
    cache.verify()
    straight = prepare_images(spec, CachePaths(tmp_path / "straight"))
    assert cache.manifest == straight.manifest


def test_a_large_set_is_written_in_several_parts_of_bounded_size(
    folder_spec: FolderData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = prepare_images(folder_spec, CachePaths(tmp_path / "whole"))
    monkeypatch.setattr(parts, "PART_BYTES", 40_000)
    monkeypatch.setattr(parts, "_BATCH_BYTES", 10_000)
    several = prepare_images(folder_spec, CachePaths(tmp_path / "parts"))
    assert [part.num_images for part in several.manifest.parts] == [7, 7, 5]
    assert max(part.size_bytes for part in several.manifest.parts) < 60_000
    for split in ("train", "val"):
        one, other = whole.split(split), several.split(split)
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
    lines = CacheFiles(cache.folder).quarantined.read_text().splitlines()
    assert lines[:2] == ["image,reason", "train/cat/0.jpg,the file is empty"]
    assert lines[3] == 'train/cat/2.jpg,"not an image, or one in an unknown format"'
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


def test_only_the_damaged_part_of_a_cache_is_built_again_and_said_so(
    folder_spec: FolderData, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART_BYTES", 40_000)
    paths = CachePaths(tmp_path / "cache")
    files = CacheFiles(prepare_images(folder_spec, paths).folder)
    images = files.part(2).images
    written = [files.part(number).images.stat().st_mtime_ns for number in range(3)]
    intact = images.read_bytes()
    damaged = bytearray(intact)
    damaged[intact.index(prepare_images(folder_spec, paths).split("val").image(0).tobytes())] ^= 1
    images.write_bytes(damaged)
    prepare_images(folder_spec, paths)  # the quick check does not read the pixels
    assert images.read_bytes() == damaged
    with caplog.at_level(logging.WARNING):
        prepare_images(folder_spec, paths, verify=True)
    assert "is damaged: the checksum of `images-00002.arrow` is not the one it was written with" in caplog.text
    assert "It is built again now." in caplog.text
    assert images.read_bytes() == intact
    assert [files.part(number).images.stat().st_mtime_ns for number in range(2)] == written[:2]


def test_what_a_killed_builder_left_half_written_is_cleared(folder_spec: FolderData, tmp_path: Path) -> None:
    paths = CachePaths(tmp_path / "cache")
    folder = prepare_images(folder_spec, paths).folder
    CacheFiles(folder).manifest.unlink()
    (folder / ".images-00000.arrow.12345.part").write_bytes(b"half")
    (folder / "images-00000.json").write_text('{"number": 0, "num')
    prepare_images(folder_spec, paths).verify()
    assert not list(folder.glob(".*"))


def test_more_than_it_may_take_is_refused_before_the_first_image_is_decoded(image_folder: Path, tmp_path: Path) -> None:
    # 19 images of 60 x 40 px are stored as 56 x 37 px.
    with pytest.raises(DataError) as caught:
        _prepare(image_folder, tmp_path / "cache", max_gb=1e-4)
    assert str(caught.value) == (
        "The decoded images may take at most 0.0001 GB (`data.max_gb`), but 19 images with a short side of 37 px take "
        "about 0.1 MB. Allow more, lower `data.store_size`, or set `data.stream: true`."
    )
    assert not list((tmp_path / "cache").rglob("images-*"))
    cache = _prepare(image_folder, tmp_path / "cache", max_gb=2e-4)
    assert cache.manifest.predicted_bytes == 19 * 56 * 37 * 3
    assert cache.manifest.size_bytes == pytest.approx(cache.manifest.predicted_bytes, rel=0.1)


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
