"""The study as Optuna's own algorithms should see it after an edit: old trials in the terms of the present spec."""

from __future__ import annotations

import copy
from collections.abc import Callable, Container
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from sweeper.records import ParamValue
from sweeper.search.editions import Editions
from sweeper.search.point import distribution, unscoped
from sweeper.spec.search import AshaSpec
from sweeper.spec.space import Fixed
from sweeper.spec.sweep import SweepSpec

Seen = Callable[[FrozenTrial], FrozenTrial | None]
"""How a trial is seen; None where it is not."""


class StudyView(Study):
    """A study whose trials are seen through a function."""

    def __init__(self, study: Study, seen: Seen) -> None:
        super().__init__(study.study_name, study._storage, sampler=study.sampler, pruner=study.pruner)
        self._seen = seen

    def get_trials(self, deepcopy: bool = True, states: Container[OptunaState] | None = None) -> list[FrozenTrial]:
        """Returns the trials as they are seen."""
        found = (self._seen(trial) for trial in super()._get_trials(deepcopy=deepcopy, states=states))
        return [trial for trial in found if trial is not None]

    def _get_trials(
        self, deepcopy: bool = True, states: Container[OptunaState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        return self.get_trials(deepcopy=deepcopy, states=states)


class PresentTerms(BaseSampler):
    """Lets a sampler of Optuna's see old trials with the present parameters; those that lie outside are left out."""

    def __init__(self, sampler: BaseSampler, spec: SweepSpec, editions: Editions) -> None:
        self._sampler, self._spec, self._editions = sampler, spec, editions

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Asks the sampler."""
        return self._sampler.infer_relative_search_space(self._view(study), trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Asks the sampler."""
        return self._sampler.sample_relative(self._view(study), trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Asks the sampler."""
        return self._sampler.sample_independent(self._view(study), trial, param_name, param_distribution)

    def _view(self, study: Study) -> StudyView:
        return StudyView(study, self._translated)

    def _translated(self, trial: FrozenTrial) -> FrozenTrial | None:
        if not trial.state.is_finished():
            return trial
        params: dict[str, ParamValue] = {}
        distributions: dict[str, BaseDistribution] = {}
        point = {**self._editions.kept(trial.number), **unscoped(trial.params)}
        for scoped in self._spec.parameters(self._spec.backbone_of(point)):
            if isinstance(scoped.parameter, Fixed) or not scoped.parameter.applies(point):
                continue
            if scoped.name not in point or not scoped.parameter.contains(point[scoped.name]):
                return None
            name = self._editions.name(scoped.scoped_name)
            params[name], distributions[name] = point[scoped.name], distribution(scoped.parameter)
        return _copied(trial, params=params, distributions=distributions)


def rivals_of(trial: FrozenTrial, study: Study, spec: SweepSpec, editions: Editions) -> Study:
    """Returns the study with those trials only that the stop rule may compare `trial` with.

    A trial of ten epochs has a small learning rate where one of thirty still has a large one: epoch by epoch only
    trials of one length compare. And a rung is an epoch of the present rule, whatever rule a trial ran under.
    """
    if not editions.edits:
        return study
    length, rule = editions.epochs(trial.number), spec.search.stop_rule

    def seen(other: FrozenTrial) -> FrozenTrial | None:
        if editions.epochs(other.number) != length:
            return None
        return _with_rungs(other, rule) if isinstance(rule, AshaSpec) and other.number != trial.number else other

    return StudyView(study, seen)


def _with_rungs(trial: FrozenTrial, rule: AshaSpec) -> FrozenTrial:
    """Notes at each rung of `rule` what the trial had there, as Optuna's successive halving would have."""
    attributes = {name: value for name, value in trial.system_attrs.items() if not name.startswith("completed_rung_")}
    rung, epoch = 0, rule.grace_epochs
    while epoch in trial.intermediate_values:
        attributes[f"completed_rung_{rung}"] = trial.intermediate_values[epoch]
        rung, epoch = rung + 1, epoch * rule.reduction
    return _copied(trial, system_attrs=attributes)


def _copied(trial: FrozenTrial, **changed: Any) -> FrozenTrial:
    twin = copy.copy(trial)
    for name, value in changed.items():
        setattr(twin, name, value)
    return twin
