"""What is in MLflow after a sweep, read back through its own client."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeper.errors import TrackingError
from sweeper.paths import Workspace
from sweeper.records import TrialState
from sweeper.spec.tracking import TrackingSpec
from sweeper.tracking import SweepInfo, Tracker, open_tracker
from sweeper.tracking.answers import RequestRefused, ServerAway
from sweeper.tracking.client import find_experiment
from sweeper.tracking.mlflow import MlflowRuns, connect

Open = Callable[[SweepInfo], MlflowRuns]


@pytest.fixture
def opened(store: str, workspace: Workspace) -> Open:
    """Opens a sweep's runs on the shared store."""
    return lambda info: connect(store, info.name, artifacts=workspace.mlflow_artifacts, info=info)


@pytest.fixture
def runs(opened: Open, info: SweepInfo) -> MlflowRuns:
    return opened(info)


def test_a_trial_is_a_child_of_its_sweep(runs: MlflowRuns, written: Any, made: Any) -> None:
    runs.write_trial(made.record(7, TrialState.COMPLETE, 2), made.config)
    child = written.children[7]
    assert child.data.tags["mlflow.parentRunId"] == written.parent.info.run_id
    assert child.info.run_name == "trial-007 davit_tiny lr=2.1e-04"
    assert child.info.status == "FINISHED"
    assert (child.info.start_time, child.info.end_time) == (1_790_000_420_000, 1_790_000_450_000)
    assert child.data.params["train.lr"] == child.data.params["lr"] == "0.00021"
    assert child.data.metrics["top1"] == pytest.approx(0.52)
    assert child.data.metrics["best_top1"] == pytest.approx(0.52)
    assert written.has_exactly([made.record(7, epochs=2)])


@pytest.mark.parametrize(("state", "status"), [(TrialState.STOPPED, "FINISHED"), (TrialState.FAILED, "FAILED")])
def test_a_trial_that_ended_early_says_how(
    runs: MlflowRuns, written: Any, made: Any, state: TrialState, status: str
) -> None:
    runs.write_trial(made.record(0, state, 1), made.config)
    assert written.children[0].info.status == status
    assert written.children[0].data.tags["sweeper.state"] == state.value


def test_a_waiting_trial_has_no_run_because_its_parameters_may_change(
    runs: MlflowRuns, written: Any, made: Any
) -> None:
    runs.write_trial(made.record(0, TrialState.WAITING, params={}, attempts=0), made.config)
    runs.write_sweep()
    assert written.children == {}
    assert written.parent.data.metrics["trials_waiting"] == 1.0


def test_the_sweep_shows_its_spec_environment_counts_and_best(runs: MlflowRuns, written: Any, made: Any) -> None:
    for number, state in enumerate([TrialState.COMPLETE, TrialState.FAILED, TrialState.RUNNING]):
        runs.write_trial(made.record(number, state, number), made.config)
    runs.write_sweep()
    parent = written.parent
    assert parent.info.status == "RUNNING"
    assert parent.data.metrics == {
        "trials_waiting": 0.0, "trials_running": 1.0, "trials_complete": 1.0, "trials_stopped": 0.0,
        "trials_failed": 1.0, "best_top1": pytest.approx(0.52),
    }  # fmt: skip
    for run in (parent, *written.children.values()):
        assert run.data.tags["sweeper.data_fingerprint"] == "f" * 16
        assert run.data.tags["sweeper.split_fingerprint"] == "5" * 16
    assert parent.data.tags["sweeper.env.python"] == sys.version.split()[0]
    artifacts = {file.path for file in written.client.list_artifacts(parent.info.run_id)}
    assert artifacts == {"resolved.yaml", "environment.json"}


def test_artifacts_lie_in_the_workspace_whatever_its_name(
    runs: MlflowRuns, workspace: Workspace, info: SweepInfo
) -> None:
    specs = list(workspace.mlflow_artifacts.rglob("resolved.yaml"))
    assert any(spec.read_text() == info.resolved_spec for spec in specs)
    assert workspace.mlflow_store.is_file()


def test_writing_again_changes_nothing(
    runs: MlflowRuns, opened: Open, info: SweepInfo, written: Any, made: Any
) -> None:
    records = [made.record(0, TrialState.COMPLETE, 3), made.record(1, TrialState.RUNNING, 2)]
    for record in records:
        runs.write_trial(record, made.config)
    runs.write_sweep()
    before = {run.info.run_id: run.data.to_dictionary() for run in written.runs()}
    again = opened(info)
    for record in records:
        again.write_trial(record, made.config)
        again.write_sweep()
    assert {run.info.run_id: run.data.to_dictionary() for run in written.runs()} == before
    assert written.has_exactly(records)
    counts = written.client.get_metric_history(written.parent.info.run_id, "trials_complete")
    assert [metric.value for metric in counts] == [1.0]


def test_a_request_that_was_taken_but_not_answered_leaves_no_second_row(
    runs: MlflowRuns, written: Any, made: Any
) -> None:
    record = made.record(0, epochs=3)
    runs.write_trial(record, made.config)
    runs._children[0].epochs = 1  # as after a lost answer, without reading back
    runs.write_trial(record, made.config)
    assert written.has_exactly([record])


def test_a_run_that_was_made_after_we_stopped_waiting_is_deleted(runs: MlflowRuns, written: Any, made: Any) -> None:
    runs.write_trial(made.record(0), made.config)
    real = written.children[0]
    late = written.client.create_run(real.info.experiment_id, tags=real.data.tags, start_time=1)
    runs.read_back()
    runs.write_trial(made.record(0, epochs=2), made.config)
    assert written.children[0].info.run_id == real.info.run_id
    assert written.client.get_run(late.info.run_id).info.lifecycle_stage == "deleted"


def test_a_resume_writes_only_what_is_new(
    runs: MlflowRuns, opened: Open, info: SweepInfo, written: Any, made: Any
) -> None:
    runs.write_trial(made.record(0, epochs=2), made.config)
    runs.end(finished=False)
    assert written.parent.info.status == written.children[0].info.status == "KILLED"
    run_id = written.children[0].info.run_id
    again = opened(info)
    assert written.parent.info.status == "RUNNING"
    assert again.epochs_of(0) == 2
    again.write_trial(made.record(0, epochs=4, attempts=2), made.config)
    assert written.children[0].info.run_id == run_id
    assert written.children[0].info.status == "RUNNING"
    assert written.children[0].data.tags["sweeper.attempts"] == "2"
    assert written.has_exactly([made.record(0, epochs=4)])


def test_a_parameter_is_never_written_twice(
    runs: MlflowRuns, opened: Open, info: SweepInfo, written: Any, made: Any
) -> None:
    runs.write_trial(made.record(0), made.config)
    moved = made.config.model_copy(update={"weights": "/elsewhere/weights.safetensors"})
    for writer in (runs, opened(info)):
        writer.write_trial(made.record(0, epochs=1), moved)
    assert written.children[0].data.params["weights"] == "pretrained"
    assert written.has_exactly([made.record(0, epochs=1)])


def test_a_long_backlog_and_many_settings_fit_into_mlflows_limits(runs: MlflowRuns, written: Any, made: Any) -> None:
    record = made.record(0, epochs=150)
    config = made.config.model_copy(update={"backbone_args": {f"a{n}": n for n in range(150)}})
    runs.write_trial(record, config)
    assert written.steps(0) == list(range(1, 151))
    assert written.children[0].data.params["backbone_args.a149"] == "149"


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_is_written_too(runs: MlflowRuns, written: Any, made: Any, number: float) -> None:
    epochs = (made.epoch(1), made.epoch(2, train_loss=number, val_loss=number))
    runs.write_trial(made.record(0).model_copy(update={"epochs": epochs}), made.config)
    assert written.steps(0, "train_loss") == [1, 2]
    assert written.children[0].data.metrics["best_top1"] == pytest.approx(0.52)


def test_sweeps_of_one_experiment_do_not_see_each_other(opened: Open, info: SweepInfo, made: Any) -> None:
    other = SweepInfo(info.name, "0" * 32, "top1", "", info.environment, "", "")
    first = opened(info)
    first.write_trial(made.record(0, epochs=2), made.config)
    assert opened(other).epochs_of(0) == 0


def test_the_experiment_can_be_named(workspace: Workspace, store: str, info: SweepInfo) -> None:
    tracker = open_tracker(TrackingSpec(experiment=f"all {info.sweep_id}"), workspace)
    tracker.begin(info)
    tracker.close(finished=True, timeout=30.0)
    assert find_experiment(store, f"all {info.sweep_id}")
    with pytest.raises(TrackingError, match=f"^There is no experiment `{info.name}` in MLflow at "):
        find_experiment(store, info.name)


def test_a_deleted_experiment_is_named_with_the_way_back(opened: Open, info: SweepInfo, written: Any) -> None:
    number = written.client.create_experiment(info.name)
    written.client.delete_experiment(number)
    message = (
        f"The experiment `{info.name}` was deleted in MLflow; bring it back with `mlflow experiments restore "
        f"--experiment-id {number}`, or name another as `tracking.experiment`."
    )
    with pytest.raises(RequestRefused, match=f"^{re.escape(message)}$"):
        opened(info)


def test_a_run_that_was_deleted_is_refused(runs: MlflowRuns, written: Any, made: Any) -> None:
    runs.write_trial(made.record(0, epochs=1), made.config)
    written.client.delete_run(written.children[0].info.run_id)
    with pytest.raises(RequestRefused, match="must be in the 'active' state"):
        runs.write_trial(made.record(0, epochs=2), made.config)


def test_a_store_that_cannot_be_opened_is_away(tmp_path: Path, info: SweepInfo) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("this is no database, but it is long enough to look like one " * 100)
    with pytest.raises(ServerAway, match="file is not a database"):
        connect(f"sqlite:///{file}", "x", artifacts=None, info=info)


def test_artifacts_that_cannot_be_written_stop_nothing(
    store: str, info: SweepInfo, tmp_path: Path, written: Any, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    connect(store, info.name, artifacts=tmp_path / "file" / "below", info=info)
    assert written.parent.info.status == "RUNNING"
    assert caplog.messages[0].startswith("MLflow's artifact store did not take `resolved.yaml` (")


@pytest.mark.slow
def test_nothing_is_printed_and_other_logs_are_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "it's ünüsual"
    script = f"""
import logging, warnings
from pathlib import Path
logging.basicConfig(level=logging.INFO, format="%(message)s")
warnings.simplefilter("always")
from sweeper.paths import Workspace
from sweeper.spec.tracking import TrackingSpec
from sweeper.tracking import SweepInfo, capture_environment, open_tracker
tracker = open_tracker(TrackingSpec(), Workspace(Path({str(folder)!r})))
tracker.begin(SweepInfo("s", "1", "top1", "", capture_environment(), "", ""))
assert tracker.close(finished=True, timeout=60.0).trials == 0
logging.getLogger("mine").info("mine is heard")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout + done.stderr == "mine is heard\n"
    assert (folder / "mlflow.db").is_file()
    assert not list(tmp_path.glob("ml*"))


def test_a_tracker_ends_what_it_began(tracker: Tracker, written: Any, made: Any) -> None:
    tracker.update(made.record(0, TrialState.COMPLETE, 3), made.config)
    assert tracker.close(finished=True, timeout=30.0).trials == 0
    assert written.parent.info.status == "FINISHED"
    assert written.has_exactly([made.record(0, epochs=3)])
