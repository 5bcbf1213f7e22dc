from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from sweeper.data import Batch, EvalLoader, ImageCache, ImageSplit, TrainLoader
from sweeper.data.crops import center_box, resized
from sweeper.spec.training import AugmentSpec

AUGMENT = AugmentSpec(policy="rand-m9", color_jitter=0.2, erase=0.3, mixup=0.4, cutmix=1.0, mix_prob=0.7)


@pytest.fixture
def loader(cache: ImageCache) -> TrainLoader:
    return TrainLoader(cache.split("train"), AUGMENT, image_size=32, batch_size=4, seed=3)


def _equal(one: Batch, other: Batch) -> bool:
    mixes = (one.mix is None) == (other.mix is None)
    if one.mix is not None and other.mix is not None:
        mixes = (one.mix.kind, one.mix.lam, one.mix.box) == (other.mix.kind, other.mix.lam, other.mix.box)
        mixes = mixes and torch.equal(one.mix.permutation, other.mix.permutation)
    return (
        mixes
        and torch.equal(one.images, other.images)
        and torch.equal(one.labels, other.labels)
        and torch.equal(one.indices, other.indices)
    )


def _all_equal(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(map(_equal, one, other))


def test_batches_are_as_described(loader: TrainLoader, cache: ImageCache) -> None:
    batches = list(loader.epoch(0))
    assert len(batches) == len(loader) == 3
    for batch in batches:
        assert batch.images.shape == (4, 32, 32, 3)
        assert batch.images.dtype == torch.uint8
        assert batch.labels.dtype == batch.indices.dtype == torch.int64
        assert batch.labels.tolist() == cache.split("train").labels[batch.indices.numpy()].tolist()
    seen = torch.cat([batch.indices for batch in batches]).tolist()
    assert len(set(seen)) == 12  # of 14: the incomplete batch is dropped


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_number_of_threads_changes_nothing(loader: TrainLoader, threads: int) -> None:
    for epoch in (0, 1):
        expected = list(replace(loader, threads=0).epoch(epoch))
        assert _all_equal(list(replace(loader, threads=threads).epoch(epoch)), expected)


def test_an_epoch_can_be_asked_for_directly(loader: TrainLoader) -> None:
    in_order = [list(loader.epoch(epoch)) for epoch in range(3)]
    assert _all_equal(list(loader.epoch(2)), in_order[2])
    assert not _all_equal(in_order[1], in_order[2])
    for skip in (1, 3, 7):  # of three batches
        assert _all_equal(list(loader.epoch(2, skip=skip)), in_order[2][skip:])


def test_another_seed_gives_another_order_and_other_images(loader: TrainLoader) -> None:
    other = replace(loader, seed=4)
    assert not any(map(_equal, loader.epoch(0), other.epoch(0)))


def test_an_image_is_varied_from_epoch_to_epoch(cache: ImageCache) -> None:
    loader = TrainLoader(cache.split("val"), AugmentSpec(), image_size=32, batch_size=5, seed=0)
    variants = []
    for epoch in range(4):
        (batch,) = loader.epoch(epoch)
        variants.append(batch.images[batch.indices.tolist().index(2)].numpy().tobytes())
    assert len(set(variants)) == 4


def test_a_view_holds_every_image_in_order_as_the_epoch_shows_it(loader: TrainLoader) -> None:
    view = list(loader.view(2))
    assert torch.cat([batch.indices for batch in view]).tolist() == list(range(14))
    assert all(batch.mix is None for batch in view)
    images = torch.cat([batch.images for batch in view])
    for batch in loader.epoch(2):
        assert torch.equal(batch.images, images[batch.indices])


def test_the_batch_size_does_not_change_how_an_image_is_varied(loader: TrainLoader) -> None:
    whole = torch.cat([batch.images for batch in replace(loader, batch_size=14).view(1)])
    assert torch.equal(whole, torch.cat([batch.images for batch in loader.view(1)]))


def test_an_image_that_is_shown_again_is_varied_anew(loader: TrainLoader, cache: ImageCache) -> None:
    labels = cache.split("train").labels
    balanced = replace(loader, sampler="balanced", batch_size=14)
    (batch,) = balanced.epoch(1)
    assert np.bincount(labels[batch.indices.numpy()]).tolist() == [7, 7]
    again = [index for index in range(14) if (batch.indices == index).sum() > 1]
    assert again
    for index in again:
        shown = batch.images[batch.indices == index]
        assert not torch.equal(shown[0], shown[1])
    assert _all_equal(list(balanced.epoch(1)), list(replace(balanced, threads=3).epoch(1)))
    assert [batch.indices.tolist() for batch in balanced.epoch(2)] == [one.tolist() for one in balanced.batches(2)]
    shown_first = sorted(set(batch.indices.tolist()))
    first = torch.stack([batch.images[batch.indices == index][0] for index in shown_first])
    view = torch.cat([one.images for one in balanced.view(1)])
    assert torch.equal(first, view[shown_first])  # the first time as a view shows it


def test_metadata_goes_with_its_image(loader: TrainLoader, cache: ImageCache) -> None:
    rows = np.arange(14 * 7, dtype=np.float32).reshape(14, 7) + 1
    for batch in replace(loader, metadata=rows).epoch(1):
        assert batch.metadata is not None
        assert torch.equal(batch.metadata, torch.from_numpy(rows)[batch.indices])
    validation = EvalLoader(cache.split("train"), image_size=32, batch_size=4, metadata=rows)
    assert all(torch.equal(batch.metadata, torch.from_numpy(rows)[batch.indices]) for batch in validation)  # type: ignore[arg-type]


def test_metadata_is_hidden_less_and_less(loader: TrainLoader) -> None:
    augment = loader.augment.model_copy(update={"hide_metadata": 1.0})
    hiding = replace(loader, augment=augment, metadata=np.ones((14, 7), np.float32), epochs=5)
    shown = [
        torch.cat([batch.metadata for batch in hiding.view(epoch)]).mean().item()  # type: ignore[misc]
        for epoch in (1, 3, 5)
    ]
    assert shown[0] == 0.0 < shown[1] < shown[2] == 1.0
    for batch in hiding.view(3):
        assert batch.metadata is not None
        assert set(batch.metadata.sum(1).tolist()) <= {0.0, 7.0}  # all of an image's, or nothing


def test_a_split_smaller_than_a_batch_is_one_batch(cache: ImageCache) -> None:
    loader = TrainLoader(cache.split("val"), AUGMENT, image_size=32, batch_size=64, seed=0)
    assert len(loader) == 1
    assert [len(batch.labels) for batch in loader.epoch(0)] == [5]


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_evaluation_keeps_every_image_in_order(cache: ImageCache, threads: int) -> None:
    split = cache.split("train")
    loader = EvalLoader(split, image_size=32, batch_size=4, threads=threads)
    for _ in range(2):
        batches = list(loader)
        assert len(batches) == len(loader) == 4
        assert torch.cat([batch.indices for batch in batches]).tolist() == list(range(14))
        images = torch.cat([batch.images for batch in batches]).numpy()
        for index in range(14):
            image = split.image(index)
            box = center_box(*image.shape[:2], share=0.875)
            assert np.array_equal(images[index], resized(image, box, size=32))


def test_the_crop_share_changes_what_evaluation_sees(cache: ImageCache) -> None:
    narrow, wide = (
        next(iter(EvalLoader(cache.split("val"), image_size=32, batch_size=5, crop_pct=share))) for share in (0.5, 1.0)
    )
    assert not torch.equal(narrow.images, wide.images)


def test_closing_an_epoch_early_stops_its_threads(loader: TrainLoader) -> None:
    before = threading.active_count()
    epoch = replace(loader, threads=2).epoch(0)
    next(epoch)
    assert threading.active_count() > before
    started = time.monotonic()
    epoch.close()
    assert threading.active_count() == before
    assert time.monotonic() - started < 1


def test_an_error_in_a_thread_reaches_the_caller(cache: ImageCache) -> None:
    class _Broken(ImageSplit):
        def image(self, index: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
            raise ValueError(index)

    split = cache.split("train")
    broken = _Broken(*(getattr(split, field) for field in ImageSplit.__dataclass_fields__))
    before = threading.active_count()
    with pytest.raises(ValueError, match=r"^\d+$"):
        list(TrainLoader(broken, AUGMENT, image_size=32, batch_size=4, seed=0, threads=2).epoch(0))
    assert threading.active_count() == before
