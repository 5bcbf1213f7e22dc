"""A sweep that is ready to run, with a real ledger and nobody watching."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeper.driver.attempts import Sweep
from sweeper.driver.observer import SweepObserver
from sweeper.paths import CachePaths, SweepPaths
from sweeper.planning.share import Share
from sweeper.records import Decision, EpochMetrics, Suggestion, TrialRecord
from sweeper.search import open_ledger
from sweeper.spec import SweepSpec
from sweeper.tracking import NoopTracker


class Diary(SweepObserver):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def trial_started(self, suggestion: Suggestion) -> None:
        self.lines.append(f"{suggestion.number} started, attempt {suggestion.attempt}")

    def epoch_ended(self, number: int, epoch: EpochMetrics, decision: Decision) -> None:
        self.lines.append(f"{number} epoch {epoch.epoch} {decision.value}")

    def trial_ended(self, record: TrialRecord) -> None:
        self.lines.append(f"{record.number} {record.state.value}")

    def trial_lost(self, number: int, *, again: bool) -> None:
        self.lines.append(f"{number} lost, {'again' if again else 'for good'}")


@pytest.fixture
def diary() -> Diary:
    return Diary()


@pytest.fixture
def make_sweep(tmp_path: Path, diary: Diary) -> Callable[..., Sweep]:
    """Builds a sweep of tiny trials; fields given win."""

    def _make(**fields: Any) -> Sweep:
        base: dict[str, Any] = {
            "name": "tiny",
            "data": {"source": "digits", "image_size": 32},
            "backbone": "test_efficientnet",
            "weights": "random",
            "train": {"epochs": 2, "batch_size": 128},
            "space": {"lr": {"log": [1e-3, 1e-2]}},
            "search": {"trials": 2},
        }
        spec = SweepSpec.model_validate({**base, **fields})
        paths = SweepPaths(tmp_path / "sweep")
        paths.root.mkdir(exist_ok=True)
        ledger = open_ledger(spec, f"sqlite:///{paths.study}", create=True)
        share = Share(cpus=1, gpus=0)
        return Sweep(spec, paths, CachePaths.default(), ledger, NoopTracker(), diary, share)

    return _make
