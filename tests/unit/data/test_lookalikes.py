"""Two images of one picture are told from two pictures."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from sklearn.datasets import load_sample_images

from sweeper.data.lookalikes import SIMILARITY, candidates, perceptual_hash, similarity, thumbnail
from sweeper.data.manifest import Pixels


@pytest.fixture(scope="module")
def pictures() -> list[Pixels]:
    """18 parts of two photos that do not overlap, 213 x 142."""
    return [
        np.ascontiguousarray(photo[row * 142 : row * 142 + 142, column * 213 : column * 213 + 213])
        for photo in load_sample_images().images
        for row in range(3)
        for column in range(3)
    ]


def encoded(image: Pixels, quality: int) -> Pixels:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def cropped(image: Pixels, share: float) -> Pixels:
    """The middle of an image, without `share` of its width and height."""
    height, width = (round(side * share / 2) for side in image.shape[:2])
    return image[height : image.shape[0] - height, width : image.shape[1] - width]


CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    "jpeg of quality 20": lambda image: encoded(image, 20),
    "half the size": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "a third brighter": lambda image: cv2.convertScaleAbs(image, alpha=1.3),
    "a third darker": lambda image: cv2.convertScaleAbs(image, alpha=0.7),
    "grey": lambda image: cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB),
    "cropped to 95 %": lambda image: encoded(cropped(image, 0.05), 88),
}


def found_again(pictures: list[Pixels], change: Callable[[Pixels], Pixels]) -> tuple[int, int]:
    """How many pictures are found to be their changed selves, and how many to be others."""
    thumbs = [thumbnail(image) for image in (*pictures, *map(change, pictures))]
    pairs = candidates(np.array([perceptual_hash(thumb) for thumb in thumbs], np.uint64)).tolist()
    near = [(one, other) for one, other in pairs if similarity(thumbs[one], thumbs[other]) >= SIMILARITY]
    same = sum(other - one == len(pictures) for one, other in near)
    return same, len(near) - same


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_image_is_found(change: str, pictures: list[Pixels]) -> None:
    same, others = found_again(pictures, CHANGES[change])
    assert same >= (14 if "cropped" in change else 17)  # of 18
    assert others == 0


def test_a_large_crop_and_a_mirror_image_are_not_found(pictures: list[Pixels]) -> None:
    """As the documentation says."""
    assert found_again(pictures, lambda image: cropped(image, 0.3)) == (0, 0)
    assert found_again(pictures, lambda image: np.ascontiguousarray(image[:, ::-1])) == (0, 0)


def test_images_of_one_colour_have_no_hash() -> None:
    rng = np.random.default_rng(0)
    for level in (0, 128, 255):
        grainy = np.clip(level + rng.normal(0, 3, (60, 80, 3)), 0, 255).astype(np.uint8)
        assert perceptual_hash(thumbnail(grainy)) == 0
    assert len(candidates(np.zeros(100, np.uint64))) == 0


def test_every_pair_of_near_hashes_is_a_candidate() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(1, 2**63, 600, dtype=np.uint64)
    for row in range(300, 600):  # the second half differs from the first in 0 to 14 bits
        turned = rng.choice(63, size=row % 15, replace=False)
        hashes[row] = hashes[row - 300] ^ np.uint64(sum(1 << int(bit) for bit in turned))
    distance = np.bitwise_count(hashes[:, None] ^ hashes[None])
    expected = {(i, j) for i, j in np.argwhere(distance <= 10).tolist() if i < j}
    assert len(expected) >= 220
    assert {tuple(pair) for pair in candidates(hashes).tolist()} == expected


def test_a_thousand_images_of_one_hash_stay_few_candidates() -> None:
    pairs = candidates(np.full(1000, 2**40 + 1, np.uint64))
    assert 1000 <= len(pairs) <= 32_000  # not the half million that there are
    assert set(pairs.ravel().tolist()) == set(range(1000))
