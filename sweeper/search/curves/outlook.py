"""What the model says of a sweep as a whole: what more trials would bring, and which backbones are beaten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from sweeper.search.curves.acquisition import around
from sweeper.search.curves.model import CurveModel
from sweeper.search.curves.observation import Observation
from sweeper.search.curves.space import Floats, Space

_UNIFORM: Final = 200
_LOCAL: Final = 100
_DRAWS: Final = 256
_INTERVAL: Final = (2.5, 97.5)


@dataclass(frozen=True)
class GivenUp:
    """A backbone that the search no longer expects the best trial of; values in the objective's own units."""

    backbone: str
    trials: int
    best: float
    """The best value that a trial of it has reported."""
    reachable: tuple[float, float]
    """95 % interval of the best that any trial of it would reach, as the model sees it."""
    beaten_by: float
    """The best value of the sweep."""

    @property
    def sentence(self) -> str:
        """Says so to whoever ran the sweep."""
        low, high = self.reachable
        return (
            f"`{self.backbone}` was given up after {self.trials} trial{'s' if self.trials > 1 else ''}: its best is "
            f"{self.best:.4g}, more trials would have brought it to {low:.4g} to {high:.4g} (95 % interval), and "
            f"the best of the sweep is {self.beaten_by:.4g}."
        )


def expected_gain(space: Space, model: CurveModel, rng: np.random.Generator) -> float:
    """Returns how much better than the best trial so far the best point of the space is expected to be.

    It is the regret left, in the objective's units: the mean over draws of the model of the best candidate's
    end minus the incumbent's.
    """
    incumbent = model.top(1)
    draws = model.draws(np.concatenate([incumbent, _candidates(space, model, {}, rng)]), _DRAWS, rng)
    return model.scale.spread * float((draws.max(axis=1) - draws[:, 0]).mean())


def given_up(
    space: Space, model: CurveModel, seen: Sequence[Observation], sign: float, rng: np.random.Generator
) -> tuple[GivenUp, ...]:
    """Returns the backbones that were tried and that could, with 97.5 % probability, not have the best trial.

    Args:
        space: the parameters.
        model: fitted to `seen`.
        seen: the sweep's trials.
        sign: 1 where a larger objective is better, -1 where a smaller one is.
    """
    best = {
        backbone: max(
            (value for t in seen if t.point.get("backbone") == backbone for _, value in t.reports), default=-np.inf
        )
        for backbone in _backbones(space)
    }
    leader = max(best.values(), default=-np.inf)
    found = []
    for backbone, own in best.items():
        if not np.isfinite(own):
            continue
        draws = model.draws(_candidates(space, model, {"backbone": backbone}, rng), _DRAWS, rng).max(axis=1)
        low, high = (max(own, model.scale.to_objective(y)) for y in np.percentile(draws, _INTERVAL))
        if high < leader:
            trials = sum(trial.point.get("backbone") == backbone for trial in seen)
            ends = (sign * low, sign * high)
            found.append(GivenUp(str(backbone), trials, sign * own, (min(ends), max(ends)), sign * leader))
    return tuple(found)


def _backbones(space: Space) -> tuple[str, ...]:
    choices = (axis.options for axis in space.axes if axis.name == "backbone")
    options = next(choices, None) or ()
    return tuple(str(option) for option in options) if len(options) > 1 else ()


def _candidates(space: Space, model: CurveModel, given: dict[str, str], rng: np.random.Generator) -> Floats:
    drawn = np.concatenate(
        [rng.random((_UNIFORM, len(space.axes))), around(space, model.top(5), _LOCAL, (0.02, 0.25), rng)]
    )
    return space.settled(drawn, given)
