"""What more trials would likely gain, from the values of those that are finished."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

LEAST_TRIALS: Final = 8
"""Fewer say nothing about the best of many."""
_TAIL: Final = 4
"""One trial in so many counts as a good one."""


def gain_of_draws(values: Sequence[float], *, draws: int) -> float | None:
    """Returns by how much the best of `draws` more is expected to beat the best so far; None for too few values.

    The best quarter of the values is taken for draws from an exponential tail above a threshold, whose mean excess
    theta is estimated (peaks over threshold: Pickands 1975; the exponential is the tail without an upper end, so the
    figure is rather too high for an accuracy, which has one). A new trial then beats the best by a chance q, and the
    best of n more by theta times the sum over j = 1 .. n of (1 - (1 - q)^j) / j on average. New trials are taken to
    be as good as earlier ones: a sampler that learns does better.

    Args:
        values: of the finished trials, each at its best epoch; larger is better.
        draws: how many more.
    """
    finite = sorted((value for value in values if math.isfinite(value)), reverse=True)
    if len(finite) < LEAST_TRIALS:
        return None
    good = max(2, len(finite) // _TAIL)
    threshold = finite[good]
    theta = sum(value - threshold for value in finite[:good]) / good
    if theta <= 0.0:
        return 0.0
    chance = good / len(finite) * math.exp(-(finite[0] - threshold) / theta)
    return theta * sum((1.0 - (1.0 - chance) ** j) / j for j in range(1, draws + 1))
