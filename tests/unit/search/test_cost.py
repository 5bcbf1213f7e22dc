"""Seconds an epoch, predicted and corrected."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sweeper.records import TrialState
from sweeper.search.advice import Point
from sweeper.search.cost import CostModel
from sweeper.search.curves.observation import Observation
from sweeper.search.curves.space import Space
from sweeper.spec import SweepSpec

SPACE: dict[str, Any] = {
    "backbone": {"choice": ["small", "large"]},
    "image_size": {"choice": [128, 256]},
    "lr": {"log": [1e-4, 1e-1]},
}


@pytest.fixture(scope="module")
def space() -> Space:
    return Space(SweepSpec.model_validate({"name": "s", "data": {"source": "digits"}, "space": SPACE}))


def truth(point: Point) -> float:
    return 2.0 * (8 if point["backbone"] == "large" else 1) * (4 if point["image_size"] == 256 else 1)


def timed(space: Space, count: int) -> list[Observation]:
    rows = space.settled(np.random.default_rng(3).random((count, len(space.axes))))
    return [Observation(n, TrialState.COMPLETE, p, (), truth(p)) for n, p in enumerate(map(space.point, rows))]


def seconds(model: CostModel, space: Space, backbone: str, size: int) -> float:
    row = space.coordinates([{"backbone": backbone, "image_size": size, "lr": 1e-3}])
    return float(np.exp(model.log_seconds(row)[0]))


def test_without_a_measurement_it_is_the_prediction(space: Space) -> None:
    assert seconds(CostModel(space, [], truth), space, "large", 256) == pytest.approx(64)
    assert seconds(CostModel(space, []), space, "large", 256) == 1


def test_it_learns_the_settings_from_a_dozen_trials(space: Space) -> None:
    model = CostModel(space, timed(space, 12))
    for backbone, size in (("small", 128), ("large", 128), ("small", 256), ("large", 256)):
        right = truth({"backbone": backbone, "image_size": size})
        assert seconds(model, space, backbone, size) == pytest.approx(right, rel=0.15)


def test_one_trial_corrects_the_level_of_a_prediction(space: Space) -> None:
    model = CostModel(space, timed(space, 1), lambda point: truth(point) / 3)
    assert seconds(model, space, "large", 256) == pytest.approx(64, rel=0.01)
    assert seconds(model, space, "small", 128) == pytest.approx(2, rel=0.01)


def test_a_trial_beside_another_job_hardly_counts(space: Space) -> None:
    trials = timed(space, 16)
    slow = Observation(16, TrialState.COMPLETE, trials[0].point, (), 20 * truth(trials[0].point))
    model = CostModel(space, [*trials, slow])
    assert seconds(model, space, "small", 128) == pytest.approx(2, rel=0.3)
