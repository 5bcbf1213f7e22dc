"""When a trial has diverged: its loss is finite and yet nothing will come of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from sweeper.records import EpochMetrics

_EPOCHS: Final = 2
_LOSSES: Final = 2.0
_CHANCES: Final = 1.5


def diverged(epochs: Sequence[EpochMetrics], *, classes: int) -> str | None:
    """Returns why a trial has diverged, a sentence; None where it has not.

    It has if for two epochs in a row its validation loss is more than twice that of guessing, ln(classes), while its
    balanced accuracy is at most one and a half times that of guessing. One of the two alone is no divergence: a model
    that is sure of its mistakes has a large loss, and one that learns slowly is at chance with the loss of guessing.

    Args:
        epochs: of the trial, in order.
        classes: of the images.
    """
    guess = math.log(classes) if classes > 1 else math.inf
    last = epochs[-_EPOCHS:]
    lost = all(epoch.val_loss > _LOSSES * guess and epoch.balanced_accuracy <= _CHANCES / classes for epoch in last)
    if len(last) < _EPOCHS or not lost:
        return None
    return (
        f"it diverged: after epoch {last[-1].epoch} the validation loss is {last[-1].val_loss:.3g}, of guessing "
        f"{guess:.3g}, and balanced accuracy {last[-1].balanced_accuracy:.3g} is no better than guessing, the second "
        f"time in a row; lower `lr`, or let such trials go on with `search.stop_diverged: false`"
    )
