"""Which point comes next, on made-up histories."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from sweeper.records import ParamValue, TrialState
from sweeper.search.advice import Advice, EarlierSweep, EarlierTrial, Point
from sweeper.search.curves.observation import Horizon, Observation, rows_of, standardised
from sweeper.search.curves.search import CurveSearch, startup_trials
from sweeper.spec import SweepSpec

SPACE: dict[str, Any] = {"lr": {"log": [1e-4, 1e-1]}, "layer_decay": {"uniform": [0.0, 1.0]}}
BACKBONES = {"backbone": {"choice": ["small", "large", "broken"]}}
COMPLETE, STOPPED, FAILED, RUNNING = TrialState.COMPLETE, TrialState.STOPPED, TrialState.FAILED, TrialState.RUNNING
Value = Callable[[Point], float]


def make_spec(trials: int = 30, space: dict[str, Any] = SPACE, epochs: int = 18, **search: Any) -> SweepSpec:
    return SweepSpec.model_validate(
        {
            "name": "s",
            "data": {"source": "digits"},
            "backbone": None if "backbone" in space else "vit",
            "train": {"epochs": epochs},
            "space": space,
            "search": {"trials": trials, "stop": {"asha": {"grace_epochs": 2, "reduction": 3}}, **search},
        }
    )


def height(point: Point) -> float:
    """Best at lr 1e-2 and layer_decay 0.7."""
    return 1 - (math.log10(float(point["lr"] or 0)) + 2) ** 2 - (float(point["layer_decay"] or 0) - 0.7) ** 2


def seen(
    number: int, point: Point, end: float, state: TrialState = COMPLETE, epochs: int = 18, **more: Any
) -> Observation:
    reports = tuple((epoch, end - 1 / epoch) for epoch in range(1, epochs + 1))
    return Observation(number, state, point, reports, **more)


def play(
    spec: SweepSpec, value: Value, advice: Advice | None = None, seconds: Value | None = None
) -> list[Observation]:
    """A whole sweep without a stop rule, one trial after another."""
    search, trials = CurveSearch(spec, advice or Advice()), list[Observation]()
    for number in range(spec.search.trials):
        point = search.space.point(search.space.coordinates([_unscoped(search.suggest(number, trials, {}))])[0])
        trials.append(seen(number, point, value(point)))
    return trials


def _unscoped(values: dict[str, ParamValue]) -> dict[str, ParamValue]:
    return {name.split("@")[0]: value for name, value in values.items()}


def history(spec: SweepSpec, count: int, value: Value = height) -> list[Observation]:
    space = CurveSearch(spec, Advice()).space
    rows = space.settled(np.random.default_rng(0).random((count, len(space.axes))))
    return [seen(number, point, value(point)) for number, point in enumerate(map(space.point, rows))]


def test_it_comes_near_the_best_point_soon() -> None:
    best = max(play(make_spec(trials=25), height), key=lambda trial: height(trial.point))
    assert height(best.point) > 0.99


def test_it_goes_into_a_corner_at_once_where_the_best_point_is_one() -> None:
    names = ("lr", "layer_decay", "label_smoothing", "dropout", "mixup", "cutmix")
    spec = make_spec(trials=30, space={name: {"uniform": [0.0, 1.0]} for name in names})
    trials = play(spec, lambda point: sum(float(value or 0) for value in point.values()))
    soon = trials[: startup_trials(spec) + 4]
    assert max(min(float(value or 0) for value in trial.point.values()) for trial in soon) == 1


def test_no_point_is_tried_twice_while_another_is_left() -> None:
    spec = make_spec(trials=400, space={"lr": {"choice": [0.1, 0.2, 0.3]}, "layer_decay": {"int": [1, 4]}})
    search = CurveSearch(spec, Advice())
    space = [{"lr": lr, "layer_decay": decay} for lr in (0.1, 0.2, 0.3) for decay in (1, 2, 3, 4)]
    trials = [seen(number, point, float(point["lr"])) for number, point in enumerate(space) if number != 2]
    trials += [dataclasses.replace(trial, number=20 + trial.number) for trial in trials]
    assert search.suggest(50, trials, {}) == space[2]
    trials.append(seen(2, space[2], 0.1))
    assert search.suggest(50, trials, {})["lr"] == 0.3


def test_it_starts_with_a_sequence_that_covers_the_space() -> None:
    points = [trial.point for trial in play(make_spec(trials=24), height)[:8]]
    assert len({int(float(p["layer_decay"] or 0) * 8) for p in points}) >= 7
    assert sum(float(p["lr"] or 0) < 10**-2.5 for p in points) == 4


def test_a_short_sweep_starts_with_a_third_of_its_trials() -> None:
    trials = play(make_spec(trials=6), height)
    after = max(trials[2:], key=lambda trial: height(trial.point))
    assert height(after.point) > max(height(trial.point) for trial in trials[:2])


def test_stopped_trials_teach_too() -> None:
    spec = make_spec()
    stopped = [seen(t.number, t.point, height(t.point), STOPPED, epochs=2) for t in history(spec, 20)]
    point = CurveSearch(spec, Advice()).suggest(20, stopped, {})
    assert height(point) > np.quantile([height(trial.point) for trial in stopped], 0.6)


def test_a_region_that_fails_is_left_alone() -> None:
    spec = make_spec(trials=60)
    trials = [
        Observation(t.number, FAILED, t.point, ()) if float(t.point["layer_decay"] or 0) > 0.5 else t
        for t in history(spec, 30)
    ]
    points = [CurveSearch(spec, Advice()).suggest(number, trials, {}) for number in range(30, 40)]
    assert sum(float(p["layer_decay"] or 0) > 0.6 for p in points) <= 2


def test_workers_beside_each_other_spread_out() -> None:
    spec = make_spec()
    search, trials = CurveSearch(spec, Advice()), history(spec, 11)

    def spread(told: bool) -> float:
        known, asked = list(trials), list[Any]()
        for number in range(11, 16):
            point = search.suggest(number, known, {})
            asked.append(search.space.coordinates([point])[0])
            if told:
                known.append(Observation(number, RUNNING, point, ()))
        return float(np.mean([np.abs(a - b).max() for i, a in enumerate(asked) for b in asked[:i]]))

    assert spread(told=True) > 1.5 * spread(told=False)


def test_values_given_in_advance_are_kept_and_the_rest_fits_them() -> None:
    spec = make_spec()
    point = CurveSearch(spec, Advice()).suggest(30, history(spec, 30), {"lr": 1e-4})
    assert point["lr"] == pytest.approx(1e-4)


@pytest.mark.parametrize("count", [12, 300])
def test_equal_values_are_no_trouble(count: int) -> None:
    spec = make_spec(trials=400)
    assert CurveSearch(spec, Advice()).suggest(count, history(spec, count, lambda _: 0.5), {})


def test_only_failures_are_no_trouble() -> None:
    spec = make_spec()
    trials = [Observation(t.number, FAILED, t.point, ()) for t in history(spec, 20)]
    assert CurveSearch(spec, Advice()).suggest(20, trials, {})


def test_parameters_of_one_value_are_no_trouble() -> None:
    spec = make_spec(space={**SPACE, "ema": {"fixed": 0.99}, "augment.policy": {"choice": ["3a"]}})
    point = CurveSearch(spec, Advice()).suggest(20, history(spec, 20), {})
    assert (point["ema"], point["augment.policy"]) == (0.99, "3a")


def test_of_many_rows_the_latest_in_training_are_kept() -> None:
    spec = make_spec(trials=1000)
    trials = [seen(t.number, t.point, height(t.point), STOPPED, epochs=2) for t in history(spec, 700)]
    trials += [seen(t.number + 700, t.point, height(t.point)) for t in history(spec, 50)]
    index, progress, y, _ = rows_of(Horizon(spec), trials)
    assert len(index) == len(y) == 600
    assert sum(progress == 1) == 50
    assert min(index) == 250  # 450 of the 750 first-rung rows, the youngest trials'
    assert CurveSearch(spec, Advice()).suggest(750, trials, {})


def test_only_rungs_and_last_epochs_are_rows_each_the_best_so_far() -> None:
    horizon = Horizon(make_spec(epochs=18))
    trial = Observation(0, STOPPED, {}, ((1, 0.3), (2, 0.5), (3, 0.9), (4, 0.1)))
    found = dict(horizon.reports(trial))
    assert list(found.values()) == [0.5, 0.9]
    assert list(found) == pytest.approx([np.log(2) / np.log(18), np.log(4) / np.log(18)])


def test_progress_is_a_share_of_the_trials_own_epochs() -> None:
    horizon = Horizon(make_spec(space={**SPACE, "epochs": {"choice": [6, 36]}}))
    short = Observation(0, COMPLETE, {"epochs": 6}, ((6, 0.5),))
    long = Observation(1, RUNNING, {"epochs": 36}, ((6, 0.5),))
    assert horizon.reports(short)[0][0] == 1
    assert horizon.reports(long)[0][0] == pytest.approx(1 - np.log(6) / np.log(36))


def test_a_failure_is_the_worst_value_seen_where_it_failed() -> None:
    horizon = Horizon(make_spec(epochs=18))
    trials = [seen(0, {}, 0.9), seen(1, {}, 0.8), Observation(2, FAILED, {}, ((1, 0.99),))]
    index, progress, y, _ = rows_of(horizon, trials)
    failed = index.index(2)
    assert (progress[failed], y[failed]) == (0, y.min())


def test_very_bad_values_are_drawn_in() -> None:
    y, scale = standardised(np.array([0.5, 0.6, 0.7, 0.8, -1e9]))
    assert y.min() > -3
    assert scale.to_objective(y[3]) == pytest.approx(0.8)


def test_it_computes_on_one_core() -> None:
    found = list[int]()

    def count(_: Point) -> float:
        found.extend(library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas")
        return 0.0

    spec = make_spec()
    with threadpool_limits(limits=2, user_api="blas"):
        CurveSearch(spec, Advice(log_prior=count)).suggest(20, history(spec, 20), {})
    assert set(found) == {1}


def belief(point: Point) -> float:
    """Misleads: the best layer_decay is 0.7."""
    return -50 * (float(point["layer_decay"] or 0) - 0.1) ** 2


def test_a_belief_decides_while_little_is_known() -> None:
    spec = make_spec(trials=1000)
    search, trials = CurveSearch(spec, Advice(log_prior=belief)), history(spec, 16)
    asked = [float(search.suggest(number, trials, {})["layer_decay"] or 0) for number in range(16, 20)]
    assert max(asked) < 0.2


def test_a_belief_that_misleads_is_forgotten() -> None:
    trials = play(make_spec(trials=40), height, Advice(log_prior=belief))
    assert max(height(trial.point) for trial in trials) > 0.95


def test_an_earlier_sweep_like_this_one_shows_the_way_at_once() -> None:
    spec = make_spec()
    earlier = tuple(EarlierTrial(t.point, ((1.0, 100 * height(t.point)),)) for t in history(spec, 30))
    advice = Advice(earlier=(EarlierSweep("before", 0.9, earlier),))
    first = CurveSearch(spec, advice).suggest(0, [], {})
    assert height(first) > 0.8


def test_an_earlier_sweep_that_misleads_is_outvoted() -> None:
    spec = make_spec(trials=30)
    earlier = tuple(EarlierTrial(t.point, ((1.0, -height(t.point)),)) for t in history(spec, 100))
    trials = play(spec, height, Advice(earlier=(EarlierSweep("before", 0.4, earlier),)))
    assert height(trials[0].point) < -3
    assert max(height(trial.point) for trial in trials) > 0.9


def test_among_equals_the_cheap_one_is_tried() -> None:
    spec = make_spec(space={"backbone": {"choice": ["small", "large"]}, **SPACE})

    def tried(dear: str) -> set[ParamValue]:
        trials = [
            dataclasses.replace(t, seconds=8.0 if t.point["backbone"] == dear else 1.0)
            for t in history(spec, 12, lambda _: 0.5)
        ]
        return {CurveSearch(spec, Advice()).suggest(number, trials, {})["backbone"] for number in range(12, 20)}

    assert tried(dear="small") == {"large"}
    assert tried(dear="large") == {"small"}


def test_backbones_that_are_beaten_get_few_trials_and_are_named() -> None:
    def value(point: Point) -> float:
        return 0.5 + 0.1 * height(point) - {"small": 0.0, "large": 0.3, "broken": 0.5}[str(point["backbone"])]

    spec = make_spec(trials=36, space={**BACKBONES, **SPACE})
    trials = play(spec, value)
    assert sum(trial.point["backbone"] == "small" for trial in trials[10:]) >= 18
    beaten = {b.backbone: b for b in CurveSearch(spec, Advice()).given_up(trials, 1.0)}
    assert set(beaten) == {"large", "broken"}
    large = beaten["large"]
    assert large.trials == sum(trial.point["backbone"] == "large" for trial in trials)
    assert large.best <= large.reachable[1] < large.beaten_by
    assert large.sentence == (
        f"`large` was given up after {large.trials} trials: its best is {large.best:.4g}, more trials would have brought it "
        f"to {large.reachable[0]:.4g} to {large.reachable[1]:.4g} (95 % interval), and the best of the sweep is "
        f"{large.beaten_by:.4g}."
    )


def test_the_gain_that_is_left_shrinks() -> None:
    spec = make_spec(trials=40)
    search, trials = CurveSearch(spec, Advice()), play(spec, height)
    assert search.expected_gain(trials[:5]) is None
    early, late = search.expected_gain(trials[:14]), search.expected_gain(trials)
    assert early is not None
    assert late is not None
    assert 0 <= late < early / 5
