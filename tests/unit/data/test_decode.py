from __future__ import annotations

import io
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image, ImageOps

from sweeper.data.decode import MAX_ASPECT, decode, fit, upright_size
from sweeper.data.manifest import Pixels
from sweeper.errors import DataError


def _bytes(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def _difference(one: Pixels, other: Pixels) -> float:
    return float(np.abs(one.astype(int) - other).mean())


def test_a_jpeg_decodes_as_with_pillow(photo: Pixels) -> None:
    data = _bytes(Image.fromarray(photo), "JPEG", quality=95)
    assert _difference(decode(data, short_side=1000), np.asarray(Image.open(io.BytesIO(data)))) < 0.5


@pytest.mark.parametrize(("short_side", "height"), [(300, 427), (213, 214), (100, 107), (50, 54), (8, 54)])
def test_a_large_jpeg_is_decoded_as_small_as_is_enough(photo: Pixels, short_side: int, height: int) -> None:
    data = _bytes(Image.fromarray(photo), "JPEG", quality=95)
    image = decode(data, short_side=short_side)
    assert image.shape[0] == height
    expected = Image.fromarray(photo).resize(image.shape[1::-1], Image.Resampling.BOX)
    assert _difference(image, np.asarray(expected)) < 4


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_exif_orientation_is_applied(photo: Pixels, orientation: int, file_format: str) -> None:
    image = Image.fromarray(photo[:80, :120])
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = _bytes(image, file_format, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert _difference(decode(data, short_side=500), np.asarray(expected)) < 1
    assert upright_size(io.BytesIO(data)) == expected.size


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK"])
def test_every_colour_mode_becomes_rgb(photo: Pixels, mode: str) -> None:
    image = Image.fromarray(photo[:80, :120]).convert(mode)
    data = _bytes(image, "PNG" if mode in ("L", "1", "P", "RGBA", "LA") else "TIFF")
    assert _difference(decode(data, short_side=500), np.asarray(image.convert("RGB"))) < 3


def test_a_cmyk_jpeg_keeps_its_colours(photo: Pixels) -> None:
    cmyk = Image.fromarray(photo).convert("CMYK")
    decoded = decode(_bytes(cmyk, "JPEG", quality=95), short_side=500)
    assert _difference(decoded, np.asarray(cmyk.convert("RGB"))) < 4


def test_sixteen_bit_images_are_scaled_to_eight(photo: Pixels) -> None:
    grey = photo[:80, :120, 0]
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    for file_format in ("PNG", "TIFF"):
        decoded = decode(_bytes(deep, file_format), short_side=500)
        assert np.array_equal(decoded, np.repeat(grey[..., None], 3, axis=2))


def test_the_first_frame_of_an_animation_is_taken(photo: Pixels) -> None:
    frames = [Image.fromarray(photo[:80, :120]), Image.fromarray(photo[200:280, :120])]
    for file_format in ("GIF", "WEBP", "PNG"):
        data = _bytes(frames[0], file_format, save_all=True, append_images=frames[1:])
        assert _difference(decode(data, short_side=500), photo[:80, :120]) < 8


def test_a_palette_with_transparency_does_not_warn(photo: Pixels, recwarn: pytest.WarningsRecorder) -> None:
    image = Image.fromarray(photo[:80, :120]).convert("P")
    decode(_bytes(image, "PNG", transparency=bytes(range(256))), short_side=500)
    assert not recwarn.list


def test_bytes_after_the_end_of_a_jpeg_do_not_matter(photo: Pixels) -> None:
    data = _bytes(Image.fromarray(photo), "JPEG", quality=95)
    assert _difference(decode(data + b"trailer" * 100, short_side=1000), decode(data, short_side=1000)) < 0.5


def test_unreadable_files_are_refused_with_the_reason(photo: Pixels) -> None:
    jpeg = _bytes(Image.fromarray(photo), "JPEG")
    png = _bytes(Image.fromarray(photo), "PNG")
    for data, reason in (
        (b"", "the file is empty"),
        (b"<html>404</html>", "not an image, or one in an unknown format"),
        (jpeg[: len(jpeg) // 2], "image file is truncated"),
        (jpeg[:-2], "image file is truncated"),
        (png[: len(png) // 2], "image file is truncated"),
    ):
        with pytest.raises(DataError) as caught:
            decode(data, short_side=100)
        assert str(caught.value).startswith(reason)
    for data, reason in ((b"", "the file is empty"), (b"junk", "not an image, or one in an unknown format")):
        with pytest.raises(DataError) as caught:
            upright_size(io.BytesIO(data))
        assert str(caught.value) == reason


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
def test_random_damage_is_either_decoded_or_a_data_error(photo: Pixels, file_format: str) -> None:
    rng = np.random.default_rng(0)
    intact = np.frombuffer(_bytes(Image.fromarray(photo[:60, :80]), file_format), np.uint8)
    for _ in range(100):
        data = intact.copy()
        where = rng.integers(0, min(len(data), 400), 4)  # headers are where parsers break
        data[where] = rng.integers(0, 256, 4)
        with suppress(DataError):
            assert decode(data[: rng.integers(1, len(data) + 1)].tobytes(), short_side=32).shape[2] == 3


def test_fitting_shrinks_to_the_short_side_and_never_enlarges(photo: Pixels) -> None:
    assert fit(photo, short_side=100).shape == (100, 150, 3)
    assert fit(photo, short_side=427) is photo
    assert fit(photo[:30, :20], short_side=100).shape == (30, 20, 3)


@pytest.mark.parametrize("turned", [False, True])
def test_a_panorama_is_cut_to_its_middle(photo: Pixels, turned: bool) -> None:
    panorama = np.zeros((20, 600, 3), np.uint8)
    panorama[:, 270:330] = 255
    fitted = fit(panorama.transpose(1, 0, 2) if turned else panorama, short_side=10)
    assert sorted(fitted.shape[:2]) == [10, 10 * MAX_ASPECT]
    assert fitted.min() == 255


def test_floating_point_pixels_are_refused(photo: Pixels) -> None:
    data = _bytes(Image.fromarray(photo[:8, :8, 0].astype(np.float32)), "TIFF")
    with pytest.raises(DataError) as caught:
        decode(data, short_side=8)
    assert str(caught.value) == "its pixels are floating point numbers of unknown range"
