"""`sweeper retry`: run one failed trial again, here and now, to see why it failed."""

from __future__ import annotations

import shutil
import traceback
from pathlib import Path

import click
from pydantic import BaseModel, ConfigDict

from sweeper.cli import options
from sweeper.errors import InputError
from sweeper.folder import find_sweep, read_spec, workspace_at
from sweeper.paths import CachePaths, SweepPaths, TrialPaths
from sweeper.records import METRICS, EpochMetrics, TrialState
from sweeper.spec import SweepSpec, TrialConfig, resolve


class RetryReport(BaseModel):
    """What a trial did when it was run again."""

    model_config = ConfigDict(frozen=True)

    number: int
    epochs: tuple[EpochMetrics, ...]
    traceback: str | None
    """None where it ran to its end."""


@click.command("retry")
@options.sweep_name
@click.argument("trial", type=click.IntRange(min=0))
@click.option("--pdb", is_flag=True, help="Open the debugger where it fails.")
@options.root
@options.as_json
def command(sweep: str, trial: int, pdb: bool, root: Path | None, as_json: bool) -> int:
    """Run TRIAL of SWEEP, which failed, again in this process and without Ray, from its last checkpoint.

    Nothing of the sweep is changed: what the trial writes lies in the folder `retry` of its own.
    """
    paths = find_sweep(workspace_at(root), sweep)
    spec = read_spec(paths)
    config = _failed_trial(spec, paths, trial)
    epochs, error = _run(spec, config, paths.trial(trial))
    if as_json:
        told = None if error is None else "".join(traceback.format_exception(error))
        options.echo_json(RetryReport(number=trial, epochs=tuple(epochs), traceback=told))
    elif error is not None:
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    if error is None:
        click.echo(
            f"Trial {trial} ran to its end here; what it wrote is in `{paths.trial(trial).retry.root}`.", err=True
        )
        return 0
    if pdb and error.__traceback__ is not None:
        import pdb as debugger

        debugger.post_mortem(error.__traceback__)
    click.echo(f"Trial {trial} failed again, after {len(epochs)} epochs.", err=True)
    return 1


def _failed_trial(spec: SweepSpec, paths: SweepPaths, number: int) -> TrialConfig:
    from sweeper.search import open_ledger, storage_url

    records = {r.number: r for r in open_ledger(spec, storage_url(spec, paths), create=False).records()}
    if number not in records or records[number].state is not TrialState.FAILED:
        failed = ", ".join(str(r.number) for r in records.values() if r.state is TrialState.FAILED)
        state = f"is {records[number].state.value}" if number in records else "does not exist"
        there = f"those that failed: {failed}" if failed else "none has failed"
        raise InputError(f"Only a trial that failed can be run again, but trial {number} {state}; {there}.")
    return resolve(spec, records[number].params)


def _run(spec: SweepSpec, config: TrialConfig, trial: TrialPaths) -> tuple[list[EpochMetrics], Exception | None]:
    from sweeper.trial.run import run_trial
    from sweeper.trial.runtime import Runtime

    shutil.rmtree(trial.retry.root, ignore_errors=True)
    trial.retry.root.mkdir(parents=True)
    if trial.checkpoint.exists():
        shutil.copyfile(trial.checkpoint, trial.retry.checkpoint)
    runtime = Runtime(threads=max(1, int(spec.resources.cpus_per_trial)), cache=CachePaths.default())
    metric = METRICS[config.objective]
    epochs: list[EpochMetrics] = []
    try:
        for epoch in run_trial(config, trial.retry, runtime=runtime):
            epochs.append(epoch)
            shown = metric.shown(epoch.value(metric.name))
            click.echo(
                f"epoch {epoch.epoch}/{config.train.epochs}  {shown}  train loss {epoch.train_loss:.3f}", err=True
            )
    except Exception as error:  # noqa: BLE001 - to show it, whatever it is, is what this is for
        return epochs, error
    return epochs, None
