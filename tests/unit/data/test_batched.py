"""The batched path on CPU tensors makes the images that OpenCV makes; on a CUDA device those of CPU tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from sweeper.data import EvalLoader, ImageCache, TrainLoader, ops
from sweeper.data.augment import Augmenter, Recipe, follow
from sweeper.data.batched import PixelBank, resident_bank, squares_of
from sweeper.data.batched_ops import BATCHED
from sweeper.data.crops import Box
from sweeper.data.manifest import Pixels
from sweeper.data.policies import _TRIVIAL_WIDE, RandAugment
from sweeper.spec.training import AugmentSpec

CPU = torch.device("cpu")
ARGUMENTS: dict[Callable[..., Pixels], list[float]] = {
    ops.brightness: [0.1, 0.7, 1.9], ops.contrast: [0.1, 0.7, 1.9], ops.saturation: [0.1, 0.7, 1.9],
    ops.sharpness: [0.1, 1.0, 1.9], ops.gaussian_blur: [0.1, 0.3, 0.5, 1.0, 1.7, 2.0], ops.posterize: [1, 2, 4, 7, 8],
    ops.solarize: [0, 26, 128, 255, 256], ops.solarize_add: [0, 50, 110], ops.shear_x: [-0.3, 0.0, 0.27, 0.99],
    ops.shear_y: [-0.3, 0.27, 0.99], ops.rotate: [-30, 0, 12.5, 90, 135],
    ops.translate_x: [-300, -43.2, -1, 0, 0.4, 32, 96], ops.translate_y: [-43.2, 0.6, 32],
}  # fmt: skip


@pytest.fixture(scope="module")
def square(photo: Pixels) -> Pixels:
    return cv2.resize(photo, (96, 96), interpolation=cv2.INTER_AREA)  # type: ignore[no-any-return]


def planes(*images: Pixels) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()


def differences(one: Tensor, other: Tensor) -> tuple[int, float]:
    """Largest and mean absolute difference in grey levels."""
    difference = (one.int() - other.int()).abs()
    return int(difference.max()), float(difference.float().mean())


def test_every_operation_that_a_policy_can_draw_has_a_batched_form() -> None:
    drawn = {step.op for step in (*_TRIVIAL_WIDE, *RandAugment.of(magnitude=9, num_ops=2, image_size=64).steps)}
    assert drawn - {np.copy} | {ops.grayscale, ops.gaussian_blur} == set(BATCHED)


@pytest.mark.parametrize("op", BATCHED, ids=lambda op: op.__name__)
def test_a_batched_operation_is_within_a_grey_level_of_opencv(op: Callable[..., Pixels], square: Pixels) -> None:
    dull, flat = (square // 2 + 40).astype(np.uint8), np.full_like(square, 77)
    for image in (square, dull, flat):
        values = ARGUMENTS.get(op, [0.0])
        changed = BATCHED[op](planes(*[image] * len(values)), torch.tensor(values, dtype=torch.float64))
        assert changed.dtype == torch.uint8
        for value, ours in zip(values, changed, strict=True):
            expected = op(image, value) if op in ARGUMENTS else op(image)
            largest, mean = differences(ours, planes(expected)[0])
            assert largest <= 1, value
            assert mean < 0.1, value


@pytest.mark.parametrize(
    ("op", "theirs", "values"),
    [
        (ops.brightness, tv.adjust_brightness, [0.1, 1.7]),
        (ops.contrast, tv.adjust_contrast, [0.3, 1.7]),
        (ops.saturation, tv.adjust_saturation, [0.0, 0.4, 1.9]),
        (ops.posterize, lambda image, bits: tv.posterize(image, int(bits)), [1, 4]),
        (ops.solarize, tv.solarize, [0, 100, 255]),
        (ops.invert, lambda image, _: tv.invert(image), [0.0]),
        (ops.autocontrast, lambda image, _: tv.autocontrast(image), [0.0]),
        (ops.equalize, lambda image, _: tv.equalize(image), [0.0]),
        (ops.grayscale, lambda image, _: tv.rgb_to_grayscale(image, num_output_channels=3), [0.0]),
        (ops.sharpness, lambda image, factor: tv.adjust_sharpness(image, factor), [0.1, 1.9]),
        (ops.gaussian_blur, lambda image, sigma: tv.gaussian_blur(image, [13, 13], [sigma, sigma]), [1.5, 2.0]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_batched_operation_is_that_of_torchvision(
    op: Callable[..., Pixels], theirs: Callable[[Tensor, float], Tensor], values: list[float], square: Pixels
) -> None:
    images = planes(*[square] * len(values))
    ours = BATCHED[op](images, torch.tensor(values, dtype=torch.float64))
    expected = torch.stack([theirs(image, value) for image, value in zip(images, values, strict=True)])
    inside = (slice(None), slice(None), slice(1, -1), slice(1, -1))  # torchvision does not sharpen the border
    largest, mean = differences(ours[inside], expected[inside])
    assert largest <= 2
    assert mean < 0.6


def recipe(box: Box, *, hflip: bool = False, vflip: bool = False) -> Recipe:
    return Recipe(box, hflip, vflip, (), None)


BOXES = [
    Box(3, 5, 48, 48),
    Box(0, 0, 47, 61),
    Box(10, 20, 90, 70),
    Box(7, 30, 300, 400),
    Box(1, 2, 20, 15),
    Box(0, 0, 96, 97),
]


def test_boxes_of_all_sizes_are_resized_in_one_batch_as_opencv_does(photo: Pixels) -> None:
    recipes = [recipe(box, hflip=bool(n % 2), vflip=n % 3 == 0) for n, box in enumerate(BOXES)]
    ours = squares_of([photo] * len(BOXES), recipes, size=48, device=CPU)
    expected = torch.from_numpy(np.stack([follow(photo, one, size=48) for one in recipes]))
    largest, mean = differences(ours, expected)
    assert largest <= 1
    assert mean < 0.2
    assert torch.equal(ours[0], expected[0])  # a box of the right size is not resampled


def test_a_resize_is_that_of_torchvision_where_that_does_not_smooth(photo: Pixels) -> None:
    box = Box(10, 20, 90, 70)
    ours = squares_of([photo], [recipe(box)], size=48, device=CPU)
    image = planes(photo.copy())[0]
    expected = tv.resized_crop(image, box.top, box.left, box.height, box.width, [48, 48], antialias=False)
    largest, _ = differences(ours[0].permute(2, 0, 1), expected)
    assert largest <= 1


@pytest.mark.parametrize("policy", ["none", "3a", "trivial", "rand-m9", "rand-m10-n4"])
def test_a_whole_pipeline_makes_the_images_that_opencv_makes(policy: str, photo: Pixels) -> None:
    spec = AugmentSpec(policy=policy, vflip=0.3, color_jitter=0.2, erase=0.5, min_scale=0.1)
    augment = Augmenter.of(spec, image_size=64)
    cuts = [
        photo[:80, :100],
        photo[100:200, 50:150],
        photo[:40, :40],
        photo[9:99, :70],
        photo[:20, :60],
    ] * 14  # 70: two parts
    recipes = [augment.draw(*image.shape[:2], rng=np.random.default_rng(seed)) for seed, image in enumerate(cuts)]
    ours = squares_of(cuts, recipes, size=64, device=CPU)
    assert ours.shape == (70, 64, 64, 3)
    means = []
    for square, image, one in zip(ours, cuts, recipes, strict=True):
        means.append(differences(square, torch.from_numpy(follow(image, one, size=64)))[1])
    # One grey level before an `equalize` or `posterize` can become many: 128, where one bit is kept.
    assert max(means) < 8
    assert float(np.mean(means)) < 0.6


def test_a_bank_of_the_whole_split_gives_what_sending_each_batch_gives(photo: Pixels) -> None:
    images = [photo[:50, :70], photo[30:90, :40], photo[:33, 5:99]]
    augment = Augmenter.of(AugmentSpec(policy="trivial"), image_size=32)
    rows = [2, 0, 0, 1]
    recipes = [augment.draw(*images[row].shape[:2], rng=np.random.default_rng(n)) for n, row in enumerate(rows)]
    kept = PixelBank.of(images, CPU).squares(rows, recipes, size=32)
    assert torch.equal(kept, squares_of([images[row] for row in rows], recipes, size=32, device=CPU))


AUGMENT = AugmentSpec(policy="rand-m9", color_jitter=0.2, erase=0.3, mixup=0.4, cutmix=1.0)


def test_a_loader_shows_the_same_epoch_on_both_paths(cache: ImageCache) -> None:
    plain = TrainLoader(cache.split("train"), AUGMENT, image_size=32, batch_size=4, seed=3)
    batched = replace(plain, device=CPU, threads=2)
    for one, other in zip(plain.epoch(2), batched.epoch(2), strict=True):
        assert torch.equal(one.indices, other.indices)
        assert differences(one.images, other.images)[1] < 1
        assert one.mix is not None and other.mix is not None  # noqa: PT018 - for mypy
        assert torch.equal(one.mix.permutation, other.mix.permutation)
    first, again = ([batch.images for batch in batched.epoch(2)] for _ in range(2))
    assert all(map(torch.equal, first, again))


def test_evaluation_sees_the_same_images_on_both_paths(cache: ImageCache) -> None:
    plain = EvalLoader(cache.split("val"), image_size=32, batch_size=4, tta="ten_crop")
    for one, other in zip(plain, replace(plain, device=CPU), strict=True):
        assert differences(one.images, other.images)[0] <= 1


def test_a_split_stays_in_no_memory_but_a_gpus(cache: ImageCache) -> None:
    assert resident_bank(cache.split("train"), CPU, share=1.0) is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_device_makes_the_images_of_the_cpu(cache: ImageCache) -> None:
    split, device = cache.split("train"), torch.device("cuda:0")
    bank = resident_bank(split, device, share=0.25)
    assert bank is not None
    assert resident_bank(split, device, share=0.0) is None
    plain = TrainLoader(split, AUGMENT, image_size=32, batch_size=4, seed=3, device=CPU)
    for loader in (replace(plain, device=device), replace(plain, device=device, bank=bank)):
        for one, other in zip(plain.epoch(1), loader.epoch(1), strict=True):
            assert other.images.device == device
            assert differences(one.images, other.images.cpu())[1] < 0.5
