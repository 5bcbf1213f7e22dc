"""What kills cost a sweep: sweeper beside Ray Tune + OptunaSearch with `Tuner.restore`, killed at the same moments.

    python benchmarks/chaos.py [--kills 6] [--trials 6] [--epochs 6] [--seed 0]

Both fine-tune the same model on scikit-learn's digits, two trials at a time, save a checkpoint after each epoch and
log to MLflow on SQLite. In turn the driver, a worker and all processes get SIGKILL by their ids, so many seconds after
a driver has trained its first epoch; the seconds are drawn once and are the same for both. After each death of a driver
the sweep is taken up again: `sweeper resume`, `Tuner.restore`. An epoch counts as executed when it was trained to its
end.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final

import psutil

_VICTIMS: Final = ("driver", "worker", "all")
_WORKERS: Final = re.compile(r"^ray::(?!IDLE)\S*(Trainable|ImplicitFunc)")
_LIVES: Final = 20
"""Drivers in a row, after which a sweep counts as one that does not come to its end."""
_SPACE: Final = """\
name: chaos
data: {{source: digits, image_size: 32}}
backbone: test_efficientnet
weights: random
train: {{epochs: {epochs}, batch_size: 64}}
augment: {{hflip: 0.0}}
space: {{lr: {{log: [1.0e-3, 1.0e-2]}}}}
search: {{trials: {trials}, sampler: tpe, first_look: false}}
resources: {{max_concurrent: 2}}
"""


@dataclass(frozen=True)
class Size:
    """How large the sweep is."""

    trials: int
    epochs: int


class System:
    """A sweep in a folder of its own, by one system."""

    name: str

    def __init__(self, folder: Path, size: Size) -> None:
        self.folder = folder
        self.size = size

    def command(self) -> Sequence[str]:
        """Begins the sweep, or takes it up again."""
        raise NotImplementedError

    def trained(self) -> dict[str, list[int]]:
        """The epochs trained to their end, in that order, by trial."""
        raise NotImplementedError

    def trial_of(self, run: Any) -> str | None:
        """The trial that a run of MLflow is of; None where it is of none."""
        raise NotImplementedError


class Sweeper(System):
    """This project, by its command line."""

    name = "sweeper"

    def command(self) -> Sequence[str]:
        """Runs the space, or resumes the sweep."""
        space = self.folder / "chaos.yaml"
        space.write_text(_SPACE.format(epochs=self.size.epochs, trials=self.size.trials))
        known = (self.folder / "sweeps/chaos/resolved.yaml").exists()
        return (sys.executable, "-m", "sweeper", *(("resume", "chaos") if known else ("run", space.name)))

    def trained(self) -> dict[str, list[int]]:
        """Reads the log of each trial."""
        logs = self.folder.glob("sweeps/chaos/trials/*/trial.log")
        return {
            str(int(log.parent.name)): [int(epoch) for epoch in re.findall(r"Epoch (\d+)", log.read_text())]
            for log in logs
        }

    def trial_of(self, run: Any) -> str | None:
        """Reads the number that is a tag."""
        trial: str | None = run.data.tags.get("sweeper.trial")
        return trial


class RayTune(System):
    """The glue that Ray's documentation shows, in a driver of its own (`--peer`)."""

    name = "Ray Tune + OptunaSearch"

    def command(self) -> Sequence[str]:
        """Runs this file's other half."""
        sizes = (str(self.size.trials), str(self.size.epochs))
        return (sys.executable, str(Path(__file__).absolute()), "--peer", str(self.folder), *sizes)

    def trained(self) -> dict[str, list[int]]:
        """Reads what the trials wrote down."""
        log, found = self.folder / "trained.jsonl", dict[str, list[int]]()
        for line in log.read_text().splitlines() if log.exists() else ():
            trial, epoch = json.loads(line)
            found.setdefault(trial, []).append(epoch)
        return found

    def trial_of(self, run: Any) -> str | None:
        """Reads the name that the callback gave it."""
        return str(run.info.run_name).removeprefix("tune_trial_")


@dataclass(frozen=True)
class Damage:
    """What the kills cost."""

    kills: int
    came_to_its_end: bool
    executed: int
    """Epochs trained to their end, over all lives."""
    needed: int
    lost: int
    """Trials that were begun and never came to their end, and those that never began."""
    repeated: int
    """Trials that went on training after they had come to their end."""
    duplicated: int
    """Points of `top1` in MLflow, of a trial and epoch that has one already."""


class Life:
    """A driver that runs, with all processes that it started."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._known = self._count()
        self._family: set[psutil.Process] = set()
        environment = {
            **os.environ, "OMP_NUM_THREADS": "1", "SWEEPER_CACHE": str(system.folder / "cache"),
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray then listens on loopback only
        }  # fmt: skip
        with (system.folder / "driver.log").open("a") as log:
            self._driver = subprocess.Popen(
                system.command(), cwd=system.folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def train(self) -> bool:
        """Waits until an epoch was trained since the start, or the last call; False where the driver ends first."""
        while self._count() == self._known and self._is_alive():
            self._look()
        self._known = self._count()
        return self._is_alive()

    def pass_time(self, seconds: float) -> bool:
        """Waits; False where the driver ends first."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self._is_alive():
            self._look()
        return self._is_alive()

    def kill(self, victim: str) -> None:
        """Kills what is named; a driver's death is the end of this life."""
        self._look()
        chosen = {
            "driver": [psutil.Process(self._driver.pid)],
            "worker": self._workers()[:1],
            "all": [psutil.Process(self._driver.pid), *self._family],
        }[victim]
        for process in chosen:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if victim != "worker":
            self.end()

    def end(self) -> int:
        """Waits for the driver, ends what it leaves behind, and returns its exit code."""
        while self._is_alive():
            self._look()
        for process in self._family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        return self._driver.wait()

    def _count(self) -> int:
        return sum(map(len, self._system.trained().values()))

    def _is_alive(self) -> bool:
        return self._driver.poll() is None

    def _look(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            self._family.update(psutil.Process(self._driver.pid).children(recursive=True))
        time.sleep(0.1)

    def _workers(self) -> list[psutil.Process]:
        found = []
        for process in self._family:
            with contextlib.suppress(psutil.NoSuchProcess):
                if _WORKERS.match(" ".join(process.cmdline())):
                    found.append(process)
        return sorted(found, key=lambda process: process.pid)


def damage(system: System, plan: Sequence[tuple[str, float]]) -> Damage:
    """Runs the sweep under the planned kills, then to its end."""
    kills, code = 0, -1
    life = Life(system)
    for victim, after in plan:
        if not (life.train() and life.pass_time(after)):
            code = life.end()
            if code == 0:
                break
            life = Life(system)
            continue
        life.kill(victim)
        kills += 1
        if victim != "worker":
            life = Life(system)
    for _ in range(_LIVES):
        code = life.end()
        if code == 0:
            break
        life = Life(system)
    return counted(system, kills, came_to_its_end=code == 0)


def counted(system: System, kills: int, *, came_to_its_end: bool) -> Damage:
    """Counts what is on the disk when all is over."""
    trained, trials, epochs = system.trained(), system.size.trials, system.size.epochs
    complete = [trial for trial, done in trained.items() if epochs in done]
    return Damage(
        kills=kills,
        came_to_its_end=came_to_its_end,
        executed=sum(map(len, trained.values())),
        needed=trials * epochs,
        lost=len(trained.keys() - set(complete)) + max(0, trials - len(trained)),
        repeated=sum(done.index(epochs) < len(done) - 1 for done in trained.values() if epochs in done),
        duplicated=duplicates(system),
    )


def duplicates(system: System) -> int:
    """Counts the points of `top1` in MLflow beyond the first of each trial and epoch."""
    from mlflow import MlflowClient

    (store,) = system.folder.rglob("mlflow.db")
    client = MlflowClient(f"sqlite:///{store}")
    points = Counter[tuple[str, int]]()
    for experiment in client.search_experiments():
        for run in client.search_runs([experiment.experiment_id]):
            trial = system.trial_of(run)
            if trial is not None:
                history = client.get_metric_history(run.info.run_id, "top1")
                points.update((trial, point.step) for point in history)
    return points.total() - len(points)


def peer(folder: Path, size: Size) -> None:
    """Runs, or restores, the sweep as the pages of Ray Tune show it."""
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.search.optuna import OptunaSearch

    path = folder / "results" / "chaos"
    trainable = tune.with_resources(tune.with_parameters(peer_trial, folder=folder, epochs=size.epochs), {"cpu": 1})
    if tune.Tuner.can_restore(str(path)):
        tuner = tune.Tuner.restore(str(path), trainable, resume_errored=True)
    else:
        tuner = tune.Tuner(
            trainable,
            param_space={"lr": tune.loguniform(1e-3, 1e-2)},
            tune_config=tune.TuneConfig(
                metric="top1", mode="max", num_samples=size.trials, search_alg=OptunaSearch(seed=0),
                max_concurrent_trials=2, trial_name_creator=lambda trial: f"tune_trial_{trial.trial_id}",
            ),
            run_config=tune.RunConfig(
                name=path.name, storage_path=str(path.parent), verbose=0,
                failure_config=tune.FailureConfig(max_failures=3),
                callbacks=[MLflowLoggerCallback(tracking_uri=f"sqlite:///{folder}/mlflow.db", experiment_name="chaos")],
            ),
        )  # fmt: skip
    tuner.fit()


def peer_trial(config: dict[str, Any], folder: Path, epochs: int) -> None:
    """Fine-tunes on digits with a checkpoint after each epoch."""
    import numpy as np
    import timm
    import torch
    from ray import tune
    from sklearn.datasets import load_digits

    torch.manual_seed(0)
    images, labels = load_digits(return_X_y=True)
    pixels = torch.tensor(images.reshape(-1, 1, 8, 8) / 16, dtype=torch.float32)
    pixels = torch.nn.functional.interpolate(pixels, 32).expand(-1, 3, -1, -1)
    targets, order = torch.tensor(labels), torch.tensor(np.random.default_rng(0).permutation(len(labels)))
    training, validation = order[359:], order[:359]
    model = timm.create_model("test_efficientnet", num_classes=10)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config["lr"])
    begun = 1
    known = tune.get_checkpoint()
    if known is not None:
        with known.as_directory() as place:
            state = torch.load(Path(place) / "state.pt", weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        begun = state["epoch"] + 1
    trial = tune.get_context().get_trial_id()
    for epoch in range(begun, epochs + 1):
        model.train()
        for batch in training[torch.randperm(len(training))].split(64):  # type: ignore[no-untyped-call]
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(pixels[batch]), targets[batch]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        model.eval()
        with torch.inference_mode():
            top1 = float((model(pixels[validation]).argmax(1) == targets[validation]).float().mean())
        with (folder / "trained.jsonl").open("a") as log:
            log.write(json.dumps([trial, epoch]) + "\n")
        with tempfile.TemporaryDirectory() as place:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}
            torch.save(state, Path(place) / "state.pt")
            tune.report({"top1": top1}, checkpoint=tune.Checkpoint.from_directory(place))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peer", nargs=3, metavar=("FOLDER", "TRIALS", "EPOCHS"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.peer:
        folder, trials, epochs = asked.peer
        peer(Path(folder), Size(int(trials), int(epochs)))
        return
    draws = random.Random(asked.seed)
    plan = [(victim, draws.uniform(0, 3)) for victim in islice(cycle(_VICTIMS), asked.kills)]
    size = Size(asked.trials, asked.epochs)
    print("| system | kills | epochs executed / needed | trials lost | trials repeated | metrics duplicated |")
    print("|---|---|---|---|---|---|")
    systems: tuple[type[System], ...] = (Sweeper, RayTune)
    for kind in systems:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
            found = damage(kind(Path(place), size), plan)
        share = f"{found.executed} / {found.needed} = {found.executed / found.needed:.2f}"
        name = kind.name if found.came_to_its_end else f"{kind.name} (never ended)"
        row = (name, found.kills, share, found.lost, found.repeated, found.duplicated)
        print("| " + " | ".join(map(str, row)) + " |", flush=True)
    libraries = ", ".join(f"{name} {version(name)}" for name in ("ray", "optuna", "mlflow", "torch"))
    print(f"python {platform.python_version()}, {libraries}, {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
