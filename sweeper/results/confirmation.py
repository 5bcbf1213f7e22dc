"""What runs over seeds say of the best trials: mean, interval, and whether the winner is one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict

from sweeper.predictions import Predictions
from sweeper.records import METRICS, HeldOutScore, TrialRecord, TrialState
from sweeper.results.resampling import LEVEL, interval_of, resampled
from sweeper.results.scores import ImageScores, image_scores
from sweeper.seeds import SeedPlan, Standing, standings

_SAME: Final = 1e-9


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Candidate(_Value):
    """A trial over its seeds."""

    trial: int
    values: dict[int, float]
    """The objective of the best epoch, by seed."""
    mean: float
    interval: tuple[float, float] | None
    """Of the mean, 95 %, by Student's t over the seeds; None for one seed, or seeds that agree exactly."""
    given_up: bool
    """Whether it got fewer seeds, as it was worse than the leader for certain."""


class Duel(_Value):
    """The winner against the runner-up; a difference above 0 is in favour of the winner."""

    winner: int
    runner_up: int
    difference: float
    """Mean of the objective's differences, paired by seed."""
    seeds: int
    """That both have."""
    interval: tuple[float, float] | None
    """Of the difference over seeds, 95 %, by Student's t; None for a single seed."""
    p_value: float | None
    """Of a two-sided paired t-test over the seeds; None for a single seed."""
    image_interval: tuple[float, float] | None
    """Of the difference over the validation images, 95 %, by paired bootstrap; None where it is not known what was
    said of them."""

    @property
    def is_clear(self) -> bool:
        """Whether neither other seeds nor other images would likely turn it round."""
        over_seeds = self.interval is not None and self.interval[0] > 0.0
        return over_seeds and (self.image_interval is None or self.image_interval[0] > 0.0)


class Confirmation(_Value):
    """All that the runs over seeds, and the test, say."""

    objective: str
    finished: bool
    candidates: tuple[Candidate, ...]
    """The best mean first."""
    duel: Duel | None
    """None where there is one candidate."""
    test: HeldOutScore | None
    """None while the test is not used."""
    test_interval: tuple[float, float] | None
    """Of the objective on the test, 95 %, by bootstrap over its images."""

    @property
    def winner(self) -> int | None:
        """The trial with the best mean; None before all runs are done."""
        return self.candidates[0].trial if self.finished and self.candidates else None


SaidOf = Callable[[int, int], Predictions | None]
"""Reads what a run said of the validation images, by trial and seed."""


def confirmation_of(plan: SeedPlan, records: Sequence[TrialRecord], objective: str, said: SaidOf) -> Confirmation:
    """Sums up the runs over seeds.

    Args:
        plan: which runs were asked for.
        records: of the runs.
        objective: of the sweep.
        said: reads what a run said of the validation images.
    """
    ranked = standings(plan, records, objective)
    given_up = {plan.run(one.number)[0] for one in records if one.state is TrialState.STOPPED and not one.epochs}
    return Confirmation(
        objective=objective,
        finished=len(records) >= plan.total and all(one.state.is_finished for one in records),
        candidates=tuple(_candidate(one, given_up) for one in ranked),
        duel=_duel(ranked[0], ranked[1], objective, said) if len(ranked) > 1 else None,
        test=None,
        test_interval=None,
    )


def with_test(found: Confirmation, score: HeldOutScore, said: Predictions | None) -> Confirmation:
    """Returns the confirmation with what the test said.

    Args:
        found: from `confirmation_of`.
        score: of the winner.
        said: of each image of the test.
    """
    scores = image_scores(found.objective, said) if said is not None else None
    interval = None
    if scores is not None:
        interval = _edges(resampled(scores, scores.values[None])[:, 0])
    return found.model_copy(update={"test": score, "test_interval": interval})


def _candidate(one: Standing, given_up: set[int]) -> Candidate:
    values = list(one.values.values())
    return Candidate(
        trial=one.trial, values=one.values, mean=one.mean, interval=_t_interval(values), given_up=one.trial in given_up
    )


def _duel(winner: Standing, other: Standing, objective: str, said: SaidOf) -> Duel:
    from scipy import stats  # here, as `status` is not to wait for it

    sign = 1.0 if METRICS[objective].higher_is_better else -1.0
    common = sorted(winner.values.keys() & other.values.keys())
    leads = [sign * (winner.values[seed] - other.values[seed]) for seed in common]
    p_value = None
    if _differ(leads):
        p_value = float(stats.ttest_1samp(leads, 0.0).pvalue)
    return Duel(
        winner=winner.trial,
        runner_up=other.trial,
        difference=float(np.mean(leads)) if leads else 0.0,
        seeds=len(common),
        interval=_t_interval(leads),
        p_value=p_value,
        image_interval=_over_images((winner.trial, other.trial), common, objective, said),
    )


def _over_images(
    trials: tuple[int, int], seeds: Sequence[int], objective: str, said: SaidOf
) -> tuple[float, float] | None:
    """Returns the interval of the difference of what each image scores on average over the seeds."""
    means = []
    scores: ImageScores | None = None
    for trial in trials:
        runs = [run for seed in seeds if (run := said(trial, seed)) is not None]
        found = [one for run in runs if (one := image_scores(objective, run)) is not None]
        if len(found) < len(seeds) or not found:
            return None
        means.append(np.mean([one.values for one in found], axis=0))
        scores = scores or found[0]
        if not np.array_equal(scores.labels, found[0].labels):
            return None
    assert scores is not None
    sign = 1.0 if METRICS[objective].higher_is_better else -1.0
    return _edges(resampled(scores, sign * (means[0] - means[1])[None])[:, 0])


def _edges(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> tuple[float, float]:
    low, high = interval_of(values).tolist()
    return low, high


def _differ(values: Sequence[float]) -> bool:
    """Whether the spread of values can be told; a few seeds that agree by chance do not make anything certain."""
    return len(values) > 1 and float(np.ptp(values)) > _SAME


def _t_interval(values: Sequence[float]) -> tuple[float, float] | None:
    if not _differ(values):
        return None
    from scipy import stats  # here, as `status` is not to wait for it

    middle, error = float(np.mean(values)), float(stats.sem(values))
    reach = error * float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1))
    return middle - reach, middle + reach
