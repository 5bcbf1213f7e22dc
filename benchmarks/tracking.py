"""Milliseconds an epoch that tracking takes out of a trial's path: sweeper's tracker against MLflow's fluent API.

Each epoch has 20 metrics. The peer logs them as people do, key by key or as one dictionary; sweeper hands the whole
record to its tracker. The last column adds up all epochs and, with sweeper, the wait for the rest at the end. Run::

    python benchmarks/tracking.py [--epochs 30]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import create_model
from rich.console import Console
from rich.table import Table

from sweeper.paths import Workspace
from sweeper.records import EpochMetrics, TrialRecord, TrialState
from sweeper.spec import TrialConfig
from sweeper.spec.tracking import TrackingSpec
from sweeper.tracking import SweepInfo, capture_environment, choose_uri, open_tracker, serve_ui

METRICS_AN_EPOCH = 20
# What a trial does between two epochs, shortened; the tracker's thread works meanwhile, in the same process.
TRAINING_SECONDS = 0.1
WideEpoch = create_model(
    "WideEpoch",
    __base__=EpochMetrics,
    **{f"more_{n}": (float, 0.5) for n in range(METRICS_AN_EPOCH - len(EpochMetrics.model_fields))},
)  # type: ignore[call-overload]


@dataclass(frozen=True)
class Cost:
    """What one way of logging costs."""

    epochs: list[float]
    """Seconds in the trial's path, by epoch."""
    total: float
    """Seconds waited in all: the epochs, and what is left to write at the end."""


def main() -> None:
    """Measures both ways on a file and on a server, and prints one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=30, help="epochs of the one trial [%(default)s]")
    epochs = parser.parse_args().epochs
    table = Table(title=f"Tracking in the trial's path, {METRICS_AN_EPOCH} metrics an epoch, {epochs} epochs")
    for column in ("where", "how", "median ms", "worst ms", "in all, s"):
        table.add_column(column, justify="left" if column in ("where", "how") else "right")
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        store = choose_uri(TrackingSpec(uri=None), workspace)
        with serve_ui(store, workspace) as server:
            for where, uri in (("SQLite file", store), ("MLflow server", server.url)):
                costs = {
                    "log_metric, key by key": run_fluent(uri, epochs, key_by_key=True),
                    "log_metrics, one dict": run_fluent(uri, epochs, key_by_key=False),
                    "sweeper": run_sweeper(uri, workspace, epochs),
                }
                for how, cost in costs.items():
                    median, worst = statistics.median(cost.epochs) * 1000, max(cost.epochs) * 1000
                    table.add_row(where, how, f"{median:.2f}", f"{worst:.1f}", f"{cost.total:.1f}")
    Console().print(table)


def run_fluent(uri: str, epochs: int, *, key_by_key: bool) -> Cost:
    """Logs as a training script does."""
    import mlflow

    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("peer")
    with mlflow.start_run():

        def log(step: int) -> None:
            values = {name: float(value) for name, value in make_epoch(step).model_dump().items()}
            if key_by_key:
                for name, value in values.items():
                    mlflow.log_metric(name, value, step=step)
            else:
                mlflow.log_metrics(values, step=step)

        seconds = [timed(log, step) for step in range(1, epochs + 1)]
    return Cost(seconds, sum(seconds))


def run_sweeper(uri: str, workspace: Workspace, epochs: int) -> Cost:
    """Hands the record over after each epoch, as the driver does."""
    config = TrialConfig.model_validate({"backbone": "davit_tiny", "data": {"source": "digits"}})
    tracker = open_tracker(TrackingSpec(uri=uri), workspace)
    tracker.begin(SweepInfo("ours", uri, "top1", "", capture_environment(), "", ""))
    done: list[EpochMetrics] = []

    def hand_over(step: int) -> None:
        done.append(make_epoch(step))
        state = TrialState.COMPLETE if step == epochs else TrialState.RUNNING
        record = TrialRecord(number=0, state=state, params={"lr": 1e-3}, epochs=tuple(done), started=time.time())
        tracker.update(record, config)

    seconds = [timed(hand_over, step) for step in range(1, epochs + 1)]
    start = time.perf_counter()
    backlog = tracker.close(finished=True, timeout=60.0)
    assert backlog.trials == 0
    return Cost(seconds, sum(seconds) + time.perf_counter() - start)


def timed(log: Callable[[int], None], step: int) -> float:
    """Returns the seconds of one call, after a little training."""
    time.sleep(TRAINING_SECONDS)
    start = time.perf_counter()
    log(step)
    return time.perf_counter() - start


def make_epoch(step: int) -> EpochMetrics:
    """An epoch with 20 numbers in it."""
    values = dict.fromkeys(EpochMetrics.model_fields, 0.5 + step / 1000)
    return WideEpoch.model_validate({**values, "epoch": step, "parameters": 2, "micro_batch": 2})


if __name__ == "__main__":
    main()
