"""Tune's searcher and scheduler, both answered by the same `Attempts`.

Tune pickles what it is given into a file that nobody reads; the adapters leave their contents out of it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune import Stopper
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from sweeper.driver.assignment import Message
from sweeper.driver.attempts import Attempts
from sweeper.driver.requests import Requests
from sweeper.records import Decision


class LedgerSearcher(Searcher):  # type: ignore[misc] # Ray ships no types
    """Gives Tune the next attempt, and hears how each one ended."""

    def __init__(self, attempts: Attempts) -> None:
        super().__init__()
        self._attempts = attempts

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Accepts whatever Tune was told; the spec has the objective."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Returns the next attempt; None for not now; FINISHED once nothing runs and nothing is to run for now."""
        assignment = self._attempts.next(trial_id)
        if assignment is not None:
            return assignment.to_ray()
        finished: str = Searcher.FINISHED
        # With nothing to run Tune would look for a suggestion without end, and hear of nothing else.
        waits = self._attempts.are_idle and self._attempts.why_short() is not None
        return finished if self._attempts.are_over or waits else None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tells the end of an attempt; an error is a lost worker, as a trial's own failure is a result."""
        if error or result is None:
            self._attempts.lost(trial_id)
            return
        message = Message.from_ray(result)
        if message.disk_full:
            self._attempts.disk_filled(trial_id)
        else:
            self._attempts.ended(trial_id, message.failure)

    def save(self, checkpoint_path: str) -> None:
        """Saves nothing: the ledger is the record."""

    def restore(self, checkpoint_path: str) -> None:
        """Restores nothing: a resume starts a new Tune run from the ledger."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class LedgerScheduler(FIFOScheduler):  # type: ignore[misc] # Ray ships no types
    """Asks the ledger after each epoch whether the trial goes on."""

    def __init__(self, attempts: Attempts) -> None:
        super().__init__()
        self._attempts = attempts

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Returns Tune's word for the ledger's decision."""
        message = Message.from_ray(result)
        if message.epoch is None:
            # An unfit worker: the trial is closed, or put back, here; the next step ends the worker.
            if message.preempted is not None:
                self._attempts.preempted(trial.trial_id, message.preempted)
            else:
                self._attempts.ended(trial.trial_id, message.failure)
            return str(TrialScheduler.CONTINUE)
        decision = self._attempts.epoch_ended(trial.trial_id, message.epoch)
        return str(TrialScheduler.STOP if decision is Decision.STOP else TrialScheduler.CONTINUE)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Tells what Ray says of a lost worker; Tune does so before it tells the searcher that it is lost."""
        # Its methods that return the error read the storage, to which this file goes later.
        said = Path(trial.error_file) if trial.error_file else None
        message = said.read_text(errors="replace") if said is not None and said.exists() else ""
        self._attempts.worker_ended(trial.trial_id, message)
        super().on_trial_error(tune_controller, trial)

    def __getstate__(self) -> dict[str, Any]:
        return {}


class OnRequest(Stopper):  # type: ignore[misc] # Ray ships no types
    """Ends the Tune run: the sweep is to stop, or paused and its trials have ended their epochs, or Ray has died."""

    def __init__(self, requests: Requests, attempts: Attempts, is_gone: Callable[[], bool]) -> None:
        self._requests = requests
        self._attempts = attempts
        self._is_gone = is_gone

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No trial is stopped on its own."""
        return False

    def stop_all(self) -> bool:
        """Whether the Tune run is to end."""
        idle = self._requests.why_paused() is not None and self._attempts.are_idle
        return self._requests.stop or idle or self._is_gone()

    def __getstate__(self) -> dict[str, Any]:
        return {}
