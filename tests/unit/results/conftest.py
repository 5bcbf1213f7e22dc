"""Trial records made by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sweeper.records import EpochMetrics, Failure, TrialRecord, TrialState

MakeRecord = Callable[..., TrialRecord]


@pytest.fixture
def make_record() -> MakeRecord:
    """Makes a record whose epochs have the given top-1 values."""

    def _make(number: int, *top1: float, state: TrialState = TrialState.COMPLETE, reason: str = "") -> TrialRecord:
        epochs = tuple(
            EpochMetrics(
                epoch=index, top1=value, top5=1.0, macro_f1=value, balanced_accuracy=value, val_loss=1 - value,
                train_loss=1.0, lr=1e-3, train_seconds=10.0, eval_seconds=2.0, images_per_second=50.0,
                peak_memory_mb=1.0,
            )
            for index, value in enumerate(top1, start=1)
        )  # fmt: skip
        failure = Failure(reason=reason) if reason else None
        return TrialRecord(number=number, state=state, params={"lr": 1e-3}, epochs=epochs, attempts=1, failure=failure)

    return _make
