"""One YAML file becomes a ranked sweep, and what a person does with it afterwards."""

from __future__ import annotations

import json
from typing import Any

import mlflow
import pytest
from mlflow.entities import ViewType

pytestmark = pytest.mark.slow


def test_a_sweep_runs_is_ranked_tracked_and_refused_a_second_time(sweeper: Any) -> None:
    done = sweeper.run("run", "tiny.yaml", "--set", "search.trials=3", "--set", "train.epochs=2", "--json")
    assert done.returncode == 0, done.stderr
    board = json.loads(done.stdout)
    assert [row["rank"] for row in board["rows"]] == [1, 2, 3]
    assert board["rows"][0]["best"]["top1"] > 0.5
    assert "trial 0  epoch 1  top-1" in done.stderr

    folder = sweeper.folder / "sweeps" / "tiny"
    assert (folder / "sweep.yaml").read_text() == (sweeper.folder / "tiny.yaml").read_text()
    assert "trials: 3" in (folder / "resolved.yaml").read_text()
    assert sorted(path.name for path in (folder / "trials" / "0000").iterdir()) == [
        "best.safetensors", "config.json", "predictions.safetensors", "trial.log",
    ]  # fmt: skip

    again = sweeper.run("run", "tiny.yaml")
    assert again.returncode == 2
    assert "go on with `sweeper resume tiny`" in again.stderr

    status = json.loads(sweeper.run("status", "tiny", "--json").stdout)
    assert status["counts"]["complete"] == 3
    assert (status["alive"], status["explanation"]) == (False, "The sweep is finished.")
    table = sweeper.run("leaderboard", "tiny").stdout
    assert "top-1" in table
    assert "layer_decay" in table
    assert json.loads(sweeper.run("leaderboard", "tiny", "--json").stdout) == board

    (compared,) = json.loads(sweeper.run("plan", "tiny", "--json").stdout)
    assert (compared["backbone"], compared["trials"], compared["epochs"]) == ("test_efficientnet", 3, 6)
    assert 0.5 * compared["measured_mb"] < compared["predicted_mb"] < 1.5 * compared["measured_mb"]
    assert compared["predicted_seconds"] > 0

    assert "The report is in" in done.stderr
    assert "The sweep is finished: 3 trials." in (folder / "report.html").read_text()

    split = json.loads((folder / "data.json").read_text())["split_fingerprint"]
    check_mlflow(f"sqlite:///{sweeper.folder}/sweeps/mlflow.db", board, split)


def check_mlflow(uri: str, board: dict[str, Any], split: str) -> None:
    """The parent has three children; sorting them by the objective's best value finds the winner."""
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], run_view_type=ViewType.ACTIVE_ONLY)
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert len(children) == 3
    assert "report.html" in [file.path for file in client.list_artifacts(parent.info.run_id)]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {run.data.tags["sweeper.split_fingerprint"] for run in runs} == {split}
    best = max(children, key=lambda run: run.data.metrics["best_top1"])
    winner = board["rows"][0]
    assert best.data.tags["sweeper.trial"] == str(winner["number"])
    assert best.data.metrics["best_top1"] == pytest.approx(winner["best"]["top1"])
    for run in children:
        steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "top1")]
        assert steps == [1, 2]
