"""Seconds between two trials when a trial imports torch and timm: sweeper, Ray Tune's default, Ray Tune with reuse.

    python benchmarks/handoff.py [--trials 12]

Each system runs the same number of trials, one at a time, that do nothing but import torch and timm and report
once; the figure is the time between the starts of two trials, its median over all but the first. sweeper's trials go
the whole way: asked of the study on SQLite, sent to a worker, begun, reported, told, tracked.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import tempfile
import time
from collections.abc import Callable, Generator
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from sweeper.driver.attempts import Sweep
from sweeper.driver.cluster import connected
from sweeper.driver.engine import run_trials
from sweeper.driver.observer import SweepObserver
from sweeper.driver.worker import TrialWorker
from sweeper.paths import CachePaths, SweepPaths
from sweeper.planning.share import Share
from sweeper.records import EpochMetrics, Suggestion
from sweeper.search import open_ledger
from sweeper.spec import SweepSpec
from sweeper.tracking import NoopTracker

Starts = list[float]


class Clock(SweepObserver):
    """Notes when each trial is handed out."""

    def __init__(self) -> None:
        self.starts: Starts = []

    def trial_started(self, suggestion: Suggestion) -> None:
        """Notes the time."""
        self.starts.append(time.perf_counter())


class IdleWorker(TrialWorker):
    """A worker that does all but train: its trials make the imports and report once."""

    def _begin(self, config: dict[str, Any]) -> None:
        super()._begin(config)
        self._epochs = no_training()


def no_training() -> Generator[EpochMetrics, None, None]:
    """Stands where `run_trial` stands: the imports are made, nothing is trained."""
    import timm  # noqa: F401
    import torch  # noqa: F401

    values = {name: 0.5 for name, field in EpochMetrics.model_fields.items() if field.is_required() and name != "epoch"}
    yield EpochMetrics(epoch=1, **values)


def run_sweeper(trials: int) -> Starts:
    """Runs sweeper's own driver over trials that do no training."""
    spec = SweepSpec.model_validate(
        {
            "name": "handoff",
            "data": {"source": "digits"},
            "backbone": "none",
            "train": {"epochs": 1},
            "space": {"lr": {"log": [1e-4, 1e-2]}},
            "search": {"trials": trials, "sampler": "tpe"},
            "resources": {"max_concurrent": 1},
        }
    )
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        paths = SweepPaths(Path(folder))
        ledger = open_ledger(spec, f"sqlite:///{paths.study}", create=True)
        share = Share(cpus=1, gpus=0)
        sweep = Sweep(spec, paths, CachePaths(Path(folder)), ledger, NoopTracker(), clock, share)
        run_trials(sweep, worker=IdleWorker)
    return clock.starts


def tune_trial(config: dict[str, Any]) -> None:
    """What a user of Ray Tune writes."""
    started = time.time()
    import timm  # noqa: F401
    import torch  # noqa: F401
    from ray import tune

    tune.report({"loss": config["lr"], "started": started})


def run_tune(trials: int, *, reuse: bool) -> Starts:
    """Runs Ray Tune with OptunaSearch as its documentation shows, with or without `reuse_actors`."""
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    with tempfile.TemporaryDirectory() as folder:
        results = tune.Tuner(
            tune.with_resources(tune_trial, {"cpu": 1}),
            param_space={"lr": tune.loguniform(1e-4, 1e-2)},
            tune_config=tune.TuneConfig(
                metric="loss", mode="min", num_samples=trials, search_alg=OptunaSearch(), max_concurrent_trials=1,
                reuse_actors=reuse,
            ),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        ).fit()  # fmt: skip
        return sorted(float(result.metrics["started"]) for result in results)


def gap(starts: Starts) -> float:
    """Returns the median time between two starts; the first gap has the cold start in it."""
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    return median(gaps[1:])


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=12)
    trials = parser.parse_args().trials
    logging.disable(logging.CRITICAL)
    # Ray Tune as it comes: with its result files and snapshots.
    for name in ("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "TUNE_GLOBAL_CHECKPOINT_S"):
        os.environ.pop(name, None)
    systems: dict[str, Callable[[], Starts]] = {
        "Ray Tune + OptunaSearch": lambda: run_tune(trials, reuse=False),
        "the same, reuse_actors": lambda: run_tune(trials, reuse=True),
        "sweeper": lambda: run_sweeper(trials),
    }
    with connected():
        figures = {name: gap(run()) for name, run in systems.items()}
    ours = figures["sweeper"]
    print(f"{'system':28}{'seconds a trial':>16}{'against sweeper':>18}")
    for name, seconds in figures.items():
        print(f"{name:28}{seconds:16.3f}{seconds / ours:17.1f}x")
    libraries = ", ".join(f"{name} {version(name)}" for name in ("ray", "optuna", "torch", "timm"))
    print(
        f"{trials} trials each, one at a time; python {platform.python_version()}, {libraries}, {os.cpu_count()} cores"
    )


if __name__ == "__main__":
    main()
