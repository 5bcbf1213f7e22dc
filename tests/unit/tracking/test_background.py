"""What becomes of a sweep's results while MLflow is away."""

from __future__ import annotations

import logging
import re
import time
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from sweeper.errors import TrackingError
from sweeper.paths import Workspace
from sweeper.records import TrialState
from sweeper.spec.tracking import TrackingSpec
from sweeper.tracking import Backlog, SweepInfo, Tracker, open_tracker
from sweeper.tracking.server import _free_port

Begin = Callable[[], Tracker]


def test_records_arrive_while_the_sweep_runs(tracker: Tracker, written: Any, made: Any) -> None:
    tracker.update(made.record(0, epochs=1), made.config)
    written.wait(lambda: written.epochs() == 1)
    assert written.children[0].info.status == "RUNNING"
    tracker.update(made.record(0, TrialState.COMPLETE, 2), made.config)
    written.wait(lambda: written.children[0].info.status == "FINISHED")
    assert written.parent.info.status == "RUNNING"


def test_only_the_latest_record_of_a_trial_is_written(tracker: Tracker, written: Any, made: Any) -> None:
    for epochs in range(30):
        tracker.update(made.record(0, epochs=epochs), made.config)
    assert tracker.close(finished=True, timeout=30.0) == Backlog()
    assert written.has_exactly([made.record(0, epochs=29)])


def test_an_interrupted_sweep_leaves_no_run_as_running(tracker: Tracker, written: Any, made: Any) -> None:
    tracker.update(made.record(0, TrialState.COMPLETE, 2), made.config)
    tracker.update(made.record(1, TrialState.RUNNING, 1), made.config)
    assert tracker.close(finished=False, timeout=30.0) == Backlog()
    assert written.parent.info.status == "KILLED"
    assert {n: run.info.status for n, run in written.children.items()} == {0: "FINISHED", 1: "KILLED"}


def test_a_record_that_is_refused_holds_up_no_other(
    tracker: Tracker, written: Any, made: Any, caplog: pytest.LogCaptureFixture
) -> None:
    tracker.update(made.record(0, epochs=1), made.config)
    written.wait(lambda: written.epochs() == 1)
    tracker.update(made.record(1, started=-10.0), made.config)  # MLflow takes no time before 1970
    tracker.update(made.record(1, started=-10.0, epochs=2), made.config)
    tracker.update(made.record(2, epochs=3), made.config)
    assert tracker.close(finished=True, timeout=30.0) == Backlog(trials=1, epochs=2)
    assert written.steps(2) == [1, 2, 3]
    warnings = [m for m in caplog.messages if "does not take trial 1: " in m]
    assert len(warnings) == 1


def test_a_run_that_somebody_deleted_is_made_again(tracker: Tracker, written: Any, made: Any) -> None:
    tracker.update(made.record(0, epochs=1), made.config)
    written.wait(lambda: written.epochs() == 1)
    written.client.delete_run(written.children[0].info.run_id)
    for epochs in (2, 3):
        tracker.update(made.record(0, epochs=epochs), made.config)
        written.wait(lambda: not tracker._waiting)  # type: ignore[attr-defined]
    assert tracker.close(finished=True, timeout=30.0) == Backlog()
    assert written.has_exactly([made.record(0, epochs=3)])


def test_a_sweep_does_not_start_without_the_server_it_asks_for(workspace: Workspace, info: SweepInfo) -> None:
    port = _free_port("127.0.0.1", None)
    tracker = open_tracker(TrackingSpec(uri=f"http://me:secret@127.0.0.1:{port}"), workspace)
    message = (
        f"MLflow must answer when a sweep starts, but `http://127.0.0.1:{port}` does not (no connection); start it, "
        "correct `tracking.uri`, or go without by `--set tracking.enabled=false`."
    )
    start = time.monotonic()
    with pytest.raises(TrackingError, match=f"^{re.escape(message)}$") as caught:
        tracker.begin(info)
    assert time.monotonic() - start < 30.0  # MLflow's defaults would take 246 s
    assert "secret" not in "".join(traceback.format_exception(caught.value))
    assert tracker.close(finished=False, timeout=1.0) == Backlog()


@pytest.mark.slow
def test_a_server_that_is_killed_and_comes_back_misses_nothing(
    begin_on_server: Begin, server: Any, written: Any, made: Any, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = begin_on_server()
    caplog.set_level(logging.INFO, logger="sweeper")
    for number in range(8):
        tracker.update(made.record(number, epochs=20), made.config)
    written.wait(lambda: written.epochs() > 0)
    server.kill()  # in the middle of writing
    records = [made.record(number, TrialState.COMPLETE, 25) for number in range(9)]
    for record in records:
        tracker.update(record, made.config)
    written.wait(lambda: any("is away (no connection)" in message for message in caplog.messages))
    assert written.epochs() < 9 * 25
    server.start()
    assert tracker.close(finished=True, timeout=60.0) == Backlog()
    assert written.has_exactly(records)
    assert {run.info.status for run in written.runs()} == {"FINISHED"}
    assert written.parent.data.metrics["trials_complete"] == 9.0
    assert len([message for message in caplog.messages if "is away" in message]) == 1
    assert len([message for message in caplog.messages if "is back after" in message]) == 1


@pytest.mark.slow
def test_what_a_frozen_server_did_not_take_is_counted_and_delivered_by_a_resume(
    begin_on_server: Begin, server: Any, written: Any, made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = begin_on_server()
    tracker.update(made.record(0, epochs=2), made.config)
    tracker.update(made.record(1, epochs=3), made.config)
    written.wait(lambda: written.epochs() == 5)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")  # not before: a busy server may take longer to answer
    records = [made.record(0, TrialState.COMPLETE, 4), made.record(1, epochs=3), made.record(2, epochs=1)]
    with server.frozen():
        tracker.update(records[0], made.config)
        tracker.update(records[2], made.config)
        tracker.update(made.record(3, TrialState.WAITING, params={}), None)
        start = time.monotonic()
        backlog = tracker.close(finished=False, timeout=2.0)
        assert time.monotonic() - start < 4.0
        assert backlog == Backlog(trials=2, epochs=3)
        monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT")
    resumed = begin_on_server()
    for record in records:
        resumed.update(record, made.config)
    assert resumed.close(finished=True, timeout=60.0) == Backlog()
    assert written.has_exactly(records)


@pytest.mark.slow
def test_a_run_that_a_frozen_server_makes_too_late_is_not_a_second_one(
    begin_on_server: Begin, server: Any, written: Any, made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = begin_on_server()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with server.frozen():
        tracker.update(made.record(0, epochs=2), made.config)
        written.wait(lambda: tracker._was_away)  # type: ignore[attr-defined]
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT")
    assert tracker.close(finished=True, timeout=60.0) == Backlog()
    assert written.has_exactly([made.record(0, epochs=2)])
