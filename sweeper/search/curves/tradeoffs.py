"""Several objectives and constraints as one number a report, so that one search serves them all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sweeper.records import METRICS
from sweeper.search.curves.observation import Observation
from sweeper.spec.sweep import SweepSpec

_AUGMENT: Final = 0.05
"""Share of the weighted sum in the Chebyshev value: between two that are equal at their worst, it decides."""

_Floats = NDArray[np.float64]


def weighed(spec: SweepSpec, number: int, seen: Sequence[Observation]) -> Sequence[Observation]:
    """Returns the trials with reports that say what each is worth to the search for trial `number`.

    With one objective and no constraint nothing changes. With several, each trial draws weights of its own, from
    the sweep's seed and its number, and looks for the best augmented Chebyshev value under them, over the ranges
    of the best trade-offs so far (ParEGO, Knowles 2006): trials together cover the front. A report that breaks a
    constraint is worth less than all that keep to them, the less the more it breaks them (Deb 2000).

    Args:
        spec: the sweep.
        number: of the trial that a point is looked for.
        seen: the other trials, with the metrics of their epochs.
    """
    search = spec.search
    places = [(trial, epoch) for trial in seen for epoch, _ in trial.reports]
    if not places or not (search.also or search.constraints):
        return seen
    metrics = [trial.metrics.get(epoch, {}) for trial, epoch in places]
    worth = np.array([value for trial in seen for _, value in trial.reports])
    if search.also:
        others = [[_gain(one, name) for name in search.also] for one in metrics]
        values = np.column_stack([worth, np.array(others)])
        ends = _best_rows([trial.number for trial, _ in places], worth)
        weights = np.random.default_rng([spec.seed, number, len(search.also)]).dirichlet(np.ones(values.shape[1]))
        worth = _chebyshev(values, values[ends], weights)
    bounds = search.constraints.items()
    excess = np.array([sum(bound.excess(_number(one, name)) for name, bound in bounds) for one in metrics])
    found = iter(_penalised(worth, excess).tolist())
    return [replace(trial, reports=tuple((epoch, next(found)) for epoch, _ in trial.reports)) for trial in seen]


def _chebyshev(values: _Floats, ends: _Floats, weights: _Floats) -> _Floats:
    """Returns the augmented Chebyshev value of each row, larger is better, [rows].

    Args:
        values: [rows, objectives], larger is better.
        ends: [trials, objectives], what each trial came to; its best trade-offs give the ranges.
        weights: [objectives], of sum 1.
    """
    front = ends[[not any(_dominates(other, end) for other in ends) for end in ends]]
    reference = front if len(front) > 1 else ends
    best, worst = reference.max(axis=0), reference.min(axis=0)
    span = np.where(best > worst, best - worst, 1.0)
    short = weights * (best - values) / span
    worth: _Floats = -(short.max(axis=1) + _AUGMENT * short.sum(axis=1))
    return worth


def _penalised(worth: _Floats, excess: _Floats) -> _Floats:
    breaks = excess > 0.0
    if not breaks.any():
        return worth
    keeping = worth[~breaks] if not breaks.all() else worth
    spread = float(np.ptp(keeping)) or 1.0
    return np.where(breaks, keeping.min() - spread * (0.5 + excess), worth)


def _best_rows(trials: list[int], worth: _Floats) -> list[int]:
    """Returns for each trial the row with its best worth, the earliest among equals."""
    best: dict[int, int] = {}
    for row, trial in enumerate(trials):
        if trial not in best or worth[row] > worth[best[trial]]:
            best[trial] = row
    return list(best.values())


def _dominates(a: _Floats, b: _Floats) -> bool:
    return bool((a >= b).all() and (a > b).any())


def _gain(metrics: Mapping[str, Any], name: str) -> float:
    """Returns a metric as a number that is better when larger; of costs the ratios count. Unknown is 0."""
    value, metric = _number(metrics, name), METRICS[name]
    if not math.isfinite(value):
        return 0.0
    if metric.is_cost:
        return -math.log(max(value, 1e-9))
    return value if metric.higher_is_better else -value


def _number(metrics: Mapping[str, Any], name: str) -> float:
    value = metrics.get(name)
    return math.nan if value is None else float(value)
