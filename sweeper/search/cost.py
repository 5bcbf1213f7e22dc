"""What an epoch of a point costs: predicted from its settings, corrected by the epochs that were measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from sweeper.search.advice import Point
from sweeper.search.curves.observation import Observation
from sweeper.search.curves.space import Floats, Space

# In logs: how far a prediction is off by one setting, and by all that is no setting (a busy machine).
_SETTING: Final = 1.0
_REST: Final = 0.15
_ROUNDS: Final = 5


class CostModel:
    """Log seconds an epoch, linear in the settings, about the prediction (Bayesian ridge regression).

    With no measurement it is the prediction; each measured trial moves it, for its own settings most. A trial
    far off the line (another job on the machine) counts less, by Huber's weights.
    """

    def __init__(
        self, space: Space, seen: Sequence[Observation], predicted: Callable[[Point], float] | None = None
    ) -> None:
        """Fits the correction.

        Args:
            space: the parameters.
            seen: trials; those with measured seconds count.
            predicted: seconds an epoch of a point; None for the same everywhere.
        """
        self._space, self._predicted = space, predicted
        timed = [trial for trial in seen if trial.seconds]
        points = space.coordinates([trial.point for trial in timed])
        x = space.features(points)
        y: Floats = np.log([trial.seconds or 1.0 for trial in timed]) - self._log_predicted(points)
        self._weights: Floats = np.zeros(x.shape[1])
        self._middle: Floats = np.zeros(x.shape[1])
        self._level = 0.0
        trust: Floats = np.ones(len(y))
        for _ in range(_ROUNDS if len(y) else 0):
            self._middle = np.asarray(np.average(x, axis=0, weights=trust), dtype=np.float64)
            self._level = float(np.average(y, weights=trust))
            centred = x - self._middle
            gram = centred.T @ (trust[:, None] * centred) + (_REST / _SETTING) ** 2 * np.eye(x.shape[1])
            self._weights = np.asarray(np.linalg.solve(gram, centred.T @ (trust * (y - self._level))), np.float64)
            off = np.abs(y - self._level - centred @ self._weights)
            trust = np.minimum(1.0, 1.5 * _REST / np.maximum(off, 1e-9))

    def log_seconds(self, rows: Floats) -> Floats:
        """Returns the log of the seconds an epoch, [points], of rows of the cube, [points, parameters]."""
        correction: Floats = self._level + (self._space.features(rows) - self._middle) @ self._weights
        return self._log_predicted(rows) + correction

    def _log_predicted(self, rows: Floats) -> Floats:
        if self._predicted is None:
            return np.zeros(len(rows))
        return np.log([max(self._predicted(self._space.point(row)), 1e-9) for row in rows])
