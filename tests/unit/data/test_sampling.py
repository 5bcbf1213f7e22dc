"""Which images an epoch shows, and how often each class comes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from sweeper.data.sampling import class_shares, draw_order, repeats
from sweeper.spec.long_tail import Sampler

LABELS = np.repeat(np.arange(4), [100, 25, 4, 1])


def draw(sampler: Sampler, seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return draw_order(LABELS, sampler, np.random.default_rng(seed))


def test_natural_sampling_shows_every_image_once() -> None:
    assert sorted(draw("natural").tolist()) == list(range(130))


@pytest.mark.parametrize(
    ("sampler", "shares"),
    [
        ("natural", [100 / 130, 25 / 130, 4 / 130, 1 / 130]),
        ("sqrt", [10 / 18, 5 / 18, 2 / 18, 1 / 18]),
        ("balanced", [0.25] * 4),
    ],
)
def test_classes_come_in_their_shares_and_the_epoch_keeps_its_length(sampler: Sampler, shares: list[float]) -> None:
    assert class_shares(np.bincount(LABELS), sampler).tolist() == pytest.approx(shares)
    drawn = [np.bincount(LABELS[draw(sampler, seed)], minlength=4) for seed in range(400)]
    assert {int(counts.sum()) for counts in drawn} == {130}
    expected = 130 * np.array(shares)
    assert np.all(np.abs(np.array(drawn) - expected) < 1)
    assert np.mean(drawn, axis=0) == pytest.approx(expected, abs=0.1)


def test_within_a_class_every_image_comes_before_one_comes_again() -> None:
    times = Counter(draw("balanced").tolist())
    for label in range(4):
        of_class = [times[image] for image in np.flatnonzero(np.equal(LABELS, label)).tolist()]
        assert max(of_class) - min(of_class) <= 1


def test_a_class_without_images_is_left_out() -> None:
    labels = np.array([0, 0, 0, 3])
    assert class_shares(np.bincount(labels), "balanced").tolist() == [0.5, 0.0, 0.0, 0.5]
    assert np.bincount(labels[draw_order(labels, "balanced", np.random.default_rng(0))]).tolist() == [2, 0, 0, 2]


def test_the_order_is_a_function_of_the_generator() -> None:
    for sampler in ("natural", "sqrt", "balanced"):
        assert draw(sampler).tolist() == draw(sampler).tolist()
        assert draw(sampler).tolist() != draw(sampler, 1).tolist()


def test_repeats_count_how_often_an_image_stood_before() -> None:
    assert repeats(np.array([5, 2, 5, 5, 0, 2])).tolist() == [0, 0, 1, 2, 0, 1]
    assert repeats(np.array([3, 1, 2])).tolist() == [0, 0, 0]
