"""The ensemble taught to one model: one more trial, with the best trial's settings and the ensemble as its teacher."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sweeper.errors import ModelError
from sweeper.paths import TrialPaths
from sweeper.predictions import Predictions, read_predictions
from sweeper.records import EpochMetrics
from sweeper.spec.trial import TrialConfig
from sweeper.trial.run import run_trial
from sweeper.trial.runtime import Runtime

OnEpoch = Callable[[EpochMetrics], None]


def distil(config: TrialConfig, teacher: Path, to: TrialPaths, *, runtime: Runtime, on_epoch: OnEpoch) -> Predictions:
    """Trains the student and returns what its best epoch says; goes on from its checkpoint if it was interrupted.

    Args:
        config: the settings of the best trial.
        teacher: the ensemble's folder.
        to: the student's folder, laid out as a trial.
        runtime: what to train on.
        on_epoch: hears of each epoch.

    Raises:
        InputError: images, weights or device cannot be had as asked.
        TrialError: the loss is not finite.
        ModelError: the student's answers were too large to be kept.
    """
    train = config.train.model_copy(update={"teacher": str(teacher.absolute())})
    for metrics in run_trial(config.model_copy(update={"train": train}), to, runtime=runtime):
        on_epoch(metrics)
    to.checkpoint.unlink(missing_ok=True)
    said = read_predictions(to.predictions)
    if said is None:
        raise ModelError("The distilled model cannot be judged: its answers take more than is kept of a trial.")
    return said
