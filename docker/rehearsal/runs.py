"""Prints how many of the rehearsal's trials MLflow has, how they ended, and how many epochs each has."""

from collections import Counter

from mlflow import MlflowClient

client = MlflowClient()
experiment = client.get_experiment_by_name("rehearsal")
assert experiment is not None
runs = client.search_runs([experiment.experiment_id])
trials = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
print("sweeps:", [run.info.status for run in runs if run not in trials])
print("trials:", dict(Counter(run.info.status for run in trials)))
print("epochs of each:", sorted(len(client.get_metric_history(run.info.run_id, "top1")) for run in trials))
(sweep,) = (run for run in runs if run not in trials)
print("artifacts:", sorted(file.path for file in client.list_artifacts(sweep.info.run_id)))
