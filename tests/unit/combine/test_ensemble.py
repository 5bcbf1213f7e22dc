"""Choosing by one half of the images, judging by the other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sweeper.combine.ensemble import choose_ensemble
from sweeper.combine.judging import Judge, saying
from sweeper.predictions import Predictions, PredictionsInfo

CLASSES = ("fly_agaric", "death_cap", "penny_bun")


def answers(*, seed: int, knows: tuple[int, ...], images: int = 600, spread: float = 1.0) -> Predictions:
    """A model that is right where a third of the images belongs to `knows`, and guesses elsewhere."""
    rng = np.random.default_rng(seed)
    labels = np.arange(images) % len(CLASSES)
    part = np.arange(images) // len(CLASSES) % 3
    logits = rng.normal(0, 1, (images, len(CLASSES)))
    logits[np.arange(images), labels] += 4.0 * np.isin(part, knows)
    info = PredictionsInfo(epoch=1, tau=None, classes=CLASSES, data_fingerprint="d", split_fingerprint="s")
    return Predictions(
        logits=(spread * logits).astype(np.float16),
        labels=labels,
        numbers=np.arange(images),
        class_shares=np.full(3, 1 / 3),
        groups=np.eye(3, dtype=bool),
        info=info,
    )


def test_the_halves_share_no_image_and_have_as_many_of_each_class() -> None:
    said = answers(seed=0, knows=(0,))
    judge = Judge.of("top1", said)
    assert sorted([*judge.choosing, *judge.judging]) == list(range(600))
    assert np.bincount(said.labels[judge.choosing]).tolist() == [100, 100, 100]


def test_models_that_know_different_things_are_better_together() -> None:
    candidates = {4: answers(seed=1, knows=(0, 1)), 7: answers(seed=2, knows=(1, 2)), 9: answers(seed=3, knows=())}
    judge = Judge.of("top1", candidates[4])
    chosen = choose_ensemble(candidates, judge)
    assert set(chosen.weights) >= {4, 7}
    assert sum(chosen.weights.values()) == pytest.approx(1.0)
    gain, (low, high) = judge.gain(chosen.said, over=candidates[4])
    assert 0.0 < low < gain < high
    assert judge.helps(chosen.said, over=candidates[4])


def test_a_member_that_does_not_help_is_left_out() -> None:
    candidates = {0: answers(seed=1, knows=(0, 1, 2)), 1: answers(seed=2, knows=())}
    chosen = choose_ensemble(candidates, Judge.of("top1", candidates[0]))
    assert set(chosen.draws) == {0}


def test_a_model_that_is_too_sure_is_calibrated_before_it_votes() -> None:
    candidates = {0: answers(seed=1, knows=(0, 1)), 1: answers(seed=2, knows=(1, 2), spread=20.0)}
    chosen = choose_ensemble(candidates, Judge.of("top1", candidates[0]))
    assert chosen.temperatures[1] > 10 * chosen.temperatures[0]


def test_a_gain_of_chance_has_an_interval_that_reaches_zero() -> None:
    said = answers(seed=0, knows=(0, 1))
    judge = Judge.of("top1", said)
    _, (low, high) = judge.gain(answers(seed=5, knows=(0, 1)), over=said)
    assert low < 0.0 < high
    assert judge.gain(said, over=said) == (0.0, (0.0, 0.0))
    assert not judge.helps(said, over=said)


def test_a_loss_is_judged_the_other_way_round() -> None:
    good, bad = answers(seed=0, knows=(0, 1, 2)), answers(seed=0, knows=())
    judge = Judge.of("val_loss", good)
    assert judge.chooses(good) > judge.chooses(bad)
    assert judge.helps(good, over=bad)
    assert not judge.helps(bad, over=good)


def test_macro_f1_is_judged_by_top1_as_it_is_no_mean_over_images() -> None:
    assert Judge.of("macro_f1", answers(seed=0, knows=(0,))).metric == "top1"


def test_what_a_mixture_says_is_kept_with_its_largest_at_zero() -> None:
    said = answers(seed=0, knows=(0,))
    mixed = saying(said.logits.astype(np.float64) + 100.0, said)
    assert float(mixed.logits.max()) == 0.0
    assert np.array_equal(mixed.guesses, said.guesses)
    assert mixed.is_of_same_images(replace(said, logits=mixed.logits))
