"""The tracker contract, kept by the tracker that writes nothing and by MLflow on SQLite."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.paths import Workspace
from sweeper.records import TrialState
from sweeper.spec.tracking import TrackingSpec
from sweeper.tracking import SweepInfo, capture_environment, open_tracker
from tests.contracts.tracker_contract import CONFIG, TrackerContract, record


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """One store for all: MLflow takes seconds to make one."""
    return Workspace(tmp_path_factory.mktemp("sweeps"))


class TestNoop(TrackerContract):
    @pytest.fixture
    def tracking(self) -> TrackingSpec:
        return TrackingSpec(enabled=False)

    def test_nothing_is_written(self, tracking: TrackingSpec, tmp_path: Path) -> None:
        tracker = open_tracker(tracking, Workspace(tmp_path))
        tracker.begin(SweepInfo("s", "1", "top1", "", capture_environment(), "", ""))
        tracker.update(record(0, TrialState.COMPLETE, epochs=1), CONFIG)
        tracker.close(finished=True, timeout=1.0)
        assert not list(tmp_path.iterdir())


class TestMlflow(TrackerContract):
    @pytest.fixture
    def tracking(self) -> TrackingSpec:
        return TrackingSpec()
