"""The sampler and the early-stopping rule that the spec names, as Optuna's own."""

from __future__ import annotations

from typing import Final

import numpy as np
from optuna import Study
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from sweeper.search.curves import CurveSearch, CurvesSampler, startup_trials
from sweeper.search.editions import Editions
from sweeper.search.views import PresentTerms
from sweeper.spec.resolve import most_epochs
from sweeper.spec.search import AshaSpec, HyperbandSpec, MedianSpec
from sweeper.spec.sweep import SweepSpec

_EXEMPT_EVERY: Final = 8


def sampler_for(spec: SweepSpec, number: int, curves: CurveSearch, editions: Editions | None = None) -> BaseSampler:
    """Returns the sampler that suggests trial `number`.

    It is made anew for each trial from the sweep's seed and the trial's number, so a suggestion depends on
    these and on the study alone: a resumed sweep goes on as an uninterrupted one would.
    """
    seed = int(np.random.SeedSequence([spec.seed, number]).generate_state(1)[0])
    editions = editions or Editions()
    if spec.search.sampler == "curves":
        return CurvesSampler(curves, seed, editions)
    sampler = _optunas(spec, seed)
    return PresentTerms(sampler, spec, editions) if editions.edits else sampler


def _optunas(spec: SweepSpec, seed: int) -> BaseSampler:
    match spec.search.sampler:
        case "tpe":
            return TPESampler(seed=seed)
        case "gp":
            return GPSampler(seed=seed, warn_independent_sampling=False)
        case _:
            # All points of a grid are enqueued beforehand; the sampler never has to choose.
            return RandomSampler(seed=seed)


def pruner_for(spec: SweepSpec) -> BasePruner:
    """Returns the early-stopping rule; an epoch counts as one unit of resource."""
    match spec.search.stop_rule:
        case AshaSpec(grace_epochs=grace, reduction=reduction) as asha:
            halving = SuccessiveHalvingPruner(min_resource=grace, reduction_factor=reduction)
            every = _exempt_every(spec, asha)
            return ExemptingPruner(halving, every=every, first=startup_trials(spec)) if every else halving
        case HyperbandSpec(grace_epochs=grace, reduction=reduction):
            return HyperbandPruner(min_resource=grace, max_resource=most_epochs(spec), reduction_factor=reduction)
        case MedianSpec(grace_epochs=grace, startup_trials=startup):
            return MedianPruner(n_startup_trials=startup, n_warmup_steps=grace)
        case _:
            return NopPruner()


class ExemptingPruner(BasePruner):
    """Lets every so-many-th trial run to its end, whatever another rule thinks of its start.

    A model that sees the ends of fast starters only would never learn that a slow one may overtake them.
    """

    def __init__(self, rule: BasePruner, *, every: int, first: int) -> None:
        self._rule, self._every, self._first = rule, every, first

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether the trial ends here."""
        # The rule is always asked: it notes the value that later trials are compared with.
        stops = self._rule.prune(study, trial)
        return stops and (trial.number < self._first or trial.number % self._every != 0)


def _exempt_every(spec: SweepSpec, rule: AshaSpec) -> int:
    if rule.exempt_every is not None:
        return rule.exempt_every
    return _EXEMPT_EVERY if spec.search.sampler == "curves" else 0
