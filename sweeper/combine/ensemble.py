"""An ensemble, chosen greedily with replacement (Caruana et al., "Ensemble Selection", 2004)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax, logsumexp

from sweeper.combine.judging import Judge, saying
from sweeper.export.calibration import calibrate
from sweeper.predictions import Predictions

_MOST: Final = 10
"""Draws at most: a member more costs a model more, and the first few bring most."""

Shares = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Chosen:
    """The members and what they say together."""

    draws: tuple[int, ...]
    """Numbers of trials, in the order in which they were added; one may be there several times."""
    temperatures: dict[int, float]
    """By which each member's logits are divided before its probabilities are averaged."""
    said: Predictions

    @property
    def weights(self) -> dict[int, float]:
        """The share of each member."""
        return {number: count / len(self.draws) for number, count in Counter(self.draws).items()}


def choose_ensemble(candidates: Mapping[int, Predictions], judge: Judge) -> Chosen:
    """Begins with the trial that the choosing images like best, adds whichever improves the mean most, while one does.

    Each member is calibrated on the choosing images first, so that a model that is too sure does not outvote others.

    Args:
        candidates: what trials said of the same images, by number; at least one.
        judge: which images choose.
    """
    temperatures = {number: _temperature(said, judge) for number, said in candidates.items()}
    shares: dict[int, Shares] = {
        number: log_softmax(said.logits.astype(np.float64) / temperatures[number], axis=1)
        for number, said in candidates.items()
    }
    like = next(iter(candidates.values()))
    draws: tuple[int, ...] = ()
    best: tuple[float, float] | None = None
    while len(draws) < _MOST:
        found = {number: saying(_mean([*draws, number], shares), like) for number in candidates}
        # Of equally good ones the likelier: with few images many are equal.
        rated = {number: (judge.chooses(said), -judge.loss(said)) for number, said in found.items()}
        number = max(rated, key=lambda one: rated[one])
        if best is not None and rated[number][0] <= best[0]:
            break
        draws, best = (*draws, number), rated[number]
    return Chosen(draws, temperatures, saying(_mean(draws, shares), like))


def _mean(numbers: list[int] | tuple[int, ...], shares: Mapping[int, Shares]) -> Shares:
    """Returns the logarithm of the mean probabilities, (N, C)."""
    mean: Shares = logsumexp(np.stack([shares[number] for number in numbers]), axis=0) - np.log(len(numbers))
    return mean


def _temperature(said: Predictions, judge: Judge) -> float:
    rows = judge.choosing
    return calibrate(said.logits[rows].astype(np.float32), said.labels[rows]).temperature
