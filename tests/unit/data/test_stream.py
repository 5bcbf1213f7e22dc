from __future__ import annotations

import io
import re
import tarfile
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sweeper.data import EvalLoader, EvalStream, ImageCache, ImageStream, TrainLoader, TrainStream, open_images
from sweeper.data.manifest import Encoded, ImageSource, Pixels, Sample
from sweeper.data.stream import shuffled
from sweeper.errors import DataError
from sweeper.paths import CachePaths
from sweeper.spec.data import FolderData, WebDatasetData
from sweeper.spec.training import AugmentSpec

WriteImages = Callable[..., Path]
AUGMENT = AugmentSpec(policy="rand-m9", mixup=0.2)


@pytest.fixture(scope="module")
def shards(photo: Pixels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five training shards of eight images and one of nine for validation, of two classes."""
    folder = tmp_path_factory.mktemp("shards")
    number = 0
    for name, count in (*((f"train-{index}", 8) for index in range(5)), ("val-0", 9)):
        with tarfile.open(folder / f"{name}.tar", "w") as archive:
            for _ in range(count):
                top, left = 7 * number % 380, 13 * number % 580
                jpeg = io.BytesIO()
                Image.fromarray(photo[top : top + 40, left : left + 60]).save(jpeg, "JPEG", quality=92)
                # Within a shard the order of the names is not the order of the file.
                for ending, data in (("jpg", jpeg.getvalue()), ("cls", str(number % 2).encode())):
                    member = tarfile.TarInfo(f"{(number * 37) % 100:03d}.{ending}")
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
                number += 1
    return folder


def _spec(root: Path, **settings: object) -> WebDatasetData:
    return WebDatasetData.model_validate({"source": "webdataset", "root": str(root), "image_size": 32, **settings})


def _stream(root: Path, **settings: object) -> ImageStream:
    images = open_images(_spec(root, stream=True, **settings), CachePaths(root / "cache"))
    assert isinstance(images, ImageStream)
    return images


def _train(images: ImageStream, *, threads: int = 0, buffer: int = 6) -> TrainStream:
    split = images.split("train")
    loader = TrainLoader(split, AUGMENT, image_size=32, batch_size=4, seed=3, threads=threads)
    return TrainStream.of(loader, split, shuffle_buffer=buffer)


def test_a_stream_gives_the_images_of_the_cache_augmented_alike(shards: Path, tmp_path: Path) -> None:
    cache = open_images(_spec(shards), CachePaths(tmp_path))
    assert isinstance(cache, ImageCache)
    stream = _stream(shards)
    assert (stream.classes, stream.fingerprint, stream.splits) == (cache.classes, cache.fingerprint, cache.splits)
    assert stream.split("train").keys == cache.split("train").keys
    cached = TrainLoader(cache.split("train"), AUGMENT, image_size=32, batch_size=4, seed=3, threads=0)
    seen: list[int] = []
    for step, batch in enumerate(_train(stream).epoch(2)):
        same = cached.batch(2, batch.indices.numpy(), step)
        assert torch.equal(batch.images, same.images)
        assert torch.equal(batch.labels, same.labels)
        assert batch.mix is not None
        assert same.mix is not None
        assert torch.equal(batch.mix.permutation, same.mix.permutation)
        seen.extend(batch.indices.tolist())
    assert sorted(seen) == list(range(40))
    ours, theirs = (
        torch.cat([batch.images for batch in loader])
        for loader in (
            EvalStream.of(EvalLoader(stream.split("val"), image_size=32, batch_size=4), stream.split("val")),
            EvalLoader(cache.split("val"), image_size=32, batch_size=4),
        )
    )
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("threads", [1, 3])
def test_an_epoch_is_the_same_for_any_number_of_threads_and_can_be_asked_for_directly(
    shards: Path, threads: int
) -> None:
    one, other = list(_train(_stream(shards)).epoch(5)), list(_train(_stream(shards), threads=threads).epoch(5))
    assert len(one) == len(other) == len(_train(_stream(shards)))
    for ours, theirs in zip(one, other, strict=True):
        assert torch.equal(ours.images, theirs.images)
        assert torch.equal(ours.indices, theirs.indices)
    rest = list(_train(_stream(shards), threads=threads).epoch(5, skip=2))
    assert [batch.indices.tolist() for batch in rest] == [batch.indices.tolist() for batch in one[2:]]
    assert list(_train(_stream(shards)).epoch(5, skip=99)) == []


def test_shards_are_read_one_after_another_in_another_order_each_epoch(shards: Path) -> None:
    split = _stream(shards).split("train")
    loader = _train(_stream(shards))
    orders = [loader._reading(epoch).tolist() for epoch in range(1, 5)]
    assert len({tuple(order) for order in orders}) == 4
    for order in orders:
        places = [split.source.place(split.samples[index]) for index in order]
        names = [name for name, _ in places]
        assert len(set(names)) == sum(one != other for one, other in zip(["", *names], names, strict=False)) == 5
        for name in set(names):
            within = [start for shard, start in places if shard == name]
            assert within == sorted(within)


class _Counted(ImageSource):
    """A source that counts what was read of it."""

    def __init__(self, source: ImageSource) -> None:
        self._source, self.read_images = source, 0

    def read(self, sample: Sample, *, short_side: int) -> Pixels:
        return self._source.read(sample, short_side=short_side)

    def size(self, sample: Sample) -> tuple[int, int]:
        return self._source.size(sample)

    def place(self, sample: Sample) -> tuple[str, int]:
        return self._source.place(sample)

    def stream(self, samples: Iterable[Sample]) -> Iterator[tuple[Sample, Encoded]]:
        for found in self._source.stream(samples):
            self.read_images += 1
            yield found


def test_no_more_images_than_the_buffer_wait_in_memory(shards: Path) -> None:
    loader = _train(_stream(shards), buffer=6)
    source = _Counted(loader.files.source)
    files = replace(loader.files, source=source)
    shown = 0
    for read in files.read(loader._reading(1).tolist(), loader.batches(1)):
        shown += len(read)
        assert source.read_images - shown <= 6
    assert source.read_images == shown == 40


def test_a_shuffle_buffer_moves_a_value_forward_by_less_than_its_size() -> None:
    order = shuffled(np.arange(1000), 50, np.random.default_rng(0))
    assert sorted(order.tolist()) == list(range(1000))
    assert max(int(value) - place for place, value in enumerate(order)) == 49
    assert abs(np.corrcoef(order[:50], np.arange(50))[0, 1]) < 0.9
    assert shuffled(np.arange(5), 1, np.random.default_rng(0)).tolist() == [0, 1, 2, 3, 4]
    assert sorted(shuffled(np.arange(5), 99, np.random.default_rng(0)).tolist()) == [0, 1, 2, 3, 4]


def test_files_are_streamed_in_a_wholly_random_order(image_folder: Path) -> None:
    images = open_images(
        FolderData(source="folder", root=image_folder, image_size=32, stream=True), CachePaths(image_folder)
    )
    assert isinstance(images, ImageStream)
    loader = _train(images, buffer=1)
    assert sorted(np.concatenate(loader.batches(1)).tolist()) != np.concatenate(loader.batches(1)).tolist()
    assert len(list(loader.epoch(1))) == 3


def _broken(image_folder: Path, count: int, **settings: object) -> ImageStream:
    for number in range(count):
        (image_folder / "train" / "cat" / f"{number}.jpg").write_bytes(b"")
    spec = {"source": "folder", "root": image_folder, "image_size": 32, "stream": True, **settings}
    images = open_images(FolderData.model_validate(spec), CachePaths(image_folder))
    assert isinstance(images, ImageStream)
    return images


def test_images_that_cannot_be_read_are_missing_from_their_batch_and_listed(image_folder: Path) -> None:
    images = _broken(image_folder, 2, max_bad_fraction=0.2)
    shown = [key for epoch in (1, 2) for batch in _train(images).epoch(epoch) for key in batch.indices.tolist()]
    assert not {0, 1} & set(shown)
    assert sorted(image.key for image in images.quarantined) == ["train/cat/0.jpg", "train/cat/1.jpg"]
    assert images.split("train").image(0).max() == 0


@pytest.mark.parametrize("threads", [0, 2])
def test_too_many_of_them_stop_the_stream_and_its_threads(image_folder: Path, threads: int) -> None:
    images = _broken(image_folder, 5, max_bad_fraction=0.06)
    before = threading.active_count()
    with pytest.raises(DataError) as caught:
        list(_train(images, threads=threads).epoch(1))
    # Each thread may have found more before the first of them is heard.
    assert re.fullmatch(
        r"At most 6\.00% of the images may be unreadable \(`data\.max_bad_fraction`\), but [2-5] of 19 \(\d\d\.\d\d%\) are: "
        r"(`train/cat/\d\.jpg` \(the file is empty\)(; )?){2,3}(\.\.\.)?\. Repair or delete them\.",
        str(caught.value),
    )
    assert threading.active_count() == before


def test_closing_an_epoch_early_stops_its_threads(shards: Path) -> None:
    before = threading.active_count()
    epoch = _train(_stream(shards), threads=2).epoch(1)
    next(epoch)
    assert threading.active_count() > before
    epoch.close()
    assert threading.active_count() == before
