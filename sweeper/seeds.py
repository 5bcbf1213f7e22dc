"""Which trials run again over seeds, and how they stand."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from pydantic import BaseModel, ConfigDict

from sweeper.records import METRICS, ParamValue, TrialRecord, TrialState


class SeedPlan(BaseModel):
    """Which trials run again, and with which seeds; the contents of `seeds.json`.

    Run `number` is trial `number % k` of the k with seed `number // k`: every trial has had a seed before any has the
    next, and more seeds can be added behind.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    trials: tuple[int, ...]
    """As they were ranked when it began, best first."""
    points: tuple[dict[str, ParamValue], ...]
    """The trials' own."""
    seeds: tuple[int, ...]
    """None is the sweep's own: with that one the trials were chosen, so it flatters them."""

    @property
    def total(self) -> int:
        """Runs in all."""
        return len(self.trials) * len(self.seeds)

    def run(self, number: int) -> tuple[int, int]:
        """Returns the trial and the seed of run `number`."""
        return self.trials[number % len(self.trials)], self.seeds[number // len(self.trials)]


class Standing(BaseModel):
    """What a trial got with the seeds so far."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    trial: int
    values: dict[int, float]
    """The objective of the best epoch, by seed."""

    @property
    def mean(self) -> float:
        """Over its seeds."""
        return mean(self.values.values())


def standings(plan: SeedPlan, records: Sequence[TrialRecord], objective: str) -> tuple[Standing, ...]:
    """Returns the trials with a finished run, the best mean first; those with fewer seeds come behind.

    Args:
        plan: what was asked.
        records: of the runs.
        objective: one of `METRICS`.
    """
    sign = -1.0 if METRICS[objective].higher_is_better else 1.0
    values: dict[int, dict[int, float]] = {}
    for record in records:
        best = record.best_epoch(objective)
        if best is not None and record.state is TrialState.COMPLETE:
            trial, seed = plan.run(record.number)
            values.setdefault(trial, {})[seed] = best.value(objective)
    found = [Standing(trial=trial, values=of_seed) for trial, of_seed in values.items()]
    return tuple(sorted(found, key=lambda one: (-len(one.values), sign * one.mean)))
