"""Which of many candidates is worth a trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from sweeper.records import ParamValue
from sweeper.search.curves.model import CurveModel
from sweeper.search.curves.space import Floats, Space

_UNIFORM: Final = 400
_LOCAL: Final = 150
_TOP: Final = 5
# How far candidates lie from the points they are drawn around: standard deviations in the unit cube, from and to.
_WIDE: Final = (0.02, 0.25)
_NARROW: Final = (0.005, 0.1)
_LOG_2PI: Final = float(np.log(2 * np.pi))

Weigh = Callable[[Floats], Floats]
"""What is added to the log of expected improvement, [candidates, parameters] -> [candidates]."""


def best_candidate(
    space: Space, model: CurveModel, given: Mapping[str, ParamValue], weigh: Weigh, rng: np.random.Generator
) -> Floats:
    """Returns the candidate with the highest log expected improvement plus weight, [parameters].

    Candidates are drawn over the whole space and around the points of which most is expected; then around
    the best of these.
    """
    wide = np.concatenate([rng.random((_UNIFORM, len(space.axes))), around(space, model.top(_TOP), _LOCAL, _WIDE, rng)])
    candidates = space.settled(wide, given)
    scores = log_improvement(model, candidates) + weigh(candidates)
    best = candidates[np.argsort(-scores, kind="stable")[:_TOP]]
    near = space.settled(around(space, best, _LOCAL, _NARROW, rng), given)
    candidates = np.concatenate([candidates, near])
    scores = np.concatenate([scores, log_improvement(model, near) + weigh(near)])
    winner: Floats = candidates[int(np.argmax(scores))]
    return winner


def around(space: Space, centres: Floats, count: int, reach: tuple[float, float], rng: np.random.Generator) -> Floats:
    """Returns draws about the centres, [count, parameters]: half move everything, half a third of the parameters."""
    if not len(centres):
        return rng.random((0, len(space.axes)))
    rows = centres[rng.integers(len(centres), size=count)]
    # What does not apply at the centre may apply beside it.
    rows = np.where(np.isnan(rows), rng.random(rows.shape), rows)
    sigma = np.exp(rng.uniform(np.log(reach[0]), np.log(reach[1]), size=(count, 1)))
    moved = (rng.random(rows.shape) < 0.35) | (np.arange(count) % 2 == 0)[:, None]
    near = np.clip(rows + sigma * rng.standard_normal(rows.shape), 0, 1)
    redrawn = rng.random(rows.shape) < 0.2
    unordered = np.array([axis.options is not None for axis in space.axes])
    anew = np.where(redrawn, rng.random(rows.shape), rows)
    return np.where(unordered, anew, np.where(moved, near, rows))


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
