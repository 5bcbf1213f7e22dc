"""Runs over seeds in a real MLflow store: nested under their trial's run, which says what they come to."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.paths import Workspace
from sweeper.records import TrialState
from sweeper.seeds import SeedPlan
from sweeper.spec.tracking import TrackingSpec
from sweeper.tracking import SweepInfo, capture_environment, choose_uri, open_seed_tracker, open_tracker
from sweeper.tracking.client import open_client
from sweeper.tracking.history import read_experiment
from tests.unit.tracking.conftest import CONFIG, make_epoch, make_record


def test_they_are_nested_under_the_run_of_their_trial(tmp_path: Path) -> None:
    workspace, spec = Workspace(tmp_path), TrackingSpec()
    info = SweepInfo(
        name="fungi", sweep_id="0a", objective="top1", resolved_spec="name: fungi\n",
        environment=capture_environment(), data_fingerprint="d", split_fingerprint="s",
    )  # fmt: skip
    tracker = open_tracker(spec, workspace)
    tracker.begin(info)
    for number in (0, 1):
        tracker.update(make_record(number, TrialState.COMPLETE, epochs=2), CONFIG)
    assert tracker.close(finished=True, timeout=60).trials == 0

    plan = SeedPlan(trials=(1, 0), points=({}, {}), seeds=(1, 2))
    for _ in range(2):  # a second time, as after an interruption, adds nothing
        seeds = open_seed_tracker(spec, workspace, plan)
        seeds.begin(info)
        for number, top1 in enumerate((0.7, 0.5, 0.8)):
            record = make_record(number, TrialState.COMPLETE).model_copy(update={"epochs": (make_epoch(1, top1=top1),)})
            seeds.update(record, CONFIG)
        assert seeds.close(finished=True, timeout=60).trials == 0

    client = open_client(choose_uri(spec, workspace))
    experiment = client.get_experiment_by_name("fungi")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    trials = {run.data.tags["sweeper.trial"]: run for run in runs if "sweeper.trial" in run.data.tags}
    nested = {
        run.info.run_name: run.data.tags["mlflow.parentRunId"] for run in runs if "sweeper.seed_run" in run.data.tags
    }
    assert nested == {
        "trial-001 davit_tiny lr=2.1e-04 seed=1": trials["1"].info.run_id,
        "trial-000 davit_tiny lr=2.1e-04 seed=1": trials["0"].info.run_id,
        "trial-001 davit_tiny lr=2.1e-04 seed=2": trials["1"].info.run_id,
    }
    assert trials["1"].data.metrics["seeds_top1_mean"] == pytest.approx(0.75)
    assert trials["1"].data.metrics["seeds_top1_std"] == pytest.approx(0.05)

    # Whoever learns from this experiment hears of each trial once.
    past, _ = read_experiment(choose_uri(spec, workspace), "fungi", "top1")
    assert sorted(len(trial.values) for trial in past) == [2, 2]
