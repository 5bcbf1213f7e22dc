"""What is known before the first trial helps where it is right, and is forgotten where it is wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from sweeper.records import ParamValue, TrialState
from sweeper.search import Advice, EarlierSweep, EarlierTrial
from sweeper.search.curves import CurveSearch
from sweeper.search.curves.observation import Observation
from sweeper.spec import SweepSpec

Toy = Callable[[Mapping[str, ParamValue]], float]

SEEDS = range(2)


def bowl(*centre: float) -> Toy:
    """A function of three parameters in [0, 0.9] whose best value, 0, is at the centre."""

    def value(point: Mapping[str, ParamValue]) -> float:
        found = np.array([float(point[name] or 0.0) for name in ("drop_path", "label_smoothing", "augment.erase")])
        return -float(((found - np.array(centre)) ** 2).sum())

    return value


GOAL = bowl(0.6, 0.2, 0.7)


def regrets(advice: Advice, *, trials: int = 14) -> NDArray[np.float64]:
    """Returns the regret after each trial, averaged over seeds."""
    averaged: NDArray[np.float64] = np.mean([sweep(seed, advice, trials) for seed in SEEDS], axis=0)
    return averaged


def sweep(seed: int, advice: Advice, trials: int) -> list[float]:
    spec = SweepSpec.model_validate(
        {
            "name": "s", "data": {"source": "digits"}, "backbone": "vit", "train": {"epochs": 1}, "seed": seed,
            "space": {name: {"uniform": [0.0, 0.9]} for name in ("drop_path", "label_smoothing", "augment.erase")},
            "search": {"trials": trials, "cost_aware": False},
        }
    )  # fmt: skip
    search = CurveSearch(spec, advice)
    seen: list[Observation] = []
    for number in range(trials):
        point = search.suggest(number, seen, {})
        seen.append(Observation(number, TrialState.COMPLETE, point, ((1, GOAL(point)),)))
    values = [trial.reports[0][1] for trial in seen]
    return [-max(values[: number + 1]) for number in range(trials)]


def belief(toy: Toy) -> Advice:
    """Believes in a normal distribution about the best point of a toy, 15 % of it spread evenly."""
    return Advice(log_prior=lambda point: math.log(0.15 + 0.85 * 20 * math.exp(12.5 * toy(point))))


def earlier(toy: Toy, weight: float) -> Advice:
    rng = np.random.default_rng(0)
    points = [dict(zip(("drop_path", "label_smoothing", "augment.erase"), row.tolist(), strict=True)) for row in rng.uniform(0, 0.9, (20, 3))]  # fmt: skip
    trials = tuple(EarlierTrial(params=point, reports=((1.0, 3 * toy(point) + 1),)) for point in points)
    return Advice(earlier=(EarlierSweep(name="old", weight=weight, trials=trials),))


def test_a_good_prior_helps_early_and_a_misleading_one_is_forgotten() -> None:
    cold, good, bad = (
        regrets(advice, trials=24) for advice in (Advice(), belief(bowl(0.55, 0.25, 0.65)), belief(bowl(0.1, 0.8, 0.1)))
    )
    assert good[:6].mean() < 0.8 * cold[:6].mean()
    assert bad[5] > 2 * good[5]
    assert bad[-1] < cold[-1] + 0.005


def test_a_related_sweep_helps_and_an_unrelated_one_does_no_harm_in_the_end() -> None:
    cold = regrets(Advice())
    related, unrelated = (regrets(earlier(toy, 0.35)) for toy in (bowl(0.5, 0.25, 0.6), bowl(0.1, 0.8, 0.1)))
    assert related[:6].mean() < 0.7 * cold[:6].mean()
    assert related[-1] <= cold[-1] + 0.005
    assert unrelated[-1] < cold[-1] + 0.03
