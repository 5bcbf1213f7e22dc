"""The search by learning curves as an Optuna sampler."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import median
from typing import Any, Final

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from sweeper.records import TrialState
from sweeper.search.attributes import EPOCH
from sweeper.search.curves.observation import Observation
from sweeper.search.curves.search import CurveSearch
from sweeper.search.editions import Editions
from sweeper.search.point import distribution, unscoped
from sweeper.spec.space import Fixed

_STATES: Final = {
    OptunaState.RUNNING: TrialState.RUNNING,
    OptunaState.COMPLETE: TrialState.COMPLETE,
    OptunaState.PRUNED: TrialState.STOPPED,
    OptunaState.FAIL: TrialState.FAILED,
}
"""Those that teach something; a queued trial does not yet."""


class CurvesSampler(BaseSampler):
    """Chooses all values of a trial at once, from every epoch of every other trial of the study."""

    def __init__(self, search: CurveSearch, seed: int, editions: Editions) -> None:
        self._search = search
        self._editions = editions
        self._independent = RandomSampler(seed=seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Returns the declared space: the parameters of all branches, whatever was tried so far."""
        return {
            self._editions.name(axis.scoped_name): distribution(axis.parameter)
            for axis in self._search.space.axes
            if not isinstance(axis.parameter, Fixed)
        }

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Returns the values of the parameters that apply."""
        if not search_space:
            return {}
        seen = [other for other in observations(study, self._editions) if other.number != trial.number]
        known = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
        names = {axis.scoped_name: self._editions.name(axis.scoped_name) for axis in self._search.space.axes}
        given = {scoped: known[name] for scoped, name in names.items() if name in known}
        found = {names[scoped]: value for scoped, value in self._search.suggest(trial.number, seen, given).items()}
        return {name: value for name, value in found.items() if name in search_space}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Returns a random value for a name that the space does not have."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)


def direction(study: Study) -> float:
    """Returns 1 where a larger objective is better, -1 where a smaller one is."""
    return 1.0 if study.direction is StudyDirection.MAXIMIZE else -1.0


def observations(study: Study, editions: Editions) -> list[Observation]:
    """Returns the trials of a study that have a point, as the search sees them.

    One whose point runs again under another number is not among them: it failed, or was too short.
    """
    sign = direction(study)
    return [
        observe(trial, sign, editions)
        for trial in study.get_trials(deepcopy=False)
        if trial.state in _STATES and trial.params and trial.number not in editions.replaced
    ]


def observe(trial: FrozenTrial, sign: float, editions: Editions | None = None) -> Observation:
    """Returns a trial of the study as the search sees it.

    Args:
        trial: a trial that has a point.
        sign: 1 where a larger objective is better, -1 where a smaller one is.
        editions: what the sweep was before its edits.
    """
    kept = editions.kept(trial.number) if editions is not None else {}
    epochs = editions.epochs(trial.number) if editions is not None else None
    return Observation(
        number=trial.number,
        state=_STATES[trial.state],
        point={**kept, **unscoped(trial.params)},
        reports=tuple(
            (epoch, sign * value) for epoch, value in sorted(trial.intermediate_values.items()) if math.isfinite(value)
        ),
        seconds=_seconds(trial.user_attrs),
        epochs=int(epochs) if isinstance(epochs, int) else None,
        metrics={
            int(name.removeprefix(EPOCH)): metrics
            for name, metrics in trial.user_attrs.items()
            if name.startswith(EPOCH)
        },
    )


def _seconds(attributes: Mapping[str, Any]) -> float | None:
    """Returns the median epoch: the first one also warms up."""
    epochs = [value for name, value in attributes.items() if name.startswith(EPOCH)]
    seconds = [epoch["train_seconds"] + epoch["eval_seconds"] for epoch in epochs]
    return median(seconds) or None if seconds else None
