from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from sweeper.data import Batch, Mix, Preprocessor

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PREPROCESS = Preprocessor(mean=MEAN, std=STD, num_classes=5, device=torch.device("cpu"))
PERMUTATION = torch.tensor([1, 2, 3, 0])


def _batch(mix: Mix | None = None) -> Batch:
    torch.manual_seed(0)
    images = torch.randint(0, 256, (4, 16, 16, 3), dtype=torch.uint8)
    return Batch(images, torch.tensor([0, 1, 2, 4]), torch.arange(4), mix)


def _prepared(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    ready = PREPROCESS(batch)
    (images,) = ready.inputs
    return images, ready.targets


def _normalised(images: torch.Tensor) -> torch.Tensor:
    scaled = images.permute(0, 3, 1, 2).float() / 255
    return (scaled - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def test_images_are_normalised_floats_in_channels_last_memory() -> None:
    batch = _batch()
    images, targets = _prepared(batch)
    assert images.shape == (4, 3, 16, 16)
    assert images.dtype == torch.float32
    assert images.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(images, _normalised(batch.images))
    assert torch.equal(targets, batch.labels)


def test_images_of_another_size_are_normalised_alike() -> None:
    for size in (16, 8, 16):
        images = torch.randint(0, 256, (2, size, size, 3), dtype=torch.uint8)
        batch = Batch(images, torch.zeros(2, dtype=torch.int64), torch.arange(2))
        torch.testing.assert_close(_prepared(batch)[0], _normalised(images))


def test_mixup_blends_images_and_targets_alike() -> None:
    batch = _batch(Mix("mixup", 0.3, PERMUTATION))
    images, targets = _prepared(batch)
    plain = _normalised(batch.images)
    torch.testing.assert_close(images, 0.3 * plain + 0.7 * plain[PERMUTATION])
    one_hot = F.one_hot(batch.labels, 5).float()
    torch.testing.assert_close(targets, 0.3 * one_hot + 0.7 * one_hot[PERMUTATION])
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_cutmix_pastes_the_partners_box_and_leaves_the_batch_as_it_was() -> None:
    kept = 1 - 4 * 8 / 256
    batch = _batch(Mix("cutmix", kept, PERMUTATION, (2, 6, 8, 16)))
    before = batch.images.clone()
    images, targets = _prepared(batch)
    plain = _normalised(before)
    expected = plain.clone()
    expected[:, :, 2:6, 8:16] = plain[PERMUTATION][:, :, 2:6, 8:16]
    torch.testing.assert_close(images, expected)
    assert targets[0].tolist() == pytest.approx([kept, 1 - kept, 0, 0, 0])
    assert torch.equal(batch.images, before)


def test_metadata_goes_with_the_image_that_shows_more() -> None:
    rows = torch.arange(28.0).view(4, 7)
    for lam, expected in ((0.7, rows), (0.3, rows[PERMUTATION])):
        ready = PREPROCESS(replace(_batch(Mix("mixup", lam, PERMUTATION)), metadata=rows))
        assert torch.equal(ready.inputs[1], expected)


def test_images_can_be_contiguous() -> None:
    (images,) = replace(PREPROCESS, channels_last=False)(_batch()).inputs
    assert images.is_contiguous()
    assert torch.equal(images, _prepared(_batch())[0])


def test_a_batch_falls_into_parts_of_nearly_equal_size() -> None:
    ready = PREPROCESS(replace(_batch(), metadata=torch.arange(28.0).view(4, 7)))
    parts = list(ready.parts(3))
    assert [len(part) for part in parts] == [2, 2]
    assert all(
        torch.equal(torch.cat(split), whole)
        for split, whole in zip(zip(*(part.inputs for part in parts), strict=True), ready.inputs, strict=True)
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", ["mixup", "cutmix", None])
def test_a_gpu_prepares_the_same_batch(kind: str | None) -> None:
    box = (2, 6, 8, 16)
    mix = None if kind is None else Mix("mixup" if kind == "mixup" else "cutmix", 0.4, PERMUTATION, box)
    ready = Preprocessor(MEAN, STD, 5, torch.device("cuda"))(_batch(mix))
    (images,), targets = ready.inputs, ready.targets
    assert images.is_cuda
    assert images.is_contiguous(memory_format=torch.channels_last)
    expected_images, expected_targets = _prepared(_batch(mix))
    torch.testing.assert_close(images.cpu(), expected_images)
    torch.testing.assert_close(targets.cpu(), expected_targets)
