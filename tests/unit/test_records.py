"""What happened, as values that survive JSON."""

from __future__ import annotations

import math

from sweeper.records import EpochMetrics, TrialRecord, TrialState


def epoch(number: int, *, top1: float, val_loss: float = 1.0) -> EpochMetrics:
    return EpochMetrics(
        epoch=number, top1=top1, top5=1.0, macro_f1=top1, balanced_accuracy=top1, val_loss=val_loss, train_loss=1.0,
        lr=1e-3, train_seconds=1.0, eval_seconds=1.0, images_per_second=1.0, peak_memory_mb=1.0,
    )  # fmt: skip


def record(*epochs: EpochMetrics) -> TrialRecord:
    return TrialRecord(number=0, state=TrialState.RUNNING, params={}, epochs=epochs)


def test_the_earliest_of_equal_epochs_is_the_best() -> None:
    best = record(epoch(1, top1=0.1), epoch(2, top1=0.5), epoch(3, top1=0.5)).best_epoch("top1")
    assert best is not None
    assert best.epoch == 2


def test_what_is_not_a_number_is_never_the_best() -> None:
    best = record(epoch(1, top1=0.1, val_loss=math.nan), epoch(2, top1=0.2, val_loss=math.inf)).best_epoch("val_loss")
    assert best is not None
    assert best.epoch == 2
    assert record(epoch(1, top1=math.nan)).best_epoch("top1") is None


def test_a_loss_that_overflowed_survives_json() -> None:
    original = record(epoch(1, top1=0.1, val_loss=math.inf))
    assert TrialRecord.model_validate_json(original.model_dump_json()) == original
    assert TrialRecord.model_validate(original.model_dump(mode="json")) == original
