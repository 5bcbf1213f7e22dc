"""Every file the system writes is named here, and nowhere else."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TrialPaths:
    """The folder of one trial, `<sweep>/trials/0007/`."""

    root: Path

    @property
    def config(self) -> Path:
        """The trial's complete settings, as JSON."""
        return self.root / "config.json"

    @property
    def log(self) -> Path:
        """What the trial logged, all attempts in one file."""
        return self.root / "trial.log"

    @property
    def worker(self) -> Path:
        """Where it runs, as JSON, while it does."""
        return self.root / "worker.json"

    @property
    def home(self) -> Path:
        """There once the trial's files have come home from a store; in it, of which attempt they are."""
        return self.root / "home"

    @property
    def keep(self) -> Path:
        """There for as long as another sweep needs the trial's weights, as a teacher; what is in it says which."""
        return self.root / "keep"

    @property
    def stall(self) -> Path:
        """Where each thread of a worker was that was ended because it made no progress."""
        return self.root / "stall.txt"

    @property
    def stop_request(self) -> Path:
        """Written by `sweeper stop --trial`; the driver looks for it after each epoch."""
        return self.root / "stop"

    @property
    def retry(self) -> TrialPaths:
        """What `sweeper retry` writes; the sweep does not read it."""
        return TrialPaths(self.root / "retry")

    @property
    def checkpoint(self) -> Path:
        """The state after the last finished epoch, from which the trial goes on."""
        return self.root / "last.ckpt"

    @property
    def rerun(self) -> TrialPaths:
        """What `sweeper rerun` writes; the sweep does not read it."""
        return TrialPaths(self.root / "rerun")

    def seed(self, seed: int) -> TrialPaths:
        """Returns the folder of the same trial run again with another seed."""
        return TrialPaths(self.root / "seeds" / f"{seed:04d}")

    @property
    def best(self) -> Path:
        """The weights of the trial's best epoch, safetensors."""
        return self.root / "best.safetensors"

    @property
    def predictions(self) -> Path:
        """What that epoch said of each validation image, safetensors."""
        return self.root / "predictions.safetensors"

    def attempt(self, number: int) -> Path:
        """Returns the folder of an attempt at the trial: what it is in the middle of writing; gone when it is over."""
        return self.root / f".attempt-{number:06d}"

    def attempts(self) -> tuple[Path, ...]:
        """Returns the folders of the attempts that are not over, in order."""
        return tuple(sorted(self.root.glob(".attempt-*")))


@dataclass(frozen=True)
class EnsemblePaths:
    """The folder of an ensemble of finished models."""

    root: Path

    @property
    def members(self) -> Path:
        """Which models, with which weights, as JSON."""
        return self.root / "ensemble.json"


@dataclass(frozen=True)
class CombinedPaths:
    """What was made of the models of a sweep together, `<sweep>/combined/`."""

    root: Path

    @property
    def result(self) -> Path:
        """What was tried and how it did, as JSON."""
        return self.root / "combined.json"

    @property
    def soup(self) -> TrialPaths:
        """The mean of several trials' weights, laid out as a trial."""
        return TrialPaths(self.root / "soup")

    @property
    def ensemble(self) -> EnsemblePaths:
        """The ensemble."""
        return EnsemblePaths(self.root / "ensemble")

    @property
    def distilled(self) -> TrialPaths:
        """The trial that learned from the ensemble."""
        return TrialPaths(self.root / "distilled")


@dataclass(frozen=True)
class ModelPaths:
    """The folder of an exported model."""

    root: Path

    @property
    def config(self) -> Path:
        """What the model is, as JSON that timm reads too."""
        return self.root / "config.json"

    @property
    def weights(self) -> Path:
        """The weights, safetensors."""
        return self.root / "model.safetensors"

    @property
    def onnx(self) -> Path:
        """The network as ONNX."""
        return self.root / "model.onnx"

    @property
    def int8(self) -> Path:
        """The network as ONNX in whole numbers of eight bits."""
        return self.root / "model.int8.onnx"

    @property
    def program(self) -> Path:
        """The network as PyTorch's exported program."""
        return self.root / "model.pt2"

    @property
    def card(self) -> Path:
        """What a person should know of the model."""
        return self.root / "README.md"


@dataclass(frozen=True)
class SweepPaths:
    """The folder of one sweep, `<sweeps>/<name>/`."""

    root: Path

    @property
    def asked(self) -> Path:
        """The search space file as the user wrote it."""
        return self.root / "sweep.yaml"

    @property
    def resolved(self) -> Path:
        """The complete spec, defaults and overrides filled in; what `resume` reads."""
        return self.root / "resolved.yaml"

    @property
    def edits(self) -> Path:
        """What was changed since the sweep began, a line of JSON each time."""
        return self.root / "edits.jsonl"

    @property
    def data(self) -> Path:
        """What the images were when the sweep began: their fingerprints, splits and classes, as JSON."""
        return self.root / "data.json"

    @property
    def advice(self) -> Path:
        """What the search started from, as JSON: priors, the first look, earlier sweeps' trials."""
        return self.root / "advice.json"

    @property
    def plan(self) -> Path:
        """What the sweep was expected to cost when it started, JSON."""
        return self.root / "plan.json"

    @property
    def environment(self) -> Path:
        """The code and the machine that the sweep began with, JSON."""
        return self.root / "environment.json"

    @property
    def report(self) -> Path:
        """The sweep as one HTML page."""
        return self.root / "report.html"

    @property
    def study(self) -> Path:
        """The Optuna study, the sweep's ledger."""
        return self.root / "study.db"

    @property
    def seeds(self) -> Path:
        """Which trials were run again and with which seeds, as JSON."""
        return self.root / "seeds.json"

    @property
    def test(self) -> Path:
        """What the winner got on the held-out test, as JSON: where it is there, the test is used."""
        return self.root / "test.json"

    @property
    def test_predictions(self) -> Path:
        """What the winner said of each image of the held-out test, safetensors."""
        return self.root / "test.safetensors"

    @property
    def lock(self) -> Path:
        """Held by the one driver process of the sweep."""
        return self.root / "driver.lock"

    @property
    def stop_request(self) -> Path:
        """Written by `sweeper stop`; the driver looks for it."""
        return self.root / "stop"

    @property
    def pause_request(self) -> Path:
        """Written by `sweeper pause`; the driver starts nothing while it is there."""
        return self.root / "pause"

    @property
    def state(self) -> Path:
        """What the driver says of itself, as JSON, while it lives."""
        return self.root / "driver.json"

    @property
    def log(self) -> Path:
        """The driver's log."""
        return self.root / "driver.log"

    @property
    def output(self) -> Path:
        """What detached drivers of the sweep printed, one after another."""
        return self.root / "output.log"

    @property
    def engine(self) -> Path:
        """Ray Tune's own files; nothing in them is needed later."""
        return self.root / "engine"

    @property
    def combined(self) -> CombinedPaths:
        """What was made of its models together."""
        return CombinedPaths(self.root / "combined")

    def trial(self, number: int) -> TrialPaths:
        """Returns the paths of trial `number`."""
        return TrialPaths(self.root / "trials" / f"{number:04d}")


@dataclass(frozen=True)
class Workspace:
    """The folder that holds all sweeps, `./sweeps` unless `--root` or `SWEEPER_ROOT` says otherwise."""

    root: Path

    @property
    def mlflow_store(self) -> Path:
        """MLflow's SQLite file, shared by all sweeps of the workspace."""
        return self.root / "mlflow.db"

    @property
    def mlflow_artifacts(self) -> Path:
        """MLflow's artifact folder."""
        return self.root / "mlartifacts"

    def sweep(self, name: str) -> SweepPaths:
        """Returns the paths of the sweep called `name`."""
        return SweepPaths(self.root / name)


@dataclass(frozen=True)
class CachePaths:
    """What may be deleted at any time and is made again: decoded images, features and converted weights."""

    root: Path

    @classmethod
    def default(cls) -> CachePaths:
        """`SWEEPER_CACHE`, or `sweeper` under the user's cache folder."""
        if explicit := os.environ.get("SWEEPER_CACHE"):
            return cls(Path(explicit).absolute())
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return cls(Path(base) / "sweeper")

    def images(self, fingerprint: str) -> Path:
        """The folder of one decoded data set."""
        return self.root / "images" / fingerprint

    def features(self, key: str) -> Path:
        """The folder of what one frozen prefix gives for one data set."""
        return self.root / "features" / key

    @property
    def running(self) -> Path:
        """Folders of the trials that run on this machine, where the sweep's folder is not on it."""
        return self.root / "running"

    def weights(self, name: str) -> Path:
        """The converted weights called `name`, safetensors."""
        return self.root / "weights" / f"{name}.safetensors"


Writer = Callable[[Path], AbstractContextManager[Path]]
"""Gives a temporary path and moves it to the path it is called with, as `written_aside` does."""


@contextmanager
def written_aside(path: Path, *, flush: bool = True, within: Path | None = None) -> Iterator[Path]:
    """Gives a temporary path beside `path` and moves it there when the block ends well.

    A reader sees the old file or the whole new one, never a part. The file is flushed to disk before
    it is moved, so a power cut does not leave an empty one under the final name.

    Args:
        path: where the file belongs; its folder is made if missing.
        flush: False leaves the flushing to the caller, who has many such files.
        within: the folder of the temporary path, on the same disk, which must be there; by default that of `path`.

    Yields:
        The path to write to. It is removed if the block raises.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two machines that share the folder may both have a process of one id.
    aside = (within or path.parent) / f".{path.name}.{socket.gethostname()}-{os.getpid()}.part"
    try:
        yield aside
        if flush:
            flush_file(aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def flush_file(path: Path) -> None:
    """Waits until the content of a file is on the disk."""
    with path.open("rb") as handle:
        os.fsync(handle.fileno())
