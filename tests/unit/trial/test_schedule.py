from __future__ import annotations

import pytest
import torch
from torch import nn

from sweeper.spec.training import TrainSpec
from sweeper.trial.schedule import CosineSchedule


def schedule(*, warmup_epochs: float = 2.0, min_lr: float = 1e-5, epochs: int = 10) -> CosineSchedule:
    train = TrainSpec(lr=1e-3, min_lr=min_lr, warmup_epochs=warmup_epochs, epochs=epochs)
    return CosineSchedule.over(train, steps_per_epoch=5)


def test_warm_up_is_linear_and_loses_no_step_to_zero() -> None:
    factors = [schedule().factor(step) for step in range(10)]
    assert factors == pytest.approx([step / 10 for step in range(1, 11)])


def test_the_cosine_starts_at_the_peak_and_ends_at_min_lr() -> None:
    assert schedule().factor(10) == pytest.approx(1.0)
    assert schedule().factor(49) == pytest.approx(1e-5 / 1e-3)
    halfway = schedule(min_lr=0.0, warmup_epochs=0.2).factor(25)
    assert halfway == pytest.approx(0.5)


def test_the_cosine_never_rises() -> None:
    factors = [schedule().factor(step) for step in range(10, 60)]
    assert factors == sorted(factors, reverse=True)


def test_warm_up_counts_in_steps_so_epochs_may_be_fractions() -> None:
    assert schedule(warmup_epochs=0.6).warmup_steps == 3


def test_a_min_lr_above_lr_keeps_lr() -> None:
    flat = schedule(min_lr=1.0, warmup_epochs=0.0)
    assert {flat.factor(step) for step in range(50)} == {1.0}


def test_a_warm_up_longer_than_the_trial_still_climbs_to_its_end() -> None:
    long = schedule(warmup_epochs=20.0)
    assert long.factor(49) == pytest.approx(0.5)


def test_each_group_gets_its_own_scale_and_the_largest_is_returned() -> None:
    early, late = nn.Linear(1, 1), nn.Linear(1, 1)
    groups = [
        {"params": list(early.parameters()), "lr_scale": 0.25},
        {"params": list(late.parameters()), "lr_scale": 1.0},
    ]
    optimizer = torch.optim.SGD(groups, lr=1e-3)
    largest = schedule().apply(optimizer, step=4)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.125e-3, 0.5e-3])
    assert largest == pytest.approx(0.5e-3)
