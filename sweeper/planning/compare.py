"""Predicted beside measured, for a sweep that has run."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

from sweeper.planning.plan import Plan
from sweeper.planning.predict import Predictor
from sweeper.records import TrialRecord
from sweeper.spec import SweepSpec


class Comparison(BaseModel):
    """The trials of one backbone: what was predicted of them and what was measured."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    backbone: str
    trials: int
    epochs: int
    predicted_seconds: float | None
    """An epoch, evaluation included; mean over all epochs that were run. None where no step was measured."""
    measured_seconds: float
    predicted_mb: float
    """Peak memory; mean over the trials."""
    measured_mb: float


def compare(spec: SweepSpec, plan: Plan, records: Iterable[TrialRecord]) -> tuple[Comparison, ...]:
    """Compares a sweep's plan with what its trials took; trials without a finished epoch do not count.

    Args:
        spec: the sweep.
        plan: what it was started with.
        records: its trials.
    """
    images = plan.measurements.images
    predictor = Predictor(spec, plan.place, plan.measurements, num_classes=images.classes if images else 2)
    by_backbone: dict[str, list[TrialRecord]] = {name: [] for name in spec.backbones}
    for record in records:
        if record.epochs:
            by_backbone[spec.backbone_of(record.params) or ""].append(record)
    return tuple(_compared(name, found, predictor) for name, found in by_backbone.items() if found)


def _compared(backbone: str, records: list[TrialRecord], predictor: Predictor) -> Comparison:
    predictions = [predictor.predict({"backbone": backbone, **record.params}) for record in records]
    epochs = sum(len(record.epochs) for record in records)
    seconds = None
    if all(one.epoch_seconds is not None for one in predictions):
        pairs = zip(predictions, records, strict=True)
        seconds = sum((one.epoch_seconds or 0.0) * len(record.epochs) for one, record in pairs) / epochs
    return Comparison(
        backbone=backbone,
        trials=len(records),
        epochs=epochs,
        predicted_seconds=seconds,
        measured_seconds=sum(record.seconds for record in records) / epochs,
        predicted_mb=sum(one.memory_mb for one in predictions) / len(records),
        measured_mb=sum(max(epoch.peak_memory_mb for epoch in record.epochs) for record in records) / len(records),
    )
