"""Half of the validation images choose, the other half judge: what is chosen by images looks too good on them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from sweeper.predictions import Predictions
from sweeper.records import METRICS
from sweeper.results import ImageScores, image_scores
from sweeper.results.resampling import interval_of, resampled

_FALLBACK: Final = "top1"


@dataclass(frozen=True, eq=False)
class Judge:
    """Compares what models say of the same validation images.

    Example::

        judge = Judge.of("top1", said)
        if judge.chooses(mixed) > judge.chooses(said):
            print(judge.gain(mixed, over=said))
    """

    metric: str
    choosing: npt.NDArray[np.int64]
    """Rows of the images that choose."""
    judging: npt.NDArray[np.int64]
    """Rows of the others."""

    @classmethod
    def of(cls, objective: str, said: Predictions) -> Judge:
        """Halves the images, each class by itself, the same way every time.

        Args:
            objective: of the sweep; where it is no mean over images or classes (macro F1), top-1 takes its place.
            said: what any model said of the images.
        """
        rng = np.random.default_rng(0)
        order = np.lexsort((rng.random(len(said.labels)), said.labels))
        metric = objective if image_scores(objective, said) is not None else _FALLBACK
        return cls(metric, np.sort(order[::2]), np.sort(order[1::2]))

    def chooses(self, said: Predictions) -> float:
        """Returns the metric on the images that choose, larger is better."""
        value = self._scores(said, self.choosing).mean
        return value if METRICS[self.metric].higher_is_better else -value

    def judges(self, said: Predictions) -> float:
        """Returns the metric on the images that judge, in its own sense."""
        return self._scores(said, self.judging).mean

    def gain(self, said: Predictions, *, over: Predictions) -> tuple[float, tuple[float, float]]:
        """Returns by how much the metric differs on the images that judge, with its paired interval of 95 %."""
        scores, others = self._scores(said, self.judging), self._scores(over, self.judging)
        values = resampled(scores, np.stack([scores.values, others.values]))
        low, high = interval_of(values[:, 0] - values[:, 1])
        return scores.mean - others.mean, (float(low), float(high))

    def helps(self, said: Predictions, *, over: Predictions) -> bool:
        """Whether it is better on the images that judge."""
        gain, _ = self.gain(said, over=over)
        return gain > 0.0 if METRICS[self.metric].higher_is_better else gain < 0.0

    def loss(self, said: Predictions) -> float:
        """Returns the mean negative log likelihood of the images that choose."""
        return -float(said.log_probabilities[self.choosing, said.labels[self.choosing]].mean())

    def _scores(self, said: Predictions, rows: npt.NDArray[np.int64]) -> ImageScores:
        part = replace(said, logits=said.logits[rows], labels=said.labels[rows], numbers=said.numbers[rows])
        scores = image_scores(self.metric, part)
        assert scores is not None  # settled by `of`
        return scores


def saying(log_shares: npt.NDArray[np.floating], like: Predictions) -> Predictions:
    """Returns predictions (N, C) of a model that is no trial, of the same images as another's."""
    logits = (log_shares - log_shares.max(axis=1, keepdims=True)).astype(np.float16)
    return replace(like, logits=logits)
