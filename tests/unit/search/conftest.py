"""A ledger on a real SQLite file, and epochs to report to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeper.records import EpochMetrics
from sweeper.search import Ledger, open_ledger
from sweeper.spec import SweepSpec


@pytest.fixture
def make_spec() -> Callable[..., SweepSpec]:
    """Builds a small spec; fields given win."""

    def _make(**fields: Any) -> SweepSpec:
        base: dict[str, Any] = {
            "name": "sweep",
            "data": {"source": "digits"},
            "backbone": "vit",
            "train": {"epochs": 4},
            "space": {"lr": {"log": [1e-4, 1e-2]}, "freeze_depth": {"int": [0, 3]}},
            "search": {"trials": 6},
        }
        return SweepSpec.model_validate({**base, **fields})

    return _make


@pytest.fixture
def open_on_disk(tmp_path: Path) -> Callable[[SweepSpec], Ledger]:
    """Opens the ledger of a spec on a file in the test's folder; again, as a new process would, each time."""
    return lambda spec: open_ledger(spec, f"sqlite:///{tmp_path}/study.db", create=True)


@pytest.fixture
def epoch() -> Callable[..., EpochMetrics]:
    """Makes the metrics of an epoch with a given top-1."""

    def _epoch(number: int, top1: float) -> EpochMetrics:
        return EpochMetrics(
            epoch=number,
            top1=top1,
            top5=top1,
            macro_f1=top1,
            balanced_accuracy=top1,
            val_loss=1 - top1,
            train_loss=1.0,
            lr=1e-3,
            train_seconds=2.0,
            eval_seconds=1.0,
            images_per_second=100.0,
            peak_memory_mb=1.0,
        )

    return _epoch
