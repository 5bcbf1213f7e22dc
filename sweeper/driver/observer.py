"""What a sweep tells whoever watches it while it runs."""

from __future__ import annotations

from sweeper.records import Decision, EpochMetrics, Suggestion, TrialRecord


class SweepObserver:
    """Watches a sweep; every method may be overridden and does nothing otherwise.

    All are called from the driver's thread, so a slow one slows the sweep.
    """

    def preparing(self, what: str, done: int, total: int) -> None:
        """A step before the first trial goes on: `done` of `total`, in images for the image cache."""

    def started(self, records: tuple[TrialRecord, ...], *, total: int, slots: int) -> None:
        """The first trials are about to start; `records` are those of earlier runs, `slots` run at once."""

    def trial_started(self, suggestion: Suggestion) -> None:
        """A trial was handed to a worker."""

    def epoch_ended(self, number: int, epoch: EpochMetrics, decision: Decision) -> None:
        """A trial reported an epoch."""

    def trial_ended(self, record: TrialRecord) -> None:
        """A trial reached a final state."""

    def trial_lost(self, number: int, *, again: bool) -> None:
        """A trial's worker is gone; `again` says whether it will be taken up again."""

    def trial_preempted(self, number: int, where: str) -> None:
        """A trial's machine is about to go; `where` says from where the trial will go on, a sentence."""

    def note(self, message: str) -> None:
        """Something a person should know, in one sentence."""


class NullObserver(SweepObserver):
    """Watches nothing."""
