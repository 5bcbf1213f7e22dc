"""Which of many candidates is worth a trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from sweeper.records import ParamValue
from sweeper.search.curves.model import CurveModel
from sweeper.search.curves.space import Flags, Floats, Space

_UNIFORM: Final = 400
_LOCAL: Final = 150
_TOP: Final = 5
_ROUNDS: Final = 6
_TO_AN_END: Final = 0.05
_EQUAL: Final = 1e-6
_BEHIND_ALL: Final = 1e9
# How far candidates lie from the points they are drawn around: standard deviations in the unit cube, from and to.
_WIDE: Final = (0.02, 0.25)
_NARROW: Final = (0.005, 0.2)
_LOG_2PI: Final = float(np.log(2 * np.pi))

Weigh = Callable[[Floats], Floats]
"""What is added to the log of expected improvement, [candidates, parameters] -> [candidates]."""


def best_candidate(
    space: Space, model: CurveModel, given: Mapping[str, ParamValue], weigh: Weigh, rng: np.random.Generator
) -> Floats:
    """Returns the candidate with the highest log expected improvement plus weight, [parameters].

    Candidates are drawn over the whole space and around the points of which most is expected; then, in rounds,
    around the best candidates so far, so that their way leads uphill, as far as a corner of the space. A point that
    was tried is taken only where nothing else is left: all trials have one seed, so it would give what it gave.
    """

    def scored(drawn: Floats) -> tuple[Floats, Floats]:
        settled = space.settled(drawn, given)
        scores = log_improvement(model, settled) + weigh(settled)
        return settled, np.where(_equals_any(settled, model.points), scores - _BEHIND_ALL, scores)

    wide = around(space, model.top(_TOP), _LOCAL, _WIDE, rng)
    candidates, scores = scored(np.concatenate([rng.random((_UNIFORM, len(space.axes))), wide]))
    for _ in range(_ROUNDS):
        best = candidates[np.argsort(-scores, kind="stable")[:_TOP]]
        near, near_scores = scored(around(space, best, _LOCAL, _NARROW, rng))
        candidates, scores = np.concatenate([candidates, near]), np.concatenate([scores, near_scores])
    winner: Floats = candidates[int(np.argmax(scores))]
    return winner


def _equals_any(rows: Floats, points: Floats) -> Flags:
    """Returns whether each row is one of the points, [rows]; what applies to neither of two is equal."""
    known = np.nan_to_num(points, nan=-1.0)
    apart = np.abs(np.nan_to_num(rows, nan=-1.0)[:, None, :] - known[None, :, :])
    equal: Flags = np.any(np.all(apart < _EQUAL, axis=2), axis=1)
    return equal


def around(space: Space, centres: Floats, count: int, reach: tuple[float, float], rng: np.random.Generator) -> Floats:
    """Returns draws about the centres, [count, parameters]: half move everything, half a third of the parameters.

    One number in twenty goes to the nearer end of its range: the best value often is the end, and steps reach
    several ends at once too seldom.
    """
    if not len(centres):
        return rng.random((0, len(space.axes)))
    rows = centres[rng.integers(len(centres), size=count)]
    # What does not apply at the centre may apply beside it.
    rows = np.where(np.isnan(rows), rng.random(rows.shape), rows)
    sigma = np.exp(rng.uniform(np.log(reach[0]), np.log(reach[1]), size=(count, 1)))
    moved = (rng.random(rows.shape) < 0.35) | (np.arange(count) % 2 == 0)[:, None]
    near = np.clip(np.where(moved, rows + sigma * rng.standard_normal(rows.shape), rows), 0, 1)
    near = np.where(rng.random(rows.shape) < _TO_AN_END, np.round(near), near)
    redrawn = rng.random(rows.shape) < 0.2
    unordered = np.array([axis.options is not None for axis in space.axes])
    anew = np.where(redrawn, rng.random(rows.shape), rows)
    return np.where(unordered, anew, near)


def log_improvement(model: CurveModel, candidates: Floats) -> Floats:
    """Returns the log of expected improvement over the best end expected so far (Ament et al., 2023), [candidates].

    In logs, candidates that are all unlikely to improve still differ.
    """
    from scipy.special import log_ndtr  # takes long to import

    mean, deviation = model.end(candidates)
    z = (mean - model.best) / deviation
    log_density = -0.5 * z**2 - 0.5 * _LOG_2PI
    # E = deviation * density * (1 + z * cdf / density); far below the best the bracket is about 1 / z^2.
    ratio = np.exp(log_ndtr(z) - log_density)
    bracket = np.where(z > -20, 1 + z * ratio, 1 / np.maximum(z**2, 1.0))
    return np.log(deviation) + log_density + np.log(np.maximum(bracket, 1e-12))
