"""What every tracker promises the driver, whatever is behind it. A subclass gives the `tracking` fixture."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from sweeper.paths import Workspace
from sweeper.records import EpochMetrics, TrialRecord, TrialState
from sweeper.spec import TrialConfig
from sweeper.spec.tracking import TrackingSpec
from sweeper.tracking import Backlog, SweepInfo, Tracker, capture_environment, open_tracker

CONFIG = TrialConfig.model_validate({"backbone": "vit_tiny_patch16_224", "data": {"source": "digits"}})

Open = Callable[[], Tracker]


def record(number: int, state: TrialState, *, epochs: int = 0, **changed: Any) -> TrialRecord:
    fields = {**dict.fromkeys(EpochMetrics.model_fields, 0.5), "parameters": 2, "micro_batch": 2}
    done = tuple(EpochMetrics.model_validate({**fields, "epoch": n}) for n in range(1, epochs + 1))
    made = TrialRecord(number=number, state=state, params={"lr": 1e-3}, epochs=done, attempts=1, started=1.79e9)
    return made.model_copy(update=changed)


class TrackerContract:
    @pytest.fixture
    def open(self, tracking: TrackingSpec, workspace: Workspace) -> Open:
        """Opens a tracker on one and the same sweep, as a run and its resumes do."""
        sweep_id = uuid.uuid4().hex
        info = SweepInfo(f"sweep-{sweep_id}", sweep_id, "top1", "name: x\n", capture_environment(), "0" * 16, "1" * 16)

        def begin() -> Tracker:
            tracker = open_tracker(tracking, workspace)
            tracker.begin(info)
            return tracker

        return begin

    def test_a_sweep_without_trials_ends_well(self, open: Open) -> None:
        assert open().close(finished=True, timeout=30.0) == Backlog()

    @pytest.mark.parametrize("state", list(TrialState))
    def test_a_trial_in_any_state_is_taken(self, open: Open, state: TrialState) -> None:
        tracker = open()
        tracker.update(record(0, state, epochs=2), CONFIG)
        assert tracker.close(finished=False, timeout=30.0) == Backlog()

    def test_settings_and_parameters_may_be_unknown(self, open: Open) -> None:
        tracker = open()
        tracker.update(record(0, TrialState.RUNNING, params={}, started=None), None)
        assert tracker.close(finished=True, timeout=30.0) == Backlog()

    def test_a_number_that_is_none_is_taken(self, open: Open) -> None:
        (good,) = record(0, TrialState.FAILED, epochs=1).epochs
        bad = good.model_copy(update={"val_loss": math.nan, "top1": math.nan})
        tracker = open()
        tracker.update(record(0, TrialState.FAILED).model_copy(update={"epochs": (bad,)}), CONFIG)
        assert tracker.close(finished=True, timeout=30.0) == Backlog()

    def test_all_records_may_be_handed_over_again_by_a_resume(self, open: Open) -> None:
        first = open()
        first.update(record(0, TrialState.RUNNING, epochs=2), CONFIG)
        assert first.close(finished=False, timeout=30.0) == Backlog()
        second = open()
        second.update(record(0, TrialState.COMPLETE, epochs=3), CONFIG)
        assert second.close(finished=True, timeout=30.0) == Backlog()

    def test_closing_without_having_begun_or_twice_does_nothing(
        self, open: Open, tracking: TrackingSpec, workspace: Workspace
    ) -> None:
        assert open_tracker(tracking, workspace).close(finished=False, timeout=0.0) == Backlog()
        tracker = open()
        assert tracker.close(finished=True, timeout=30.0) == Backlog()
        assert tracker.close(finished=True, timeout=30.0) == Backlog()
