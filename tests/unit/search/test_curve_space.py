"""Points as numbers and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sweeper.search.curves.space import Space
from sweeper.spec import SweepSpec

SPACE: dict[str, Any] = {
    "backbone": {"choice": ["vit", "davit", "maxvit"]},
    "lr": {"log": [1e-4, 1e-2]},
    "batch_size": {"log_int": [8, 64]},
    "freeze_depth": {"int": [0, 3]},
    "augment.policy": {"choice": ["none", "3a"]},
    "augment.mixup": {"uniform": [0.1, 0.8], "when": {"augment.policy": "3a"}},
    "ema": {"fixed": 0.99},
}
OVERRIDES = {"davit": {"space": {"lr": {"log": [1e-6, 1e-5]}, "augment.policy": {"choice": ["3a"]}}}}
DAVIT: dict[str, Any] = {"backbone": "davit", "lr": 2e-6, "batch_size": 64, "freeze_depth": 3, "augment.policy": "3a", "augment.mixup": 0.1, "ema": 0.99}  # fmt: skip
VIT: dict[str, Any] = {
    "backbone": "vit",
    "lr": 1e-2,
    "batch_size": 8,
    "freeze_depth": 0,
    "augment.policy": "none",
    "ema": 0.99,
}


@pytest.fixture(scope="module")
def space() -> Space:
    return Space(
        SweepSpec.model_validate({"name": "s", "data": {"source": "digits"}, "space": SPACE, "overrides": OVERRIDES})
    )


@pytest.mark.parametrize("point", [DAVIT, VIT])
def test_a_point_comes_back_as_it_was(space: Space, point: dict[str, Any]) -> None:
    assert space.point(space.coordinates([point])[0]) == pytest.approx(point)


def test_every_draw_is_a_point_that_can_be(space: Space) -> None:
    rows = space.settled(np.random.default_rng(0).random((300, len(space.axes))))
    seen = set()
    for point in map(space.point, rows):
        low, high = (1e-6, 1e-5) if point["backbone"] == "davit" else (1e-4, 1e-2)
        assert low <= float(point["lr"] or 0) <= high
        assert point["freeze_depth"] in range(4)
        assert point["batch_size"] in range(8, 65)
        assert ("augment.mixup" in point) == (point["augment.policy"] == "3a")
        assert point["augment.policy"] == "3a" or point["backbone"] != "davit"
        assert point["ema"] == 0.99
        seen.add((point["backbone"], point["freeze_depth"]))
    assert len(seen) == 12


def test_a_drawn_point_is_scored_as_it_will_be_run(space: Space) -> None:
    rows = space.settled(np.random.default_rng(1).random((50, len(space.axes))))
    again = space.coordinates([space.point(row) for row in rows])
    np.testing.assert_allclose(again, rows, atol=1e-9)


def test_values_given_in_advance_stay(space: Space) -> None:
    rows = space.settled(
        np.random.default_rng(0).random((40, len(space.axes))), {"backbone": "davit", "lr@davit": 3e-6}
    )
    for point in map(space.point, rows):
        assert point["backbone"] == "davit"
        assert point["lr"] == pytest.approx(3e-6)


def test_what_does_not_apply_makes_no_difference(space: Space) -> None:
    features = space.features(space.coordinates([VIT, {**VIT, "augment.mixup": 0.7}]))
    hidden = space.features(space.settled(np.nan_to_num(space.coordinates([VIT]), nan=0.9)))
    np.testing.assert_allclose(features[0], hidden[0])


def test_ranges_of_one_name_share_a_length_scale_and_no_column(space: Space) -> None:
    columns = space.features(space.coordinates([VIT, DAVIT]))
    assert len(space.groups) == columns.shape[1]
    names = [axis.scoped_name for axis in space.axes]
    assert {"lr", "lr@davit"} <= set(names)
    lr = space.groups[3]  # the three columns of the backbone come first
    assert (space.groups == lr).sum() == 2


def test_a_single_value_and_an_unknown_one_are_no_information(space: Space) -> None:
    row = space.coordinates([{"backbone": "vit", "lr": "fast", "batch_size": 16}])[0]
    known = {axis.scoped_name for axis, x in zip(space.axes, row, strict=True) if x == x}
    assert known == {"backbone", "batch_size"}
    assert np.isfinite(space.features(row[None])).all()
