"""Which images of a split an epoch shows, and how often each class then comes."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from sweeper.spec.long_tail import Sampler

_POWERS: Final[dict[Sampler, float]] = {"natural": 1.0, "sqrt": 0.5, "balanced": 0.0}
"""A class is shown in proportion to this power of its size (sqrt: Mahajan et al. 2018; all: Kang et al. 2020)."""


def class_shares(counts: npt.NDArray[np.int64], sampler: Sampler) -> npt.NDArray[np.float64]:
    """Returns which share of an epoch's images is of each class, (C,); 0 for a class without images.

    Args:
        counts: (C,): images of each class in the split.
        sampler: how classes are chosen.
    """
    weights = np.zeros(len(counts))
    weights[counts > 0] = counts[counts > 0] ** _POWERS[sampler]
    weights /= weights.sum()
    return weights


def draw_order(labels: npt.NDArray[np.int64], sampler: Sampler, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Returns the images of an epoch, (N,), in the order in which they are shown; N is the size of the split.

    `natural` shows each image once. The others give each class its share, rounded at random so that it is met
    on average, and within a class every image comes once before one comes again.

    Args:
        labels: (N,): the class of each image.
        sampler: how classes are chosen.
        rng: where the randomness comes from.
    """
    if sampler == "natural":
        return rng.permutation(len(labels))
    shares = class_shares(np.bincount(labels), sampler)
    # One random offset for all classes: their quotas are whole, off by less than one, and add up to N.
    edges = np.floor(np.cumsum(shares) * len(labels) + rng.random()).astype(np.int64)
    edges[-1] = len(labels)
    quotas = np.diff(edges, prepend=0)
    drawn = [
        np.resize(rng.permutation(np.flatnonzero(labels == label)), quota)
        for label, quota in enumerate(quotas)
        if quota > 0
    ]
    return rng.permutation(np.concatenate(drawn))


def repeats(order: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Returns for each entry how often the same image stands before it, (N,)."""
    by_image = np.argsort(order, kind="stable")
    ranked = order[by_image]
    starts = np.flatnonzero(np.diff(ranked, prepend=-1))
    lengths = np.diff(starts, append=len(ranked))
    found = np.empty_like(order)
    found[by_image] = np.arange(len(order)) - np.repeat(starts, lengths)
    return found
