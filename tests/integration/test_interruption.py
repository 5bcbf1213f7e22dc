"""Kill it, stop it, press Ctrl-C: nothing that was computed is lost, nothing finished runs again."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from pathlib import Path
from typing import Any

import mlflow
import pytest

pytestmark = pytest.mark.slow


def attempts_by_trial(folder: Path) -> dict[int, int]:
    """How often each trial was started, read from the ledger's file itself."""
    with sqlite3.connect(folder / "sweeps/tiny/study.db") as ledger:
        rows = ledger.execute(
            "select number, value_json from trials join trial_user_attributes using (trial_id) where key = 'attempts'"
        ).fetchall()
    return {int(number): int(value) for number, value in rows}


def epochs_logged(folder: Path, number: int) -> list[int]:
    """The epochs that a trial's worker trained, from its log; a repeated one would stand there twice."""
    log = (folder / f"sweeps/tiny/trials/{number:04d}/trial.log").read_text()
    return [int(line.rsplit("Epoch ", 1)[1].split()[0].rstrip(":.")) for line in log.splitlines() if "Epoch " in line]


def finish(sweeper: Any) -> list[dict[str, Any]]:
    """Resumes, and returns the leaderboard's rows."""
    done = sweeper.run("resume", "tiny", "--json")
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, Any]] = json.loads(done.stdout)["rows"]
    return rows


def test_a_killed_driver_costs_at_most_one_epoch_of_each_running_trial(sweeper: Any) -> None:
    driver = sweeper.start("run", "tiny.yaml", "--set", "train.epochs=4")
    sweeper.wait_for(driver, "trial 2  epoch 2")
    sweeper.children(driver)
    before = attempts_by_trial(sweeper.folder)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    sweeper.end_leftovers()

    status = json.loads(sweeper.run("status", "tiny", "--json").stdout)
    assert not status["alive"]
    assert "No driver is running; `sweeper resume tiny` goes on" in status["explanation"]
    finished = status["counts"]["complete"]
    assert finished >= 1
    interrupted = {trial["number"]: trial["epochs"] for trial in status["running"]}
    assert interrupted

    rows = finish(sweeper)
    assert sorted(row["number"] for row in rows) == [0, 1, 2, 3]
    assert {row["epochs"] for row in rows} == {4}
    after = attempts_by_trial(sweeper.folder)
    for number in before:
        assert after[number] == before[number] + (number in interrupted)
    assert sorted(epochs_logged(sweeper.folder, 0)) == [1, 2, 3, 4]
    for number, known in interrupted.items():
        # The epoch that was being trained may be trained again; one that was written down never is.
        repeated = [epoch for epoch in range(1, known + 1) if epochs_logged(sweeper.folder, number).count(epoch) > 1]
        assert repeated == []
    check_every_metric_once(sweeper.folder)


def check_every_metric_once(folder: Path) -> None:
    """MLflow has each epoch of each trial once, and no run is left running."""
    client = mlflow.MlflowClient(f"sqlite:///{folder}/sweeps/mlflow.db")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 5
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in runs:
        if "sweeper.trial" in run.data.tags:
            assert [m.step for m in client.get_metric_history(run.info.run_id, "top1")] == [1, 2, 3, 4]


@pytest.mark.parametrize("way", ["SIGINT", "SIGTERM", "stop"])
def test_a_stopped_sweep_says_how_to_go_on_and_does(sweeper: Any, way: str) -> None:
    # Long enough not to be over before the request arrives.
    driver = sweeper.start("run", "tiny.yaml", "--set", "search.trials=2", "--set", "train.epochs=12")
    sweeper.wait_for(driver, "epoch 1")
    if way == "stop":
        assert "will stop within seconds" in sweeper.run("stop", "tiny").stdout
    else:
        os.kill(driver.pid, signal.Signals[way])
    assert driver.wait(timeout=60) == 130
    assert "Stopped; `sweeper resume tiny` goes on where it was." in sweeper.progress()
    status = json.loads(sweeper.run("status", "tiny", "--json").stdout)
    assert status["counts"]["running"] >= 1
    if way == "SIGINT":
        assert sweeper.run("stop", "tiny").stdout == "tiny is not running.\n"
        assert [row["epochs"] for row in finish(sweeper)] == [12, 12]
