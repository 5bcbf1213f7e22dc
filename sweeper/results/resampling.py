"""The bootstrap over images: what a metric would have been on other images of the same kind."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from sweeper.results.scores import ImageScores

RESAMPLES: Final = 1000
LEVEL: Final = 0.95
"""Of an interval. A trial is level with the best where the interval of their difference, too, reaches 0."""
_CHUNK: Final = 2**22
"""Numbers of resampled weights that are in memory at once."""

Values = npt.NDArray[np.float64]


def interval_of(values: Values) -> Values:
    """Returns the lower and upper edges, (2, ...), of resampled values (resamples, ...)."""
    edges = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    return np.asarray(np.quantile(values, edges, axis=0), dtype=np.float64)


def resampled(scores: ImageScores, values: npt.NDArray[np.floating]) -> Values:
    """Returns the metric on resampled images, (resamples, trials), the same images for all trials.

    Args:
        scores: says which images they are and how they are averaged.
        values: (trials, images): the score of each image.
    """
    rng = np.random.default_rng(0)
    images = values.shape[1]
    chunk = max(1, _CHUNK // images)
    parts = []
    for start in range(0, RESAMPLES, chunk):
        draws = rng.integers(0, images, (min(chunk, RESAMPLES - start), images))
        counts = np.stack([np.bincount(one, minlength=images) for one in draws])
        parts.append(np.stack([scores.weights(one) for one in counts]) @ values.T)
    return np.concatenate(parts)
