"""The best trials run again over seeds: a study beside the sweep's, which neither sampler nor stop rule sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from optuna.trial import Trial
from optuna.trial import TrialState as OptunaState

from sweeper.records import METRICS, ParamValue, Suggestion, TrialRecord
from sweeper.search.advice import Advice
from sweeper.search.ledger import Ledger
from sweeper.search.opening import open_study
from sweeper.search.storage import open_storage
from sweeper.seeds import SeedPlan, Standing, standings
from sweeper.spec.search import BudgetSpec
from sweeper.spec.sweep import SweepSpec

_SEED: Final = "seed"
_LEVEL: Final = 0.05
"""Of all looks at a candidate together, that it is given up though it is as good as the leader."""
_FIRST_LOOK: Final = 3
"""Seeds that leader and candidate must have in common before one is given up."""


def clear_losers(plan: SeedPlan, records: Sequence[TrialRecord], objective: str) -> frozenset[int]:
    """Returns the trials that need no more seeds, as they are worse than the leader.

    After three common seeds and each one later, the differences to the leader, paired by seed, are put to a one-sided
    t-test. Its level of 5 % is shared among all looks (Bonferroni): looking often must not find what is not there.
    """
    ranked = standings(plan, records, objective)
    looks = max(1, len(plan.seeds) - _FIRST_LOOK)
    sign = 1.0 if METRICS[objective].higher_is_better else -1.0
    return frozenset(
        other.trial
        for other in ranked[1:]
        if len(other.values) >= _FIRST_LOOK and _worse(ranked[0], other, sign) < _LEVEL / looks
    )


def _worse(leader: Standing, other: Standing, sign: float) -> float:
    """Returns how likely chance alone has `other` that far behind, on the seeds they share."""
    common = leader.values.keys() & other.values.keys()
    if len(common) < _FIRST_LOOK:
        return 1.0
    leads = np.array([sign * (leader.values[seed] - other.values[seed]) for seed in common])
    if np.ptp(leads) == 0.0:
        return 0.0 if leads[0] > 0 else 1.0
    from scipy import stats  # takes long to import; a command that only reads does not need it

    return float(stats.ttest_1samp(leads, 0.0, alternative="greater").pvalue)


class SeedLedger(Ledger):
    """The ledger of the runs over seeds: the sweep's ledger in all, but that its points are known beforehand."""

    plan: SeedPlan

    @property
    def has_more(self) -> bool:
        """Whether `ask` would return a run."""
        self._give_up_losers()
        return super().has_more

    def enqueue_seeds(self) -> None:
        """Puts all runs in the queue that are not there yet."""
        for _ in range(len(self._trials()), self.plan.total):
            self._study.enqueue_trial({})

    def ask(self) -> Suggestion | None:
        """Returns the next run; None once there is none, or none of a trial that may still win."""
        self._give_up_losers()
        return super().ask()

    def _point(self, trial: Trial) -> dict[str, ParamValue]:
        """Returns what the run is of: nothing is drawn, wherever the space has moved to since."""
        _, seed = self.plan.run(trial.number)
        return {**self.plan.points[trial.number % len(self.plan.trials)], _SEED: seed}

    def _give_up_losers(self) -> None:
        losers = clear_losers(self.plan, self.records(), self._spec.search.objective)
        for trial in self._trials(OptunaState.WAITING):
            if self.plan.run(trial.number)[0] in losers:
                self._storage.set_trial_state_values(trial._trial_id, OptunaState.PRUNED)


def open_seed_ledger(spec: SweepSpec, plan: SeedPlan, url: str) -> SeedLedger:
    """Opens the study of the runs over seeds, made if missing, with all of them queued.

    Args:
        spec: of the sweep.
        plan: which runs.
        url: of the sweep's own storage.

    Raises:
        InputError: the storage cannot be opened.
    """
    runs = seed_spec(spec, plan)
    storage = open_storage(url)
    ledger = SeedLedger(runs, open_study(runs, storage, writes=True), Advice())
    ledger.plan = plan
    ledger.enqueue_seeds()
    return ledger


def seed_spec(spec: SweepSpec, plan: SeedPlan) -> SweepSpec:
    """Returns the sweep that the runs over seeds are: nothing chooses, nothing stops."""
    search = spec.search.model_copy(
        update={
            "trials": plan.total, "sampler": "random", "stop": "none", "also": (), "constraints": {}, "warm_start": (),
            "budget": BudgetSpec(), "patience": None, "confirm": None,
        }
    )  # fmt: skip
    return spec.model_copy(update={"name": f"{spec.name}.seeds", "search": search, "points": ()})
