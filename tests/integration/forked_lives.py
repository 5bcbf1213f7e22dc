"""A sweep without Ray around it, in process after process: each is killed at a write, the next one goes on.

Imports once and forks a process for each life, so that a life costs milliseconds and there can be many.
Usage: python forked_lives.py FOLDER IMAGES SEED, where a SEED of -1 kills nobody. Prints how many were killed.
"""

from __future__ import annotations

import itertools
import logging
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mlflow import MlflowClient
from optuna.storages import RDBStorage

import sweeper.paths
import sweeper.tracking.mlflow
from sweeper.driver.attempts import Attempts, Sweep
from sweeper.driver.observer import NullObserver
from sweeper.paths import CachePaths, TrialPaths, Workspace
from sweeper.planning.share import Share
from sweeper.records import Decision
from sweeper.search import open_ledger
from sweeper.spec import SweepSpec
from sweeper.tracking import SweepInfo, capture_environment, open_tracker
from sweeper.trial.run import run_trial
from sweeper.trial.runtime import Runtime
from sweeper.trial.training import Training

LEDGER = (
    "create_new_trial", "set_trial_param", "set_trial_state_values", "set_trial_intermediate_value",
    "set_trial_user_attr", "set_trial_system_attr", "set_study_user_attr", "create_new_study",
)  # fmt: skip
TRACKER = ("create_run", "log_batch", "update_run", "set_terminated")


def make_spec(images: Path) -> SweepSpec:
    return SweepSpec.model_validate(
        {
            "name": "sweep",
            "data": {"source": "folder", "root": str(images), "image_size": 32, "store_size": 32},
            "backbone": "test_efficientnet",
            "weights": "random",
            "train": {"epochs": 4, "batch_size": 16, "warmup_epochs": 0.5},
            "space": {"lr": {"log": [1e-3, 1e-2]}, "layer_decay": {"uniform": [0.7, 1.0]}},
            "search": {"trials": 6, "sampler": "tpe", "stop": {"asha": {"grace_epochs": 1, "reduction": 2}}},
        }
    )


class Death:
    """Ends this process at its so-many-th write, before the write or after it."""

    def __init__(self, write: int, *, done: bool) -> None:
        self._write = write
        self._done = done
        # MLflow is written from a thread of its own: each write takes its own number, and none can be passed over.
        self._writes = itertools.count(1)

    def at(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns a function that does the same, and counts as a write."""

        def writing(*args: Any, **kwargs: Any) -> Any:
            last = next(self._writes) == self._write
            if last and not self._done:
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*args, **kwargs)
            if last:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return writing

    def wait(self) -> None:
        """Waits behind every function that writes a file, the ledger or MLflow."""
        for kind, names in ((RDBStorage, LEDGER), (MlflowClient, TRACKER)):
            for name in names:
                setattr(kind, name, self.at(getattr(kind, name)))
        sweeper.paths.flush_file = self.at(sweeper.paths.flush_file)
        Path.replace = self.at(Path.replace)  # type: ignore[method-assign]


def live(folder: Path, images: Path) -> None:
    """One driver and its worker, until the sweep is over."""
    torch.set_num_threads(1)
    workspace, spec, cache = Workspace(folder), make_spec(images), CachePaths(images.parent / "cache")
    paths = workspace.sweep("sweep")
    paths.root.mkdir(parents=True, exist_ok=True)
    ledger = open_ledger(spec, f"sqlite:///{paths.study}", create=True)
    tracker = open_tracker(spec.tracking, workspace)
    tracker.begin(SweepInfo("sweep", ledger.sweep_id, "top1", "", capture_environment(), "data", "split"))
    attempts = Attempts(
        Sweep(spec, paths, cache, ledger, tracker, NullObserver(), Share(cpus=1, gpus=0)), slots=lambda: 1
    )
    for record in ledger.records():
        if record.attempts:
            tracker.update(record, None)
    attempts.take_over()
    while not attempts.are_over:
        assignment = attempts.next("attempt")
        assert assignment is not None
        trial = TrialPaths(assignment.folder)
        trial.root.mkdir(parents=True, exist_ok=True)
        log = logging.FileHandler(trial.log)
        logging.getLogger("sweeper").addHandler(log)
        runtime = Runtime("cpu", 1, cache, attempt=assignment.attempt)
        epochs = run_trial(assignment.config, trial, runtime=runtime)
        for metrics in epochs:
            if attempts.epoch_ended("attempt", metrics) is Decision.STOP:
                break
        epochs.close()
        attempts.ended("attempt", None)
        logging.getLogger("sweeper").removeHandler(log)
    backlog = tracker.close(finished=True, timeout=300.0)
    assert backlog.trials == 0


def log_begun_epochs() -> None:
    """Writes into a trial's log which epochs it begins."""
    begin = Training.epoch

    def epoch(self: Training, epoch: int, **begun: Any) -> Any:
        logging.getLogger("sweeper.trial").info("Begin %d.", epoch)
        return begin(self, epoch, **begun)

    Training.epoch = epoch  # type: ignore[method-assign]


def main(folder: Path, images: Path, seed: int) -> int:
    """Lets lives follow each other until one comes to its end; returns how many were killed."""
    logging.getLogger("sweeper").setLevel(logging.INFO)
    log_begun_epochs()
    draws, killed = random.Random(seed), 0
    while True:
        write, done = draws.randint(1, 16), draws.random() < 0.5
        child = os.fork()
        if child == 0:
            if seed >= 0:
                Death(write, done=done).wait()
            try:
                live(folder, images)
            except BaseException:
                logging.getLogger().exception("A life ended badly.")
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status == 0:
            return killed
        assert os.WIFSIGNALED(status), f"exit code {os.waitstatus_to_exitcode(status)}"
        killed += 1


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
