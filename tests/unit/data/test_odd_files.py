"""Fifty files of eight kinds that are not what an image folder should hold, all made from real photos."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sweeper.data import ImageCache, prepare_images
from sweeper.data.decode import decode
from sweeper.data.manifest import Pixels
from sweeper.errors import DataError
from sweeper.paths import CachePaths
from sweeper.spec.data import FolderData

WriteImages = Callable[..., Path]

EMPTY = "the file is empty"
TRUNCATED = "image file is truncated"
BOMB = "it claims more than 178,956,970 pixels"
NO_IMAGE = "not an image, or one in an unknown format"


def _saved(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def _bomb(side: int) -> bytes:
    """A PNG of a few kilobytes that claims `side` x `side` pixels, each of its checksums right."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1_000_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _deep_rgb(crop: Pixels) -> bytes:
    """A PNG of 16 bits a channel, which Pillow reads and does not write."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    height, width = crop.shape[:2]
    rows = (crop.astype(">u2") * 257).reshape(height, -1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def _readable(crops: list[Pixels]) -> dict[str, tuple[bytes, Pixels]]:
    """Files that are decoded, with the pixels expected of them."""
    files: dict[str, tuple[bytes, Pixels]] = {}
    for number, crop in enumerate(crops[:6]):
        image = Image.fromarray(crop)
        file_format = ("PNG", "WEBP", "GIF", "BMP", "TIFF", "PNG")[number]
        files[f"wrong_extension/{number}.jpg"] = _saved(image, file_format), crop
        cmyk = image.convert("CMYK")
        in_tiff = number % 2 == 1
        files[f"cmyk/{number}.{'tif' if in_tiff else 'jpg'}"] = (
            _saved(cmyk, "TIFF") if in_tiff else _saved(cmyk, "JPEG", quality=98),
            np.asarray(cmyk.convert("RGB")),
        )
        grey = np.repeat(crop[..., :1], 3, axis=2)
        deep = Image.fromarray(crop[..., 0].astype(np.uint16) * 257)
        files[f"16_bit/{number}.{('png', 'tif')[number % 2]}"] = (
            (_deep_rgb(crop), crop) if number == 0 else (_saved(deep, ("PNG", "TIFF")[number % 2]), grey)
        )
        frames = [Image.fromarray(crops[(number + k) % len(crops)]) for k in (1, 2)]
        file_format = ("GIF", "WEBP", "PNG")[number % 3]
        data = _saved(image, file_format, save_all=True, append_images=frames)
        files[f"animated/{number}.{file_format.lower()}"] = data, crop
    return files


def _unreadable(crops: list[Pixels]) -> dict[str, tuple[bytes, str]]:
    """Files that are left out, with the reason told."""
    files: dict[str, tuple[bytes, str]] = {}
    formats = ("JPEG", "PNG", "JPEG", "GIF", "BMP", "TIFF", "JPEG")
    for number, file_format in enumerate(formats):
        data = _saved(Image.fromarray(crops[number]), file_format)
        cut = len(data) - 2 if number == 6 else len(data) * 2 // 3
        files[f"truncated/{number}.{file_format.lower()}"] = data[:cut], ""
    for number in range(6):
        files[f"empty/{number}.jpg"] = b"", EMPTY
        files[f"bomb/{number}.png"] = _bomb(13_378 + 20_000 * number), BOMB
    photo = _saved(Image.fromarray(crops[0]), "JPEG")
    junk = (
        b"<html>404 Not Found</html>",
        b"%PDF-1.7\n%",
        photo[600:],
        b"\0" * 4096,
        b"version https://git-lfs",
        b"GIF8",
    )
    for number, data in enumerate(junk):
        files[f"no_image/{number}.jpg"] = data, NO_IMAGE
    files["no_image/6.png"] = photo[1:], NO_IMAGE
    return files


@pytest.fixture(scope="module")
def crops(photo: Pixels) -> list[Pixels]:
    return [np.ascontiguousarray(photo[40 * k : 40 * k + 60, 70 * k : 70 * k + 80]) for k in range(8)]


def test_each_of_fifty_odd_files_is_decoded_or_left_out_as_documented(
    crops: list[Pixels], tmp_path: Path, write_images: WriteImages
) -> None:
    readable, unreadable = _readable(crops), _unreadable(crops)
    assert len(readable) + len(unreadable) == 50
    root = tmp_path / "images"
    for name, (data, _) in {**readable, **unreadable}.items():
        path = root / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    for kind in ("empty", "truncated", "bomb", "no_image"):
        write_images(root / "train" / kind / "good", 1)
    write_images(root / "val" / "cmyk", 2)
    spec = FolderData(source="folder", root=root, image_size=64, max_bad_fraction=0.9)
    cache = prepare_images(spec, CachePaths(tmp_path / "cache"))
    _check_readable(cache, {f"train/{name}": pixels for name, (_, pixels) in readable.items()})
    reasons = {image.key: image.reason for image in cache.quarantined}
    assert reasons.keys() == {f"train/{name}" for name in unreadable}
    for name, (_, reason) in unreadable.items():
        assert reasons[f"train/{name}"].startswith(reason), name


def _check_readable(cache: ImageCache, expected: dict[str, Pixels]) -> None:
    train = cache.split("train")
    found = {key: train.image(index) for index, key in enumerate(train.keys)}
    for key, pixels in expected.items():
        assert found[key].shape == pixels.shape, key
        assert np.abs(found[key].astype(int) - pixels).mean() < 8, key


def test_a_bomb_is_refused_without_being_decoded() -> None:
    with pytest.raises(DataError) as caught:
        decode(_bomb(100_000), short_side=64)
    assert str(caught.value) == BOMB
