"""What a trial costs the driver, by how many trials and workers there are: time, memory and storage.

    python benchmarks/scale.py [--trials 100 1000 10000] [--workers 2 64] [--postgresql URL] [--no-peer]

The driver's own part of a sweep, whole: every trial is asked of the study, resolved, reported for three epochs under
ASHA, told and handed to the tracker. Its workers are simulated: they answer at once, in turn, and train nothing, so
that what is left is what the driver adds. Ray's part of a hand-off is measured by `handoff.py`.

The peer is plain Optuna on the same kind of storage: the same trials asked, reported under its successive halving, and
told. It notes the objective alone, where sweeper notes all metrics of an epoch, the point, attempts and what was spent.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import optuna
import psutil
import sqlalchemy

from sweeper.driver.attempts import Attempts, Sweep
from sweeper.driver.observer import NullObserver
from sweeper.paths import CachePaths, SweepPaths
from sweeper.planning.share import Share
from sweeper.records import Decision, EpochMetrics
from sweeper.search import open_ledger
from sweeper.spec import SweepSpec
from sweeper.tracking import NoopTracker

_EPOCHS: Final = 3
_NAME: Final = "scale"
_HEAD: Final = (
    "storage", "system", "trials", "workers", "ms a trial, first 100", "last 100", "processor ms, first 100",
    "last 100", "epochs a second", "memory, MiB", "storage, MiB",
)  # fmt: skip


@dataclass(frozen=True)
class Cost:
    """What a sweep came to."""

    first: tuple[float, float]
    """Milliseconds of a trial on the clock and on the processor, mean over the first hundred."""
    last: tuple[float, float]
    """The same over the last hundred: the same again where the cost is flat."""
    epochs_a_second: float
    """That the driver took in."""
    memory: float
    """By how much its resident memory grew, MiB."""
    storage: float
    """What the storage takes, MiB."""


@dataclass
class Meter:
    """Notes when each trial ended, and counts epochs."""

    ends: list[tuple[float, float]]
    epochs: int = 0

    def trial_ended(self) -> None:
        """Notes the time."""
        self.ends.append((time.perf_counter(), time.process_time()))


Run = Callable[[Path, str, int, int, Meter], None]


def sweeper_run(folder: Path, storage: str, trials: int, workers: int, meter: Meter) -> None:
    """Runs a sweep on simulated workers, which report an epoch each in turn."""
    spec = SweepSpec.model_validate({
        "name": _NAME, "data": {"source": "digits"}, "backbone": "none", "train": {"epochs": _EPOCHS},
        "space": {"lr": {"log": [1e-4, 1e-2]}, "layer_decay": {"uniform": [0.5, 1.0]}, "freeze_depth": {"int": [0, 5]}},
        "search": {"trials": trials, "sampler": "random", "stop": "asha"},
    })  # fmt: skip
    ledger = open_ledger(spec, storage, create=True)
    share = Share(cpus=1, gpus=0)
    sweep = Sweep(spec, SweepPaths(folder), CachePaths(folder), ledger, NoopTracker(), NullObserver(), share)
    attempts = Attempts(sweep, lambda: workers)
    attempts.take_over()
    live: dict[str, int] = {}
    begun = 0
    while not attempts.are_over:
        while len(live) < workers and attempts.next(str(begun)) is not None:
            live[str(begun)] = 0
            begun += 1
        for name in list(live):
            live[name] += 1
            meter.epochs += 1
            decision = attempts.epoch_ended(name, _epoch(live[name], _value(int(name), live[name])))
            if decision is Decision.STOP or live[name] == _EPOCHS:
                attempts.ended(name, None)
                del live[name]
                meter.trial_ended()


def optuna_run(_folder: Path, storage: str, trials: int, workers: int, meter: Meter) -> None:
    """Runs the same trials through Optuna alone."""
    study = optuna.create_study(
        study_name=_NAME, storage=storage, direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0),
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3),
    )  # fmt: skip
    live: dict[optuna.Trial, int] = {}
    begun = 0
    while live or begun < trials:
        while len(live) < workers and begun < trials:
            trial = study.ask()
            trial.suggest_float("lr", 1e-4, 1e-2, log=True)
            trial.suggest_float("layer_decay", 0.5, 1.0)
            trial.suggest_int("freeze_depth", 0, 5)
            live[trial] = 0
            begun += 1
        for trial in list(live):
            live[trial] += 1
            meter.epochs += 1
            value = _value(trial.number, live[trial])
            trial.report(value, live[trial])
            if live[trial] == _EPOCHS:
                study.tell(trial, value)
            elif trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            else:
                continue
            del live[trial]
            meter.trial_ended()


def cost_of(run: Run, trials: int, workers: int, url: str | None) -> Cost:
    """Returns what a sweep costs; the study is in `url`, else in an SQLite file."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.disable(logging.WARNING)
    process = psutil.Process()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        storage = url or f"sqlite:///{folder}/study.db"
        meter = Meter([])
        before = process.memory_info().rss
        started = time.perf_counter()
        run(folder, storage, trials, workers, meter)
        seconds = time.perf_counter() - started
        memory = (process.memory_info().rss - before) / 2**20
        size = _postgresql_size(url) if url else sum(file.stat().st_size for file in folder.glob("study.db*"))
        if url:
            optuna.delete_study(study_name=_NAME, storage=url)
    some = min(100, trials // 2)
    return Cost(
        first=_gap(meter.ends[0], meter.ends[some], some),
        last=_gap(meter.ends[-1 - some], meter.ends[-1], some),
        epochs_a_second=meter.epochs / seconds,
        memory=memory,
        storage=size / 2**20,
    )


def _gap(before: tuple[float, float], after: tuple[float, float], trials: int) -> tuple[float, float]:
    return 1000 * (after[0] - before[0]) / trials, 1000 * (after[1] - before[1]) / trials


def _value(trial: int, epoch: int) -> float:
    return (trial * 7919 + epoch * 104729) % 1000 / 1000


def _epoch(number: int, value: float) -> EpochMetrics:
    needed = {name: value for name, field in EpochMetrics.model_fields.items() if field.is_required()}
    return EpochMetrics.model_validate(needed | {"epoch": number})


def _postgresql_size(url: str) -> int:
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        size = int(connection.execute(sqlalchemy.text("select pg_database_size(current_database())")).scalar_one())
    engine.dispose()
    return size


def _rows(asked: argparse.Namespace) -> Iterator[tuple[object, ...]]:
    systems: dict[str, Run] = {"sweeper": sweeper_run} | ({} if asked.no_peer else {"Optuna": optuna_run})
    storages = {"SQLite": None} | ({"PostgreSQL": asked.postgresql} if asked.postgresql else {})
    for storage, url in storages.items() if not asked.postgresql_only else [("PostgreSQL", asked.postgresql)]:
        for trials in asked.trials:
            for workers in asked.workers:
                for system, run in systems.items():
                    # A process each: what one allocated and gave back would hide what the next one takes.
                    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                        cost = pool.submit(cost_of, run, trials, workers, url).result()
                    yield (
                        storage, system, f"{trials:,}", workers, f"{cost.first[0]:.0f}", f"{cost.last[0]:.0f}",
                        f"{cost.first[1]:.0f}", f"{cost.last[1]:.0f}", f"{cost.epochs_a_second:.0f}",
                        f"{cost.memory:.0f}", f"{cost.storage:.1f}",
                    )  # fmt: skip


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 10000])
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 64])
    parser.add_argument("--postgresql", metavar="URL", help="an empty database; it is measured beside SQLite")
    parser.add_argument("--postgresql-only", action="store_true", help="leave SQLite out")
    parser.add_argument("--no-peer", action="store_true", help="leave Optuna alone out, which takes longest")
    asked = parser.parse_args()
    print(f"| {' | '.join(_HEAD)} |\n|{'---|' * len(_HEAD)}", flush=True)
    for row in _rows(asked):
        print(f"| {' | '.join(map(str, row))} |", flush=True)
    print(f"python {platform.python_version()}, optuna {version('optuna')}, {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
