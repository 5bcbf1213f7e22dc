"""A metric as a weighted mean of what each validation image scores: what can be resampled image by image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from sweeper.predictions import Predictions

_PER_IMAGE: Final = ("top1", "top5", "val_loss")
_GROUPS: Final = {"recall_head": 0, "recall_middle": 1, "recall_tail": 2}
_PER_CLASS: Final = ("balanced_accuracy", "balanced_accuracy_adjusted", *_GROUPS)
_TOP: Final = 5


@dataclass(frozen=True, eq=False)
class ImageScores:
    """What each of N images scores, and how the scores are averaged."""

    values: npt.NDArray[np.float32]
    """(N,)."""
    labels: npt.NDArray[np.int64]
    """(N,)."""
    classes: npt.NDArray[np.bool_] | None
    """(C,): the classes over whose means the mean is taken; None takes it over the images."""

    def weights(self, counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Returns the weight of each image (N,) in a resample that has it `counts` (N,) times; they add up to 1.

        A class that a resample has no image of is left out of its mean.
        """
        if self.classes is None:
            return np.asarray(counts / int(np.sum(counts)), dtype=np.float32)
        of_class = np.bincount(self.labels, counts, minlength=len(self.classes)) * self.classes
        weights = np.zeros(len(self.classes))
        np.divide(1.0, of_class, out=weights, where=of_class > 0)
        present = max(1, int(np.count_nonzero(of_class)))
        return np.asarray(counts * weights[self.labels] / present, dtype=np.float32)

    @property
    def mean(self) -> float:
        """The metric itself."""
        return float(self.weights(np.ones(len(self.labels), np.int64)).astype(np.float64) @ self.values)


def image_scores(metric: str, said: Predictions) -> ImageScores | None:
    """Returns what each image scores.

    Args:
        metric: one of `METRICS`.
        said: what a trial said of the images.

    Returns:
        None where the metric is no mean over images or classes (macro F1, the costs).
    """
    if metric in _PER_IMAGE:
        return ImageScores(_per_image(metric, said), said.labels, None)
    if metric not in _PER_CLASS:
        return None
    classes = said.groups[_GROUPS[metric]] if metric in _GROUPS else np.ones(len(said.info.classes), bool)
    guesses = _adjusted(said) if metric == "balanced_accuracy_adjusted" else said.guesses
    return ImageScores((guesses == said.labels).astype(np.float32), said.labels, classes)


def _per_image(metric: str, said: Predictions) -> npt.NDArray[np.float32]:
    if metric == "top1":
        return np.asarray(said.guesses == said.labels, dtype=np.float32)
    rows = np.arange(len(said.labels))
    if metric == "val_loss":
        return -said.log_probabilities[rows, said.labels]
    better = (said.logits > said.logits[rows, said.labels][:, None]).sum(axis=1)
    return np.asarray(better < _TOP, dtype=np.float32)


def _adjusted(said: Predictions) -> npt.NDArray[np.int64]:
    """Returns the guesses with the trial's post-hoc logit adjustment."""
    tau = said.info.tau or 0.0
    guesses: npt.NDArray[np.int64] = (said.logits - tau * np.log(said.class_shares)).argmax(axis=1)
    return guesses
