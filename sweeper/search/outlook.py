"""What more trials would likely gain, from the values of those that are finished."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

LEAST_TRIALS: Final = 8
"""Fewer say nothing about the best of many."""
_TAIL: Final = 3
"""Trials that stand for the tail. Over 12, 40 and 100 draws of normal, exponential, beta and uniform variables the gain
expected from 3 is .5 to 3 times the true one; from a quarter of the draws it is up to 50 times as much."""


def gain_of_draws(values: Sequence[float], *, draws: int) -> float | None:
    """Returns by how much the best of `draws` more is expected to beat the best so far; None for too few values.

    The best three values are taken for an exponential tail above the fourth, with their mean excess theta (peaks over
    threshold: Pickands 1975). A new trial then beats the best with a chance q, and the best of n more beats it by
    theta times the sum over j = 1 .. n of (1 - (1 - q)^j) / j on average. New trials are taken to be as good as
    earlier ones: a sampler that learns does better.

    Args:
        values: of the finished trials, each at its best epoch; larger is better.
        draws: how many more.
    """
    finite = sorted((value for value in values if math.isfinite(value)), reverse=True)
    if len(finite) < LEAST_TRIALS:
        return None
    threshold = finite[_TAIL]
    theta = sum(value - threshold for value in finite[:_TAIL]) / _TAIL
    if theta <= 0.0:
        return 0.0
    chance = _TAIL / len(finite) * math.exp(-(finite[0] - threshold) / theta)
    return theta * sum((1.0 - (1.0 - chance) ** j) / j for j in range(1, draws + 1))
