"""What other runs in MLflow have tried, for a search that starts from it. Imports mlflow: import it when needed."""

from __future__ import annotations

from collections.abc import Iterator

from mlflow import MlflowClient
from mlflow.entities import Run

from sweeper.records import ParamValue, PastTrial
from sweeper.tracking.client import find_experiment, open_client, translated
from sweeper.tracking.projection import PARENT_TAG

_RUNS_A_PAGE = 1000


def read_experiment(uri: str, experiment: str, objective: str) -> tuple[tuple[PastTrial, ...], str | None]:
    """Returns the runs of an experiment that have the objective among their metrics, and their images' fingerprint.

    Runs below a run that has a parent itself are left out: they are a trial again, over seeds.

    A metric's step is an epoch; a run without `train.epochs` among its parameters counts as full at the longest
    run's last step.

    Args:
        uri: of the MLflow store or server.
        experiment: its name.
        objective: the metric.

    Returns:
        The trials, and the data fingerprint that sweeper gave the runs: None where there is none, or several.

    Raises:
        TrackingError: there is no such experiment, or nothing answers.
    """
    experiment_id = find_experiment(uri, experiment)
    client = open_client(uri)
    past: list[PastTrial] = []
    fingerprints: set[str] = set()
    with translated(uri):
        runs = list(_runs(client, experiment_id))
        parents = {run.info.run_id: run.data.tags.get(PARENT_TAG) for run in runs}
        for run in runs:
            if fingerprint := run.data.tags.get("sweeper.data_fingerprint"):
                fingerprints.add(fingerprint)
            repeats = parents.get(parents[run.info.run_id] or "") is not None  # a trial again, over a seed
            if repeats or objective not in run.data.metrics:
                continue
            points = client.get_metric_history(run.info.run_id, objective)
            values = tuple(sorted({max(1, point.step): point.value for point in points}.items()))
            settings: dict[str, ParamValue] = dict(run.data.params)
            past.append(PastTrial(settings=settings, searched=(), values=values, epochs=values[-1][0]))
    longest = max((trial.epochs for trial in past), default=1)
    trials = tuple(trial.model_copy(update={"epochs": _epochs(trial, longest)}) for trial in past)
    return trials, fingerprints.pop() if len(fingerprints) == 1 else None


def _runs(client: MlflowClient, experiment_id: str) -> Iterator[Run]:
    token = None
    while True:
        page = client.search_runs([experiment_id], max_results=_RUNS_A_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _epochs(trial: PastTrial, longest: int) -> int:
    asked = str(trial.settings.get("train.epochs", trial.settings.get("epochs", "")))
    return int(asked) if asked.isdigit() and int(asked) > 0 else longest
