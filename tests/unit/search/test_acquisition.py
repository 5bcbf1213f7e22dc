"""Which candidate is taken, against what can be found by looking everywhere."""

from __future__ import annotations

import numpy as np
import pytest

from sweeper.records import TrialState
from sweeper.search.curves.acquisition import around, best_candidate, log_improvement
from sweeper.search.curves.model import CurveModel
from sweeper.search.curves.observation import Horizon, Observation
from sweeper.search.curves.space import Floats, Space
from sweeper.spec import SweepSpec

NAMES = ("lr", "layer_decay", "label_smoothing", "dropout", "mixup", "cutmix")
SPEC = SweepSpec.model_validate({
    "name": "s", "data": {"source": "digits"}, "backbone": "vit", "train": {"epochs": 9},
    "space": {name: {"uniform": [0.0, 1.0]} for name in NAMES}, "search": {"trials": 30, "stop": "asha"},
})  # fmt: skip
SPACE = Space(SPEC)
CORNERS: Floats = np.stack(np.meshgrid(*[[0.0, 1.0]] * len(NAMES)), axis=-1).reshape(-1, len(NAMES))


def model_of(rng: np.random.Generator) -> CurveModel:
    """Two dozen random points of a function that is highest in a corner."""
    rows = rng.random((24, len(NAMES)))
    values = rows @ np.array([1, -1, 1, -1, 1, -1]) - (rows[:, 0] - rows[:, 1]) ** 2
    seen = [
        Observation(number, TrialState.COMPLETE, SPACE.point(row), ((9, float(value)),))
        for number, (row, value) in enumerate(zip(rows, values, strict=True))
    ]
    return CurveModel(SPACE, Horizon(SPEC), seen, (), rng)


@pytest.mark.parametrize("seed", range(4))
def test_no_corner_and_none_of_twenty_thousand_points_is_better(seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = model_of(rng)
    best = best_candidate(SPACE, model, {}, lambda rows: np.zeros(len(rows)), rng)
    others = np.concatenate([CORNERS, rng.random((20_000, len(NAMES)))])
    assert log_improvement(model, best[None])[0] > log_improvement(model, others).max()


def test_one_number_in_twenty_goes_to_the_nearer_end_and_the_others_stay_near() -> None:
    centre = np.array([[0.3, 0.3, 0.3, 0.7, 0.7, 0.7]])
    drawn = around(SPACE, centre, 2000, (0.005, 0.02), np.random.default_rng(0))
    at_an_end = drawn == np.round(centre)
    assert at_an_end.mean() == pytest.approx(0.05, abs=0.01)
    assert np.abs(drawn - centre)[~at_an_end].max() < 0.15
