"""Two trials side by side."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest

from sweeper.records import EpochMetrics
from sweeper.results import Side, diff_trials, first_parting
from sweeper.spec import TrialConfig
from tests.unit.answers import metrics, said

CONFIG = TrialConfig.model_validate({"backbone": "vit", "data": {"source": "digits"}, "train": {"lr": 1e-3}})
OTHER = TrialConfig.model_validate({"backbone": "vit", "data": {"source": "digits"}, "train": {"lr": 2e-3}, "seed": 4})


def side(config: TrialConfig, *top1: float, wrong: range, split: str = "s") -> Side:
    epochs = tuple(metrics(epoch, value) for epoch, value in enumerate(top1, start=1))
    return Side("made/0", config, epochs, said(wrong, split=split))


def test_settings_and_epochs_stand_side_by_side() -> None:
    found = diff_trials(side(CONFIG, 0.5, 0.9, wrong=range(20)), side(OTHER, 0.6, wrong=range(20)), "top1")
    assert found.settings == {"train.lr": (1e-3, 2e-3), "seed": (0, 4)}
    assert [(one.epoch, one.left, one.right) for one in found.epochs] == [(1, 0.5, 0.6), (2, 0.9, None)]


def test_images_that_one_alone_gets_right_decide() -> None:
    left, right = side(CONFIG, 0.85, wrong=range(30)), side(OTHER, 0.95, wrong=range(28, 40))
    images = diff_trials(left, right, "top1").images
    assert images is not None
    assert (images.only_left, images.only_right) == (10, 28)
    assert images.p_value == pytest.approx(binomtest(10, 38).pvalue)
    assert images.gain == pytest.approx(18 / 200)
    assert images.interval is not None
    assert 0.0 < images.interval[0] < 0.09 < images.interval[1]
    assert {one.name: round(one.gain * one.images) for one in images.classes} == {
        "ash": 5, "birch": 5, "cedar": 4, "oak": 4,
    }  # fmt: skip


def test_a_loss_gains_where_it_falls() -> None:
    images = diff_trials(side(CONFIG, 0.9, wrong=range(20)), side(CONFIG, 0.9, wrong=range(10)), "val_loss").images
    assert images is not None
    assert images.gain is not None
    assert images.gain > 0


def test_equal_trials_have_nothing_to_tell_apart() -> None:
    one = side(CONFIG, 0.9, wrong=range(20))
    found = diff_trials(one, one, "top1")
    assert found.settings == {}
    assert found.images is not None
    assert (found.images.p_value, found.images.gain, found.images.classes) == (1.0, 0.0, ())


def test_trials_of_other_images_are_not_compared_image_by_image() -> None:
    assert (
        diff_trials(side(CONFIG, 0.9, wrong=range(9)), side(CONFIG, 0.9, wrong=range(9), split="t"), "top1").images
        is None
    )


def test_an_epoch_run_again_parts_where_a_number_differs_but_not_by_the_clock() -> None:
    then: EpochMetrics = metrics(1, 0.9)
    assert first_parting(then, metrics(1, 0.9, train_seconds=99.0, latency_ms=1.0, peak_memory_mb=1.0)) == {}
    assert first_parting(then, metrics(1, 0.9, train_loss=1.5)) == {"train_loss": (1.0, 1.5)}
