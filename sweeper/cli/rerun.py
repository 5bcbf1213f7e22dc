"""`sweeper rerun`: does a trial give the same numbers again?"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel, ConfigDict

from sweeper.cli import options
from sweeper.cli.trials import config_of, find_trial
from sweeper.paths import CachePaths, SweepPaths, TrialPaths
from sweeper.predictions import read_predictions
from sweeper.records import METRICS, EpochMetrics, TrialRecord
from sweeper.results import first_parting
from sweeper.spec import TrialConfig


class RerunReport(BaseModel):
    """A trial beside the same trial, trained again."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    trial: int
    epochs: int
    """That both have."""
    same: bool
    parting: int | None
    """The first epoch that differs; None where none does."""
    numbers: dict[str, tuple[Any, Any]]
    """What differs in it: (then, now)."""
    surroundings: dict[str, tuple[Any, Any]]
    """What differs around it (versions, machine, GPUs, images): (then, now)."""


@click.command("rerun")
@options.sweep_name
@click.argument("trial", type=click.IntRange(min=0))
@options.root
@options.as_json
def command(sweep: str, trial: int, root: Path | None, as_json: bool) -> int:
    """Train TRIAL of SWEEP again from its settings, here and without Ray, and compare every epoch.

    Nothing of the sweep is changed: what is written lies in the folder `rerun` of the trial. Seconds, speed, memory and
    latency do not count. The exit code is 1 where the numbers differ.
    """
    spec, paths, record = find_trial(sweep, trial, root)
    folder = paths.trial(trial)
    threads = max(1, int(spec.resources.cpus_per_trial))
    epochs = _again(config_of(spec, folder, record), folder.rerun, record, threads=threads)
    report = _compared(record, epochs, paths)
    if as_json:
        options.echo_json(report)
    else:
        _show(report)
    return 0 if report.same else 1


def _again(config: TrialConfig, folder: TrialPaths, record: TrialRecord, *, threads: int) -> list[EpochMetrics]:
    """Trains as many epochs as the trial had: it may have been stopped early."""
    from sweeper.trial.run import run_trial
    from sweeper.trial.runtime import Runtime

    shutil.rmtree(folder.root, ignore_errors=True)
    folder.root.mkdir(parents=True)
    metric = METRICS[config.objective]
    epochs: list[EpochMetrics] = []
    running = run_trial(config, folder, runtime=Runtime(threads=threads, cache=CachePaths.default()))
    for then, now in zip(record.epochs, running, strict=False):
        epochs.append(now)
        values = " then, ".join(format(one.value(metric.name), metric.format) for one in (then, now))
        click.echo(f"epoch {now.epoch}/{len(record.epochs)}  {metric.title} {values} now", err=True)
    running.close()
    return epochs


def _compared(record: TrialRecord, epochs: list[EpochMetrics], paths: SweepPaths) -> RerunReport:
    partings = [(then.epoch, first_parting(then, now)) for then, now in zip(record.epochs, epochs, strict=False)]
    parting, numbers = next(((epoch, found) for epoch, found in partings if found), (None, {}))
    return RerunReport(
        trial=record.number,
        epochs=len(epochs),
        same=parting is None,
        parting=parting,
        numbers=numbers,
        surroundings=_surroundings(paths, paths.trial(record.number)),
    )


def _surroundings(paths: SweepPaths, trial: TrialPaths) -> dict[str, tuple[Any, Any]]:
    """Returns what is otherwise than when the sweep began; what nobody wrote down then is left out."""
    from sweeper.tracking import Environment, capture_environment

    found: dict[str, tuple[Any, Any]] = {}
    if paths.environment.exists():
        then = Environment.model_validate_json(paths.environment.read_bytes()).model_dump()
        now = capture_environment().model_dump()
        for one in (then, now):
            one |= one.pop("packages")
        found = {name: (value, now.get(name)) for name, value in then.items() if value != now.get(name)}
    said, again = read_predictions(trial.predictions), read_predictions(trial.rerun.predictions)
    if said is not None and again is not None and said.info.data_fingerprint != again.info.data_fingerprint:
        found["data"] = (said.info.data_fingerprint, again.info.data_fingerprint)
    return found


def _show(report: RerunReport) -> None:
    if report.same:
        click.echo(f"Trial {report.trial} gives the same numbers again, in all {report.epochs} epochs.")
        return
    click.echo(f"Trial {report.trial} parts from what it was in epoch {report.parting}:")
    for name, (then, now) in report.numbers.items():
        click.echo(f"  {name}: {then} then, {now} now")
    if report.surroundings:
        click.echo("What is otherwise than when the sweep began:")
        for name, (then, now) in report.surroundings.items():
            click.echo(f"  {name}: {then} then, {now} now")
    else:
        click.echo(
            "No version, machine or image is known to differ; other numbers of threads or another device of a cluster "
            "would explain it."
        )
