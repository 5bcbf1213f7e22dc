"""A trial of the study as a record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from sweeper.records import EpochMetrics, Failure, ParamValue, TrialRecord, TrialState
from sweeper.search.attributes import ATTEMPTS, EPOCH, FAILURE, PARAMS, STOP_REASON
from sweeper.search.point import unscoped

_STATES: Final = {
    OptunaState.WAITING: TrialState.WAITING,
    OptunaState.RUNNING: TrialState.RUNNING,
    OptunaState.COMPLETE: TrialState.COMPLETE,
    OptunaState.PRUNED: TrialState.STOPPED,
    OptunaState.FAIL: TrialState.FAILED,
}


def record_of(trial: FrozenTrial, kept: Mapping[str, ParamValue]) -> TrialRecord:
    """Returns what is known of a trial.

    Args:
        trial: of the study.
        kept: settings it had that its point does not say.
    """
    attributes = trial.user_attrs
    epochs = (EpochMetrics.model_validate(v) for name, v in attributes.items() if name.startswith(EPOCH))
    failure = attributes.get(FAILURE)
    return TrialRecord(
        number=trial.number,
        state=_STATES[trial.state],
        params={**kept, **(attributes.get(PARAMS) or unscoped(trial.params))},
        epochs=tuple(sorted(epochs, key=lambda epoch: epoch.epoch)),
        attempts=attributes.get(ATTEMPTS, 0),
        # A driver that died before it closed a failed trial wrote down why; the trial may have gone on well since.
        failure=Failure.model_validate(failure) if failure and trial.state is OptunaState.FAIL else None,
        stop_reason=attributes.get(STOP_REASON),
        started=trial.datetime_start.timestamp() if trial.datetime_start else None,
        finished=trial.datetime_complete.timestamp() if trial.datetime_complete else None,
    )
