"""Which parameters mattered: how the values of the best trials differ from those of all."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, create_trial

from sweeper.search.point import unscoped

_LEAST_TRIALS: Final = 10
"""Below that, the order would be chance."""
_LEAST_GOOD: Final = 5
"""Trials that the best part must have, as Optuna advises."""
_BEST_PART: Final = 0.1


def importances(rated: Sequence[tuple[FrozenTrial, float]], direction: StudyDirection) -> dict[str, float]:
    """Returns the share of each searched parameter in what sets the best tenth of the trials apart, the largest first.

    PED-ANOVA (Watanabe et al., 2023), extended to parameters that not every trial has (2026), both Optuna's. It takes
    milliseconds and counts trials that were stopped early as well.

    Args:
        rated: trials and their values.
        direction: of the values.

    Returns:
        By the names of the search space, adding up to 1; empty where there are fewer than ten trials.
    """
    if len(rated) < _LEAST_TRIALS:
        return {}
    # Loads scikit-learn and pandas, seconds that a command which only looks is not to wait for.
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    study = optuna.create_study(direction="maximize" if direction is StudyDirection.MAXIMIZE else "minimize")
    study.add_trials(
        [create_trial(params=one.params, distributions=one.distributions, value=value) for one, value in rated]
    )
    quantile = min(0.5, max(_BEST_PART, _LEAST_GOOD / len(rated)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that an evaluator is experimental is nothing to who reads a leaderboard
        found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=quantile))
    shares: defaultdict[str, float] = defaultdict(float)
    for name, share in found.items():
        shares[next(iter(unscoped({name: None})))] += share
    return dict(sorted(shares.items(), key=lambda item: -item[1]))
