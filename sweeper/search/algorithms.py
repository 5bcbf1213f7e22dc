"""The sampler and the early-stopping rule that the spec names, as Optuna's own."""

from __future__ import annotations

import numpy as np
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler

from sweeper.spec.resolve import most_epochs
from sweeper.spec.search import AshaSpec, HyperbandSpec, MedianSpec
from sweeper.spec.sweep import SweepSpec


def sampler_for(spec: SweepSpec, number: int) -> BaseSampler:
    """Returns the sampler that suggests trial `number`.

    It is made anew for each trial from the sweep's seed and the trial's number, so a suggestion depends on
    these and on the study alone: a resumed sweep goes on as an uninterrupted one would.
    """
    seed = int(np.random.SeedSequence([spec.seed, number]).generate_state(1)[0])
    match spec.search.sampler:
        case "tpe":
            return TPESampler(seed=seed)
        case "gp":
            return GPSampler(seed=seed, warn_independent_sampling=False)
        case "random" | "grid":
            # All points of a grid are enqueued beforehand; the sampler never has to choose.
            return RandomSampler(seed=seed)


def pruner_for(spec: SweepSpec) -> BasePruner:
    """Returns the early-stopping rule; an epoch counts as one unit of resource."""
    match spec.search.stop_rule:
        case AshaSpec(grace_epochs=grace, reduction=reduction):
            return SuccessiveHalvingPruner(min_resource=grace, reduction_factor=reduction)
        case HyperbandSpec(grace_epochs=grace, reduction=reduction):
            return HyperbandPruner(min_resource=grace, max_resource=most_epochs(spec), reduction_factor=reduction)
        case MedianSpec(grace_epochs=grace, startup_trials=startup):
            return MedianPruner(n_startup_trials=startup, n_warmup_steps=grace)
        case _:
            return NopPruner()
