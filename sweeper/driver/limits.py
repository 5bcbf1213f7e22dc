"""When a sweep starts no more trials: a budget is used up, or more would gain too little."""

from __future__ import annotations

import time
from collections.abc import Callable

from sweeper.errors import ResourceError
from sweeper.planning.share import Share
from sweeper.records import EpochMetrics, Spent
from sweeper.search import Ledger
from sweeper.spec import SweepSpec

_HOUR = 3600.0


class Limits:
    """Keeps count of what a sweep uses up, in its ledger, and says when that is enough.

    The clock is written down with every epoch: what a killed driver had not written yet does not count.
    """

    def __init__(
        self, spec: SweepSpec, ledger: Ledger, share: Share, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if spec.search.budget.gpu_hours is not None and not share.gpus:
            raise ResourceError(
                "`search.budget.gpu_hours` counts the hours of GPUs, but the trials run on CPUs here; set "
                "`search.budget.hours` or `epochs`."
            )
        self._spec = spec
        self._ledger = ledger
        self._share = share
        self._clock = clock
        self._started = clock()
        self._before = ledger.spent.hours
        records = ledger.records()
        self._epochs = {record.number: len(record.epochs) for record in records}
        self._total = sum(self._epochs.values())
        self._gpu_seconds = sum(self._gpu_seconds_of(epoch) for record in records for epoch in record.epochs)
        self._finished = -1
        self._gain: float | None = None

    @property
    def spent(self) -> Spent:
        """What has been used up until now."""
        return Spent(
            epochs=self._total,
            gpu_hours=self._gpu_seconds / _HOUR,
            hours=self._before + (self._clock() - self._started) / _HOUR,
        )

    def epoch_ended(self, number: int, epoch: EpochMetrics) -> None:
        """Counts an epoch, once, however often a trial tells of it."""
        if epoch.epoch > (known := self._epochs.get(number, 0)):
            self._total += epoch.epoch - known
            self._epochs[number] = epoch.epoch
            self._gpu_seconds += self._gpu_seconds_of(epoch)
        self._ledger.note_spent(self.spent)

    def _gpu_seconds_of(self, epoch: EpochMetrics) -> float:
        gpus = self._share.gpus if epoch.gpus is None else epoch.gpus
        return (epoch.train_seconds + epoch.eval_seconds) * gpus

    @property
    def time_is_up(self) -> bool:
        """Whether running trials must end with their epoch."""
        return self._clock_reason(self.spent) is not None

    def reason(self, *, finished: int) -> str | None:
        """Returns why no new trial starts, a sentence; None where one may.

        Args:
            finished: trials that are finished; patience thinks again only when there are more.
        """
        spent, budget = self.spent, self._spec.search.budget
        if budget.epochs is not None and spent.epochs >= budget.epochs:
            return f"Its budget of {budget.epochs} epochs is used up."
        if budget.gpu_hours is not None and spent.gpu_hours >= budget.gpu_hours:
            return f"Its budget of {budget.gpu_hours:g} GPU-hours is used up."
        return self._clock_reason(spent) or self._impatient(finished)

    def _clock_reason(self, spent: Spent) -> str | None:
        budget, price = self._spec.search.budget, self._spec.resources.price_per_hour
        if budget.hours is not None and spent.hours >= budget.hours:
            return f"Its budget of {budget.hours:g} hours is used up."
        if budget.money is not None and price is not None and spent.hours * price >= budget.money:
            return f"Its budget of {budget.money:g} is used up, at {price:g} an hour."
        return None

    def _impatient(self, finished: int) -> str | None:
        patience = self._spec.search.patience
        if patience is None:
            return None
        if finished != self._finished:
            self._finished, self._gain = finished, self._ledger.gain_of_more(trials=patience.trials)
        if self._gain is None or self._gain >= patience.gain:
            return None
        return (
            f"{patience.trials} more trials would likely gain {self._gain:.2g} of {self._spec.search.objective}, less "
            f"than `search.patience.gain`, {patience.gain:g}."
        )
