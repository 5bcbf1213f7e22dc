"""The model of a sweep: where every point's learning curve would end, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sweeper.records import TrialState
from sweeper.search.advice import EarlierSweep
from sweeper.search.curves.gaussian_process import GaussianProcess, Rows, first_kernel, fit_kernel
from sweeper.search.curves.observation import Horizon, Observation, earlier_rows, rows_of, standardised
from sweeper.search.curves.space import Floats, Space

_FIT_ROWS: Final = 128
_FIT_STEPS: Final = 15


class CurveModel:
    """A Gaussian process over (point, log epoch), asked about the end of a full training.

    Every report of every trial at the rungs is a row, so that unfinished trials teach as well. It follows
    freeze-thaw and multi-task models (Swersky et al., 2013 and 2014) with one stationary kernel for both.
    """

    def __init__(
        self,
        space: Space,
        horizon: Horizon,
        seen: Sequence[Observation],
        earlier: Sequence[EarlierSweep],
        rng: np.random.Generator,
    ) -> None:
        """Fits the model.

        Args:
            space: the parameters.
            horizon: which epochs count.
            seen: this sweep's trials that have a point.
            earlier: other sweeps.
            rng: chooses the rows that the length scales are fitted to, where there are many.
        """
        self._space = space
        self.points: Final = space.coordinates([trial.point for trial in seen])
        """[trials, parameters] of this sweep."""
        others = [earlier_rows(horizon, sweep) for sweep in earlier]
        spreads = [float(values.std()) for _, _, values in others if len(values)]
        index, progress, y, self.scale = rows_of(horizon, seen, float(np.mean(spreads)) if spreads else None)
        features = space.features(self.points)
        blocks, ys = [self._rows(features[index], progress, 0)], [y]
        for task, (points, earlier_progress, values) in enumerate(others, start=1):
            blocks.append(self._rows(space.features(space.coordinates(points)), earlier_progress, task))
            ys.append(standardised(values)[0])
        rows, y = Rows.joined(blocks), np.concatenate(ys)
        kernel = first_kernel(np.append(space.groups, space.groups.max(initial=-1) + 1), _likeness(earlier))
        if len(y):
            some = np.sort(rng.permutation(len(y))[:_FIT_ROWS])
            kernel = fit_kernel(kernel, rows.take(some), y[some], steps=_FIT_STEPS)
        process = GaussianProcess(kernel, rows, y)
        known = np.concatenate([features, *(block.x[:, :-1] for block in blocks[1:])])
        self._known = np.concatenate([self.points, *(space.coordinates(points) for points, _, _ in others)])
        self._known_means = process.mean(self._rows(known, np.ones(len(known)), 0))
        # Before the first trial of this sweep, the points of earlier ones stand in for its own.
        own = self._known_means[: len(seen)] if len(seen) else self._known_means
        self.best: Final = float(own.max(initial=-np.inf))
        """The highest end that is expected of a point tried before, standardised."""
        running = np.array([trial.state is TrialState.RUNNING for trial in seen], dtype=bool)
        if running.any():
            # Where a trial is under way, the model is told what it expects itself, so that parallel workers
            # spread out (the kriging believer, Ginsbourger et al., 2010).
            believed = self._rows(features[running], np.ones(int(running.sum())), 0)
            y = np.concatenate([y, self._known_means[: len(seen)][running]])
            process = GaussianProcess(kernel, Rows.joined([rows, believed]), y)
        self._process = process

    def top(self, count: int) -> Floats:
        """Returns the points tried before of which most is expected, [up to count, parameters]."""
        return self._known[np.argsort(-self._known_means, kind="stable")[:count]]

    def end(self, points: Floats) -> tuple[Floats, Floats]:
        """Returns mean and standard deviation of the objective after a full training, standardised, each [points]."""
        return self._process.mean_and_deviation(self._at_end(points))

    def draws(self, points: Floats, count: int, rng: np.random.Generator) -> Floats:
        """Returns joint samples of the points' ends, standardised, [count, points]."""
        return self._process.draws(self._at_end(points), count, rng)

    def _at_end(self, points: Floats) -> Rows:
        return self._rows(self._space.features(points), np.ones(len(points)), 0)

    @staticmethod
    def _rows(features: Floats, progress: Floats, task: int) -> Rows:
        return Rows(np.column_stack([features, progress]), np.full(len(features), task, dtype=np.intp))


def _likeness(earlier: Sequence[EarlierSweep]) -> Floats:
    weights: NDArray[np.float64] = np.array([1.0, *(sweep.weight for sweep in earlier)])
    likeness = np.outer(weights, weights)
    np.fill_diagonal(likeness, 1.0)
    return likeness
