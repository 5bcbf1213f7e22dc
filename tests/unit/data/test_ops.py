"""Each operation against Pillow's, or torchvision's, on the same photo with the same argument."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from torchvision.transforms import functional as tv
from torchvision.transforms.functional import InterpolationMode

from sweeper.data import ops
from sweeper.data.manifest import Pixels


@pytest.fixture(scope="module")
def square(photo: Pixels) -> Pixels:
    return cv2.resize(photo, (224, 224), interpolation=cv2.INTER_AREA)  # type: ignore[no-any-return]


def _difference(one: Pixels, other: Image.Image | torch.Tensor) -> float:
    """Mean absolute difference in grey levels."""
    if isinstance(other, torch.Tensor):
        return float(np.abs(one.astype(int) - other.permute(1, 2, 0).numpy()).mean())
    return float(np.abs(one.astype(int) - np.asarray(other)).mean())


@pytest.mark.parametrize("factor", [0.0, 0.1, 0.7, 1.0, 1.3, 1.9])
@pytest.mark.parametrize(
    ("op", "enhance"),
    [
        (ops.brightness, ImageEnhance.Brightness),
        (ops.contrast, ImageEnhance.Contrast),
        (ops.saturation, ImageEnhance.Color),
        (ops.sharpness, ImageEnhance.Sharpness),
    ],
)
def test_the_enhancements_agree_with_pillow(
    square: Pixels, op: Callable[[Pixels, float], Pixels], enhance: type[ImageEnhance.Color], factor: float
) -> None:
    expected = enhance(Image.fromarray(square)).enhance(factor)
    assert _difference(op(square, factor), expected) < 0.8


@pytest.mark.parametrize("bits", [1, 2, 4, 7, 8])
def test_posterize_agrees_with_pillow(square: Pixels, bits: int) -> None:
    assert _difference(ops.posterize(square, bits), ImageOps.posterize(Image.fromarray(square), bits)) == 0


@pytest.mark.parametrize("threshold", [0, 26, 128, 255, 256])
def test_solarize_agrees_with_pillow(square: Pixels, threshold: int) -> None:
    assert _difference(ops.solarize(square, threshold), ImageOps.solarize(Image.fromarray(square), threshold)) == 0


def test_solarize_add_brightens_the_dark_half_only() -> None:
    image = np.array([[[0, 100, 127], [128, 200, 255]]], np.uint8)
    assert ops.solarize_add(image, 99).tolist() == [[[99, 199, 226], [128, 200, 255]]]


@pytest.mark.parametrize(
    ("op", "pillow"),
    [
        (ops.autocontrast, ImageOps.autocontrast),
        (ops.equalize, ImageOps.equalize),
        (ops.invert, ImageOps.invert),
        (ops.grayscale, lambda image: image.convert("L").convert("RGB")),
    ],
)
def test_operations_without_an_argument_agree_with_pillow(
    square: Pixels, op: Callable[[Pixels], Pixels], pillow: Callable[[Image.Image], Image.Image]
) -> None:
    dull = (square // 2 + 40).astype(np.uint8)
    for image in (square, dull, np.full_like(square, 77)):
        assert _difference(op(image), pillow(Image.fromarray(image))) < 0.5


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.0, 2.0])
def test_gaussian_blur_agrees_with_pillow(square: Pixels, sigma: float) -> None:
    expected = Image.fromarray(square).filter(ImageFilter.GaussianBlur(sigma))
    assert _difference(ops.gaussian_blur(square, sigma), expected) < 1.5


@pytest.mark.parametrize("factor", [-0.3, -0.1, 0.0, 0.27])
def test_shears_agree_with_pillow(square: Pixels, factor: float) -> None:
    for op, matrix in ((ops.shear_x, (1, factor, 0, 0, 1, 0)), (ops.shear_y, (1, 0, 0, factor, 1, 0))):
        expected = Image.fromarray(square).transform(
            (224, 224), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=ops.FILL
        )
        assert _difference(op(square, factor), expected) < 1


@pytest.mark.parametrize("degrees", [-30, 0, 12.5, 90, 135])
def test_rotation_agrees_with_pillow_and_torchvision(square: Pixels, degrees: float) -> None:
    rotated = ops.rotate(square, degrees)
    expected = Image.fromarray(square).rotate(degrees, Image.Resampling.BILINEAR, fillcolor=ops.FILL)
    assert _difference(rotated, expected) < 1
    tensor = torch.from_numpy(square).permute(2, 0, 1)
    fill = [float(level) for level in ops.FILL]
    assert _difference(rotated, tv.rotate(tensor, degrees, InterpolationMode.BILINEAR, fill=fill)) < 2


@pytest.mark.parametrize("pixels", [-300, -90.7, -1, 0, 0.4, 32, 90.72, 224])
def test_translations_agree_with_pillow(square: Pixels, pixels: float) -> None:
    whole = round(pixels)
    for op, matrix in ((ops.translate_x, (1, 0, whole, 0, 1, 0)), (ops.translate_y, (1, 0, 0, 0, 1, whole))):
        expected = Image.fromarray(square).transform((224, 224), Image.Transform.AFFINE, matrix, fillcolor=ops.FILL)
        assert _difference(op(square, pixels), expected) == 0


def test_operations_accept_a_read_only_view_and_leave_it_as_it_was(photo: Pixels) -> None:
    view = photo[10:90, 20:120]
    view.flags.writeable = False
    before = view.copy()
    plain = (ops.autocontrast, ops.equalize, ops.invert, ops.grayscale)
    valued = (
        ops.brightness, ops.contrast, ops.saturation, ops.sharpness, ops.gaussian_blur, ops.posterize, ops.solarize,
        ops.solarize_add, ops.shear_x, ops.shear_y, ops.rotate, ops.translate_x, ops.translate_y,
    )  # fmt: skip
    for changed in [op(view) for op in plain] + [op(view, 2.0) for op in valued]:
        assert changed.shape == view.shape
        assert changed.dtype == np.uint8
        assert not np.shares_memory(changed, view)
    assert np.array_equal(view, before)
