"""Which point next, from what was seen and what was told in advance; knows nothing of Optuna."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from sweeper.records import ParamValue
from sweeper.search.advice import Advice
from sweeper.search.cost import CostModel
from sweeper.search.curves.acquisition import Weigh, best_candidate
from sweeper.search.curves.model import CurveModel
from sweeper.search.curves.observation import Horizon, Observation, as_earlier
from sweeper.search.curves.outlook import GivenUp, expected_gain, given_up
from sweeper.search.curves.space import Floats, Space
from sweeper.search.curves.threads import one_core
from sweeper.search.curves.tradeoffs import weighed
from sweeper.spec.sweep import SweepSpec

_MOST_STARTS: Final = 16
_PRIOR_DRAWS: Final = 128
_LEAST_LOG_PRIOR: Final = -50.0
_OTHER_LENGTH: Final = 0.9
"""How much trials of another number of epochs, which an edit left behind, are taken to be like those of now."""


def startup_trials(spec: SweepSpec) -> int:
    """Returns how many trials must have reported before a model chooses: 16, in a short sweep a third."""
    return max(1, min(_MOST_STARTS, spec.search.trials // 3))


class CurveSearch:
    """Suggests points; holds nothing that changes, so that one and the same history gives one suggestion."""

    def __init__(self, spec: SweepSpec, advice: Advice) -> None:
        self.space: Final = Space(spec)
        self._spec = spec
        self._advice = advice
        self._horizon = Horizon(spec)
        # Earlier sweeps give the model something to go on from the first trial.
        self._starts = 0 if any(sweep.trials for sweep in advice.earlier) else startup_trials(spec)

    @one_core()
    def suggest(
        self, number: int, seen: Sequence[Observation], given: Mapping[str, ParamValue]
    ) -> dict[str, ParamValue]:
        """Returns trial `number`'s values by Optuna's names.

        Args:
            number: of the trial.
            seen: the other trials that have a point.
            given: values by Optuna's names that the trial has already.
        """
        rng = np.random.default_rng([self._spec.seed, number])
        seen = weighed(self._spec, number, seen)
        if sum(bool(trial.reports) for trial in seen) < self._starts:
            row = self._start(number, given, rng)
        else:
            row = best_candidate(self.space, self.model(seen, rng), given, self._weigh(seen), rng)
        return self.space.scoped_values(row)

    def model(self, seen: Sequence[Observation], rng: np.random.Generator) -> CurveModel:
        """Returns the model of what was seen and lies in the space; an edit may have left some of it outside."""
        inside = [trial for trial in seen if self.space.holds(trial.point)]
        same = [trial for trial in inside if self._horizon.is_of(trial)]
        earlier = self._advice.earlier
        if len(same) < len(inside):
            other = [trial for trial in inside if not self._horizon.is_of(trial)]
            earlier = (*earlier, as_earlier(other, weight=_OTHER_LENGTH))
        return CurveModel(self.space, self._horizon, same, earlier, rng)

    @one_core()
    def expected_gain(self, seen: Sequence[Observation]) -> float | None:
        """Returns the expected improvement left, in the objective's units; None before there is a model.

        Several objectives have no common unit; None for them too.
        """
        if self._spec.search.also or sum(bool(trial.reports) for trial in seen) < max(2, self._starts):
            return None
        rng = np.random.default_rng([self._spec.seed, len(seen)])
        seen = weighed(self._spec, len(seen), seen)
        return expected_gain(self.space, self.model(seen, rng), rng)

    @one_core()
    def given_up(self, seen: Sequence[Observation], sign: float) -> tuple[GivenUp, ...]:
        """Returns the backbones that are beaten for certain; none before there is a model.

        With several objectives, or with constraints, a backbone may be worth its trials for another reason.
        """
        if (
            self._spec.search.also
            or self._spec.search.constraints
            or sum(bool(trial.reports) for trial in seen) < max(2, self._starts)
        ):
            return ()
        rng = np.random.default_rng([self._spec.seed, len(seen)])
        return given_up(self.space, self.model(seen, rng), seen, sign, rng)

    def _start(self, number: int, given: Mapping[str, ParamValue], rng: np.random.Generator) -> Floats:
        if self._advice.log_prior is not None and number % 2 == 0:
            # Every other start is a draw from the belief; those between look where it does not.
            rows = self.space.settled(rng.random((_PRIOR_DRAWS, len(self.space.axes))), given)
            drawn: Floats = rows[int(np.argmax(self._log_prior(rows) + rng.gumbel(size=len(rows))))]
            return drawn
        from scipy.stats import qmc  # takes long to import; a command that only reads does not need it

        # One sequence over the whole sweep: trial n takes its n-th point, whoever asks.
        sobol = qmc.Sobol(len(self.space.axes), scramble=True, rng=np.random.default_rng(self._spec.seed))
        if number:
            sobol.fast_forward(number)
        row: Floats = self.space.settled(np.asarray(sobol.random(1)), given)[0]
        return row

    def _weigh(self, seen: Sequence[Observation]) -> Weigh:
        trials = self._spec.search.trials
        cost = CostModel(self.space, seen, self._advice.cost) if self._spec.search.cost_aware else None
        # Cooled: cheap points first, and at the end whatever is best (Lee et al., 2020).
        cooling = max(0.0, 1 - len(seen) / trials)
        # Hvarfner et al. (2022): the belief decides as long as little was seen.
        belief = trials / 10 / max(1, len(seen))

        def weigh(rows: Floats) -> Floats:
            weight = np.zeros(len(rows))
            if cost is not None:
                weight -= cooling * (cost.log_seconds(rows) + self._log_epochs(rows))
            if self._advice.log_prior is not None:
                weight += belief * self._log_prior(rows)
            return weight

        return weigh

    def _log_epochs(self, rows: Floats) -> Floats:
        if not self._horizon.varies:
            return np.zeros(len(rows))
        return np.log([self._horizon.epochs(self.space.point(row)) for row in rows])

    def _log_prior(self, rows: Floats) -> Floats:
        assert self._advice.log_prior is not None
        # No belief rules a point out: what it calls impossible is only very unlikely.
        return np.array([max(self._advice.log_prior(self.space.point(row)), _LEAST_LOG_PRIOR) for row in rows])
