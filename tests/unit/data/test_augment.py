from __future__ import annotations

import numpy as np
import pytest

from sweeper.data.augment import Augmenter, draw_erasing, draw_jitter
from sweeper.data.manifest import Pixels
from sweeper.spec.training import AugmentSpec


def _augment(image: Pixels, seed: int, **settings: float | str) -> Pixels:
    spec = AugmentSpec.model_validate({"hflip": 0.0, "min_scale": 1.0, **settings})
    return Augmenter.of(spec, image_size=48)(image, np.random.default_rng(seed))


def test_with_everything_off_a_square_is_only_resized(photo: Pixels) -> None:
    # A whole square fits only a box of ratio 1; all others fall back on the largest centred box, itself.
    image = photo[:48, :48]
    assert np.array_equal(_augment(image, 0), image)


@pytest.mark.parametrize(
    ("settings", "axes"),
    [({"hflip": 1.0}, 1), ({"vflip": 1.0}, 0), ({"hflip": 1.0, "vflip": 1.0}, (0, 1))],
)
def test_flips(photo: Pixels, settings: dict[str, float], axes: int | tuple[int, int]) -> None:
    image = photo[:48, :48]
    assert np.array_equal(_augment(image, 0, **settings), np.flip(image, axes))


def test_a_flip_happens_as_often_as_asked(photo: Pixels) -> None:
    image = photo[:48, :48]
    flipped = sum(not np.array_equal(_augment(image, seed, hflip=0.25), image) for seed in range(400))
    assert 65 < flipped < 135


def test_erasing_draws_rectangles_of_noise_that_fit_in() -> None:
    drawn = [draw_erasing(100, np.random.default_rng(seed)) for seed in range(300)]
    for erasing in drawn:
        assert erasing is not None
        height, width = erasing.noise.shape[:2]
        assert 0.015 < height * width / 10_000 < 0.35
        assert 0.25 < height / width < 4
        assert 0 <= erasing.top <= 100 - height
        assert 0 <= erasing.left <= 100 - width
        assert 110 < erasing.noise.mean() < 145
    assert len({(erasing.top, erasing.left) for erasing in drawn if erasing}) > 200


def test_erasing_fills_its_rectangle_and_nothing_else() -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    changed = _augment(image, 3, erase=1.0)
    assert changed.shape == (48, 48, 3)
    rows, columns = np.flatnonzero(changed.any(axis=(1, 2))), np.flatnonzero(changed.any(axis=(0, 2)))
    inside = changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].max(axis=2) > 0
    assert inside.mean() > 0.99
    assert not image.any()


def test_color_jitter_stays_within_its_amount() -> None:
    grey = np.full((8, 8, 3), 100, np.uint8)
    means = []
    for seed in range(300):
        changed = grey
        for change in draw_jitter(0.3, np.random.default_rng(seed)):
            assert change.value is not None
            assert 0.7 <= change.value <= 1.3
            changed = change(changed)
        means.append(changed.mean())
    assert 70 <= min(means) < 75
    assert 125 < max(means) <= 130


def test_three_augment_brings_the_papers_jitter_unless_another_is_asked_for() -> None:
    assert Augmenter.of(AugmentSpec(policy="3a"), image_size=48).jitter == 0.3
    assert Augmenter.of(AugmentSpec(policy="3a", color_jitter=0.1), image_size=48).jitter == 0.1
    assert Augmenter.of(AugmentSpec(policy="trivial"), image_size=48).jitter == 0.0


@pytest.mark.parametrize("shape", [(300, 400), (48, 48), (20, 60), (8, 8), (1, 3)])
def test_every_image_becomes_a_square_and_stays_as_it_was(photo: Pixels, shape: tuple[int, int]) -> None:
    spec = AugmentSpec(policy="rand-m9", vflip=0.5, color_jitter=0.4, erase=0.5)
    augment = Augmenter.of(spec, image_size=48)
    image = photo[: shape[0], : shape[1]]
    before = image.copy()
    for seed in range(30):
        changed = augment(image, np.random.default_rng(seed))
        assert changed.shape == (48, 48, 3)
        assert changed.dtype == np.uint8
    assert np.array_equal(image, before)
