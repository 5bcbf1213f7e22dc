"""One temperature makes a model's probabilities mean what they say (Guo et al., "On Calibration", 2017)."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

Scores = npt.NDArray[np.float32]
"""(N, C): logits, or probabilities."""

_RANGE: Final = (0.05, 20.0)
"""Temperatures that are tried. Where every image is right the best one is 0, which would make all guesses certain."""
_BINS: Final = 15
"""As in Guo et al. 2017."""


class Calibration(BaseModel):
    """What a temperature does on the images it was found with."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    temperature: float
    """Logits are divided by it."""
    images: int
    """How many it was found with."""
    ece_before: float
    """Expected calibration error of the plain softmax, 0 to 1."""
    ece_after: float
    """With a temperature; each half of the images with the one found on the other half, so that it is no praise of
    itself."""
    nll_before: float
    """Mean negative log likelihood of the plain softmax, in nats."""
    nll_after: float
    """As `ece_after`."""


def calibrate(logits: Scores, labels: npt.NDArray[np.int64]) -> Calibration:
    """Finds the temperature that makes the labels most likely.

    Args:
        logits: (N, C), of images that the model was not trained on.
        labels: (N,).
    """
    order = np.random.default_rng(0).permutation(len(labels))
    halves = np.array_split(order, 2)
    crossed = np.array(logits, dtype=np.float64)
    for here, other in (halves, halves[::-1]):
        if len(other):
            crossed[here] /= _temperature(logits[other], labels[other])
    return Calibration(
        temperature=_temperature(logits, labels),
        images=len(labels),
        ece_before=expected_calibration_error(softmax(logits, axis=1), labels),
        ece_after=expected_calibration_error(softmax(crossed, axis=1), labels),
        nll_before=_nll(logits, labels),
        nll_after=_nll(crossed, labels),
    )


def expected_calibration_error(probabilities: npt.NDArray[np.floating], labels: npt.NDArray[np.int64]) -> float:
    """Returns the mean distance of confidence and accuracy over 15 bins of confidence, weighted by their images.

    Args:
        probabilities: (N, C).
        labels: (N,).
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * _BINS).astype(np.int64), _BINS - 1)
    gaps = np.bincount(bins, weights=right - confidence, minlength=_BINS)
    return float(np.abs(gaps).sum() / len(labels))


def _temperature(logits: Scores, labels: npt.NDArray[np.int64]) -> float:
    # Along the logarithm: halving and doubling are alike. Brent's method, as there is one number to find.
    low, high = (math.log(limit) for limit in _RANGE)
    found = minimize_scalar(lambda at: _nll(logits / math.exp(at), labels), bounds=(low, high), method="bounded")
    return float(math.exp(found.x))


def _nll(logits: npt.NDArray[np.floating], labels: npt.NDArray[np.int64]) -> float:
    return float(-log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(labels)), labels].mean())
