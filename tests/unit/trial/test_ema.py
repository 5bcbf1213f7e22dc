from __future__ import annotations

import pytest
import torch
from torch import nn

from sweeper.trial.ema import start_average


def test_without_a_decay_the_trained_model_itself_is_evaluated() -> None:
    model = nn.Linear(2, 2)
    average = start_average(model, decay=None)
    average.update(model, step=0)
    average.load_state_dict(average.state_dict())
    assert average.model is model
    assert average.state_dict() == {}


def test_the_average_lags_behind_the_weights_by_the_ramped_decay() -> None:
    model = nn.Linear(1, 1, bias=False)
    average = start_average(model, decay=0.9)
    expected = 0.0
    for step in range(40):
        nn.init.constant_(model.weight, float(step))
        average.update(model, step=step)
        decay = min(1 - step ** (-2 / 3), 0.9) if step > 1 else 0.0
        expected = decay * expected + (1 - decay) * step
    assert average.state_dict()["weight"].item() == pytest.approx(expected, rel=1e-5)
    assert expected < 39.0


def test_buffers_are_averaged_too_and_counters_copied() -> None:
    model = nn.BatchNorm1d(3)
    average = start_average(model, decay=0.5)
    for step in range(5):
        model(torch.full((8, 3), 10.0))
        average.update(model, step=step)
    averaged = average.state_dict()
    assert averaged["num_batches_tracked"] == 5
    assert 0.0 < averaged["running_mean"].min() < model.state_dict()["running_mean"].min() < 10.0


def test_the_average_goes_on_from_its_state() -> None:
    model = nn.Linear(2, 2)
    average = start_average(model, decay=0.9)
    nn.init.ones_(model.weight)
    average.update(model, step=50)
    fresh = start_average(nn.Linear(2, 2), decay=0.9)
    fresh.load_state_dict(average.state_dict())
    nn.init.zeros_(model.weight)
    for one in (average, fresh):
        one.update(model, step=51)
    assert torch.equal(average.state_dict()["weight"], fresh.state_dict()["weight"])
